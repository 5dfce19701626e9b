# ngx_http_s3_module
#
#   make            the module, build/ngx_http_s3_module.so, and the tools
#                   build/s3-credential and build/s3-store
#   make run        install what is missing, build, serve on 127.0.0.1:9000
#   make run-gateway UPSTREAM=http://HOST UPSTREAM_ACCESS_KEY=...
#        UPSTREAM_SECRET_KEY=...   the same before another S3
#   make test       everything that CI runs
#   make unit       unit tests (T=test_s3 ROOMS="s3 auth" for a part of them)
#   make asan       the same under AddressSanitizer and UBSan
#   make tsan       those that start threads under ThreadSanitizer
#   make variants   a part of t/s3 with a newer nginx, and with sanitizers
#   make fuzz       replay the corpora, then FUZZ_SECONDS of fuzzing each
#                   (15, in make test 5)
#   make coverage   which lines the tests run, by file
#   make bench      benchmarks; make bench-gateway: those of a gateway
#   make install    module, s3_params, s3_gateway_params, s3-credential and
#                   s3-store into $(DESTDIR)
#   make clean      removes build/; the data of `make run` stays
#
# NGINX_SRC=DIR builds for another nginx than the distribution's, and that
# nginx too where DIR is a complete source.

BUILD        ?= build
NGINX_SRC    ?= /usr/share/nginx/src
CC           = gcc
CLANG        = clang
DESTDIR      ?=
MODULES_DIR  ?= /usr/lib/nginx/modules
CONF_DIR     ?= /etc/nginx
BIN_DIR      ?= /usr/bin
FUZZ_SECONDS ?=

# T: unit test or fuzz target names to build and run; ROOMS: library folders
T            ?=
ROOMS        ?= s3 auth body gateway store

MODULE       := $(BUILD)/ngx_http_s3_module.so
SOURCES      := $(sort $(wildcard src/*.[ch] src/*/*.[ch]))
LIB_SRCS     := $(foreach room,$(ROOMS),$(wildcard src/$(room)/*.c))
TESTS        := $(patsubst t/unit/%.c,%,$(wildcard t/unit/test_*.c))
FUZZERS      := $(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/fuzz_*.c))
TEST_COMMON  := $(filter-out t/unit/test_%,$(wildcard t/unit/*.c))

ifneq ($(T),)
TESTS        := $(filter $(T)%,$(TESTS))
FUZZERS      := $(filter $(T)%,$(FUZZERS))
endif

WARNINGS     = -std=gnu11 -Wall -Wextra -Wpointer-arith -Werror \
               -Wno-unused-parameter
INCS         = -Isrc $(patsubst %/,-I%,$(wildcard src/*/)) -It/unit \
               -isystem /usr/include/libxml2
LIBS         = -lisal -lsqlite3 -ljansson -lxml2 -lssl -lcrypto -lpcre2-8 \
               -lz -lcrypt -lpthread -ldl -lm

SANITIZE     = -fsanitize=address,undefined -fno-sanitize-recover=all

comma        := ,

.PHONY: all module deps run run-gateway test unit asan tsan variants fuzz coverage \
        unit-build asan-build tsan-build coverage-build fuzz-build bench bench-gateway install clean FORCE
.DELETE_ON_ERROR:
.SUFFIXES:

all: module $(BUILD)/s3-credential $(BUILD)/s3-store

module:
	@BUILD=$(BUILD) CC=$(CC) tools/module $(NGINX_SRC)

$(BUILD)/s3-credential: tools/s3-credential.c
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
	    -o $@ $< -ljansson

# the tool for disks, which shares no code with src/; its tests run the other

STORE_TOOL      := $(wildcard tools/s3-store/*.c)
STORE_TOOL_LIBS  = -lisal -lsqlite3 -ljansson -lcrypto

$(BUILD)/s3-store: $(STORE_TOOL) tools/s3-store/store.h
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
	    -o $@ $(STORE_TOOL) $(STORE_TOOL_LIBS)

$(BUILD)/asan/s3-store: $(STORE_TOOL) tools/s3-store/store.h
	@mkdir -p $(@D)
	$(CLANG) $(WARNINGS) -O1 -g -fno-omit-frame-pointer $(SANITIZE) \
	    -o $@ $(STORE_TOOL) $(STORE_TOOL_LIBS)


build/nginx/%/libngxcore.a: tools/nginx-core tools/nginx-flags \
                            tools/nginx-source t/nginx-src/Cargo.lock
	@tools/nginx-core $* && touch $@

.PRECIOUS: build/nginx/%/libngxcore.a


# A flavour: objects, library archive and test programs of their own
# directory.  $1: directory under $(BUILD), $2: compiler, $3: flags,
# $4: flavour of nginx's core, $5: further flags of test programs' own files,
# $6: further source that is linked to each, $7: and flags for that

define flavour
$1_LIB_OBJS    := $$(LIB_SRCS:%.c=$(BUILD)/$1/%.o)
$1_TEST_OBJS   := $$(TEST_COMMON:%.c=$(BUILD)/$1/%.o)
$1_CORE        := build/nginx/$4/libngxcore.a
$1_CORE_INCS   := $$(patsubst %,-isystem build/nginx/$4/%,src/core \
                  src/event src/event/modules src/event/quic src/os/unix \
                  objs)

$(BUILD)/$1/%.o: %.c $$($1_CORE)
	@mkdir -p $$(@D)
	$2 $(WARNINGS) $3 $$(if $$(filter t/unit/test_%,$$<),$5) -MMD -MP \
	    $(INCS) $$($1_CORE_INCS) -c -o $$@ $$<

# renewed as a whole: rooms may have files of the same name, and an object
# whose source is gone must go.  What tests share is an archive as well: with
# ROOMS= only those link it that can

$(BUILD)/$1/libs3.a: $$($1_LIB_OBJS) $(BUILD)/$1/objects
	@rm -f $$@
	ar qcs $$@ $$($1_LIB_OBJS)

$(BUILD)/$1/libtest.a: $$($1_TEST_OBJS) $(BUILD)/$1/objects
	@rm -f $$@
	ar qcs $$@ $$($1_TEST_OBJS)

# whose allocations a test can have fail

$(BUILD)/$1/libs3-every.a: $(BUILD)/$1/libs3.a
	objcopy --redefine-sym malloc=s3_every_malloc \
	    --redefine-sym calloc=s3_every_calloc \
	    --redefine-sym realloc=s3_every_realloc \
	    --redefine-sym strdup=s3_every_strdup $$< $$@

$(BUILD)/$1/t/unit/test_store_every_set: $(BUILD)/$1/libs3-every.a

$(BUILD)/$1/objects: FORCE
	@mkdir -p $$(@D)
	@echo '$$($1_LIB_OBJS) $$($1_TEST_OBJS)' | cmp -s - $$@ || \
	    echo '$$($1_LIB_OBJS) $$($1_TEST_OBJS)' > $$@

$(BUILD)/$1/t/%: $(BUILD)/$1/t/%.o $(BUILD)/$1/libtest.a \
                 $(BUILD)/$1/libs3.a $$($1_CORE) $6
	$2 $3 -o $$@ $$< $6 $7 $(BUILD)/$1/libtest.a \
	    $$(or $$(filter %/libs3-every.a,$$^),$(BUILD)/$1/libs3.a) \
	    $$($1_CORE) -lcmocka $(LIBS)

.SECONDARY: $$($1_LIB_OBJS) $$($1_TEST_OBJS) \
            $$(TESTS:%=$(BUILD)/$1/t/unit/%.o) \
            $$(FUZZERS:%=$(BUILD)/$1/t/fuzz/%.o)

-include $$(wildcard $(BUILD)/$1/src/*/*.d $(BUILD)/$1/t/*/*.d)
endef

$(eval $(call flavour,unit,$(CC),-O1 -g,plain))
$(eval $(call flavour,coverage,$(CC),-O0 -g --coverage \
              -fprofile-update=atomic,plain))

# tests' own files are not optimized here, which would take three times as
# long and gain nothing: what they test is

$(eval $(call flavour,asan,$(CLANG),-O1 -g -fno-omit-frame-pointer \
              $(SANITIZE) -fsanitize=fuzzer-no-link,asan,-O0))

# what t/tsan/s3_tsan.c has libc do past ThreadSanitizer, and why

TSAN_WRAP    := $(shell cat t/tsan/wrapped)

# SQLite's locks are let pass (t/tsan/suppressions), but not where its last call
# is an unlock, which looks like the caller's: hence without mutex bugs

TSAN_FLAGS   := suppressions=$(CURDIR)/t/tsan/suppressions history_size=4 \
                report_mutex_bugs=0

# left out: all that starts no thread, and so has nothing to be seen; and
# test_store_powercut_replace_set, which forks beside a store's threads and
# starts others in the child, where ThreadSanitizer ends

TSAN_TESTS   := $(filter-out test_auth_% test_gateway_% test_s3_% \
                  test_body_% test_store_door test_store_format \
                  test_store_index test_store_multipart \
                  test_store_powercut_hash \
                  test_store_powercut_replace_set test_store_record \
                  test_store_shard,$(TESTS))

$(eval $(call flavour,tsan,$(CLANG),-O1 -g -fno-omit-frame-pointer \
              -fsanitize=thread,tsan,-O0,t/tsan/s3_tsan.c,\
              $(TSAN_WRAP:%=-Wl$$(comma)--wrap=%)))

# fuzzers: the same objects, with libFuzzer's main()

$(BUILD)/fuzz/t/fuzz/%: $(BUILD)/asan/t/fuzz/%.o $(BUILD)/asan/libtest.a \
                        $(BUILD)/asan/libs3.a $(asan_CORE)
	@mkdir -p $(@D)
	$(CLANG) $(SANITIZE) -fsanitize=fuzzer -o $@ $< \
	    $(BUILD)/asan/libtest.a $(BUILD)/asan/libs3.a $(asan_CORE) \
	    -lcmocka $(LIBS)

unit-build: $(TESTS:%=$(BUILD)/unit/t/unit/%)
tsan-build: $(TSAN_TESTS:%=$(BUILD)/tsan/t/unit/%)
asan-build: $(TESTS:%=$(BUILD)/asan/t/unit/%)
coverage-build: $(TESTS:%=$(BUILD)/coverage/t/unit/%)
fuzz-build: $(FUZZERS:%=$(BUILD)/fuzz/t/fuzz/%)

# a program that does not build fails, and hides nothing of the others

unit:
	@rc=0; $(MAKE) -k --no-print-directory unit-build || rc=1; \
	    tools/unit $(BUILD)/unit $(TESTS) || rc=1; exit $$rc

# power cuts, sampled: fewer of them where each takes several times as long

asan:
	@rc=0; $(MAKE) -k --no-print-directory asan-build || rc=1; \
	    S3_POWERCUT_CUTS=$${S3_POWERCUT_CUTS:-4} \
	    tools/unit $(BUILD)/asan $(TESTS) || rc=1; exit $$rc

# power cuts, and faults at the n-th call: a few, as each takes long there

tsan:
	@rc=0; $(MAKE) -k --no-print-directory tsan-build || rc=1; \
	    S3_POWERCUT_CUTS=$${S3_POWERCUT_CUTS:-2} \
	    TSAN_OPTIONS="$(TSAN_FLAGS) $$TSAN_OPTIONS" \
	    UNIT_TIMEOUT=$${UNIT_TIMEOUT:-1800} \
	    tools/unit $(BUILD)/tsan $(TSAN_TESTS) || rc=1; exit $$rc

variants:
	@rc=0; BUILD=$(BUILD) tools/variant newer || rc=1; \
	    BUILD=$(BUILD) tools/variant sanitize || rc=1; exit $$rc

fuzz: fuzz-build
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),15) tools/fuzz $(BUILD)/fuzz $(FUZZERS)

coverage:
	@BUILD=$(BUILD) NGINX_SRC=$(NGINX_SRC) tools/coverage


deps:
	@tools/deps all

run:
	@BUILD=$(BUILD) NGINX_SRC=$(NGINX_SRC) exec tools/run

run-gateway:
	@BUILD=$(BUILD) NGINX_SRC=$(NGINX_SRC) exec tools/run gateway

test:
	@BUILD=$(BUILD) NGINX_SRC=$(NGINX_SRC) \
	    FUZZ_SECONDS=$(or $(FUZZ_SECONDS),5) tools/test

bench: all
	@BUILD=$(BUILD) bench/run

bench-gateway: module
	@tools/deps test
	@BUILD=$(BUILD) build/venv/bin/python bench/gateway

install: module $(BUILD)/s3-credential $(BUILD)/s3-store
	install -D -m 644 $(MODULE) \
	    $(DESTDIR)$(MODULES_DIR)/ngx_http_s3_module.so
	install -D -m 644 -t $(DESTDIR)$(CONF_DIR) conf/s3_params \
	    conf/s3_gateway_params
	install -D -m 755 -t $(DESTDIR)$(BIN_DIR) $(BUILD)/s3-credential \
	    $(BUILD)/s3-store

clean:
	rm -rf $(BUILD)

FORCE:
