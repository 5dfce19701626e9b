"""What the drive and the processor give without a server: the ceilings."""

import mmap
import os
import shutil
import subprocess
import threading
import time

from bench import MIB


def ceiling(dir, shard, disks, connections, seconds):
    """Objects a second of two shards that hold data, were there nothing but
    the drive: as many writers at once as there are connections, each of which
    writes and syncs a shard for each disk, and what names it, as the store has
    to; bypassing the page cache."""

    os.makedirs(dir, exist_ok=True)
    size = -shard % 4096 + shard
    done = [0] * connections
    end = time.monotonic() + seconds

    def write(i):
        with mmap.mmap(-1, size) as page:
            page.write(os.urandom(min(size, MIB)))

            while time.monotonic() < end:
                for disk in range(disks):
                    fd = os.open(f"{dir}/{i}-{disk}", os.O_WRONLY | os.O_CREAT
                                 | os.O_TRUNC | os.O_DIRECT, 0o600)
                    os.write(fd, page)
                    os.fdatasync(fd)
                    os.close(fd)
                done[i] += 1

    start = time.monotonic()
    threads = [threading.Thread(target=write, args=(i,))
               for i in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    rate = sum(done) / (time.monotonic() - start)
    shutil.rmtree(dir)
    return rate


def write(path, size):
    """MB/s of a file that is written from one end to the other and synced."""

    piece = os.urandom(MIB)
    start = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    for _ in range(size // MIB):
        os.write(fd, piece)
    os.fdatasync(fd)
    os.close(fd)
    rate = size / (time.monotonic() - start) / 1e6
    os.unlink(path)
    return rate


def md5():
    """MB/s of one processor, by OpenSSL."""

    done = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1",
                           "-bytes", str(MIB), "-evp", "md5"],
                          capture_output=True, text=True, check=True)
    line = [s for s in done.stdout.splitlines() if s.startswith("+F:")][-1]
    return float(line.split(":")[-1]) / 1e6
