# An S3 server in a container: nginx as Debian has it, and this module.
#
#   docker build -t nginx-s3 .
#   docker run -d -p 9000:9000 -e S3_ACCESS_KEY=... -e S3_SECRET_KEY=... \
#       -v s3-d1:/disks/d1 -v s3-d2:/disks/d2 -v s3-d3:/disks/d3 \
#       -v s3-d4:/disks/d4 -v s3-state:/var/lib/nginx/s3 nginx-s3
#
# A volume a disk, each on a drive of its own; docs/docker.md has the rest.

FROM debian:bookworm-slim AS build

WORKDIR /src

# what changes seldom first: the packages are a layer of their own

COPY tools/deps tools/deps
RUN tools/deps build

COPY . .
RUN make && make install DESTDIR=/out


FROM debian:bookworm-slim

COPY tools/deps /src/tools/deps
RUN /src/tools/deps run \
    && apt-get install -q -y --no-install-recommends curl ca-certificates \
    && rm -rf /src /var/lib/apt/lists/* /etc/nginx/sites-enabled/* \
    && mkdir -p /disks /var/lib/nginx/s3

COPY --from=build /out /
COPY docker/nginx.conf /etc/nginx/nginx.conf
COPY docker/entrypoint /usr/local/bin/entrypoint

# the record of which disks the set is made of; without it a restart takes an
# empty directory in a disk's place for what it is only if it can ask

VOLUME /var/lib/nginx/s3

EXPOSE 9000
STOPSIGNAL SIGQUIT

# a set that still reads is left running, whatever it can not write

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD curl -fsS http://127.0.0.1:9000/healthz || exit 1

ENTRYPOINT ["/usr/local/bin/entrypoint"]
