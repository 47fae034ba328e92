# Thin names over cargo and cc; `make help` lists them. What is built stands in build/, laid out as
# it is installed, and in cargo's own target/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

CARGO ?= cargo
CC := $(if $(filter default,$(origin CC)),cc,$(CC))
LD := $(if $(filter default,$(origin LD)),ld,$(LD))
AR := $(if $(filter default,$(origin AR)),ar,$(AR))
OBJCOPY ?= objcopy
NM ?= nm
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
DESTDIR ?=
comma := ,

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(firstword $(subst ., ,$(VERSION)))
TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release
STAGE := build
SO := $(STAGE)/lib/libneurohttp.so.$(VERSION)
ARCHIVE := $(STAGE)/lib/libneurohttp.a
PROGRAM := $(STAGE)/bin/neurohttp
NATIVE_LIBS := $(RELEASE)/native-static-libs
PLUGINS := $(patsubst plugins/%.c,$(STAGE)/plugins/%.so,$(wildcard plugins/*.c))
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src asm -type f 2>/dev/null)

.PHONY: help run test build rebuild debug plugins tests header docs check lint deb deb-check setup-deb without-legacy levels avx512 \
	kernel-bench bench bench-overload browser valgrind asan fuzz install uninstall clean setup setup-tests

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- using it ----

run: $(PROGRAM) ## the server on 127.0.0.1:8080, with no file, no key and no network (ARGS="…")
	@exec $(PROGRAM) serve $(ARGS)

test: setup-tests build ## every test, on the libraries and the program as they are shipped
	@$(call run_tests,)

build: $(PROGRAM) $(SO) $(ARCHIVE) plugins ## the program, the libraries and the plugins, optimized

plugins: $(PLUGINS) ## the shipped plugins, into build/plugins

rebuild: clean build ## the same from nothing

# ---- system packages ----
# command:package pairs. What is missing is installed where we are root; else the one line to type
# is printed. Without nasm the library falls back to its Rust kernels, so nasm may be missing.

setup:
	@$(call need,cc:gcc:libc6-dev ld:binutils nasm:nasm)

setup-tests:
	@$(call need,cc:gcc:libc6-dev c++:g++ ld:binutils nasm:nasm pkg-config:pkg-config \
		python3:python3 ensurepip:python3-venv valgrind:valgrind cmake:cmake)

define need
if ! command -v $(firstword $(CARGO)) >/dev/null; then
	echo "cargo is missing: install a Rust toolchain first, https://rustup.rs" >&2
	exit 1
fi
missing=
for pair in $(1); do
	name=$${pair%%:*}
	packages=$${pair#*:}
	if [ $$name = ensurepip ]; then
		python3 -c 'import ensurepip' 2>/dev/null || missing+=" $${packages//:/ }"
	else
		command -v $$name >/dev/null || missing+=" $${packages//:/ }"
	fi
done
if [ -n "$$missing" ]; then
	line="apt-get update && apt-get install -y --no-install-recommends$$missing"
	tried=$(STAGE)/.setup
	if [ -e $$tried ] && [ "$$(cat $$tried)" = "$$line" ]; then
		echo "still missing:$$missing" >&2
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing:$$missing" >&2
		export DEBIAN_FRONTEND=noninteractive
		apt-get -qq update >&2 || true
		for package in $$missing; do
			apt-get -qq install -y --no-install-recommends $$package >/dev/null ||
				echo "could not be installed: $$package" >&2
		done
	else
		printf 'missing:%s. To install:\n    sudo sh -c "%s"\n' "$$missing" "$$line" >&2
	fi
	mkdir -p $(STAGE)
	echo "$$line" >$$tried
	if ! command -v cc >/dev/null; then
		echo "a C compiler is needed" >&2
		exit 1
	fi
fi
endef

# ---- the artifacts ----
# Cargo leaves link-time optimization out of a library that is built as an rlib too, as a plain
# `cargo build --release` does for the program's sake. So the libraries are built apart from it, and
# the outputs that share their names in deps/ are removed: cargo then builds the kind asked for.

$(PROGRAM): $(SOURCES) | setup
	$(CARGO) build --release --bin neurohttp
	install -D $(RELEASE)/neurohttp $@

# The archive as rustc makes it has all of Rust's runtime for global symbols. It is narrowed to one
# object whose globals are those of the shared library; the names of the old surface are weak there,
# so that a program may have a `log_message` of its own.
$(SO) $(ARCHIVE) &: $(SOURCES) | setup $(PROGRAM)
	rm -f $(RELEASE)/deps/libneurohttp.so $(RELEASE)/deps/libneurohttp.a
	mkdir -p $(STAGE)/lib
	$(CARGO) rustc -v --release --lib --crate-type cdylib,staticlib -- \
		--print native-static-libs=$(NATIVE_LIBS) 2>&1 |
		tee $(STAGE)/libraries.log | sed '/^ *Running/d; /^ *Fresh/d; /^ *Dirty/d'
	if ! grep -q 'crate-name neurohttp .*-C lto=fat' $(STAGE)/libraries.log; then
		echo "the libraries were built without link-time optimization" >&2
		exit 1
	fi
	install -m 644 $(RELEASE)/libneurohttp.so $(SO)
	ln -sf $(notdir $(SO)) $(STAGE)/lib/libneurohttp.so.$(ABI)
	ln -sf $(notdir $(SO)) $(STAGE)/lib/libneurohttp.so
	cp $(NATIVE_LIBS) $(STAGE)/lib/native-static-libs
	$(NM) -D --defined-only $(SO) | awk '{ print $$3 }' | sort >$(STAGE)/exports
	{ grep -v '^nh_' $(STAGE)/exports || true; } >$(STAGE)/exports-old
	sed 's/^/-u /' $(STAGE)/exports >$(STAGE)/roots
	$(LD) -r -o $(STAGE)/neurohttp.o @$(STAGE)/roots $(RELEASE)/libneurohttp.a
	$(OBJCOPY) --keep-global-symbols=$(STAGE)/exports --weaken-symbols=$(STAGE)/exports-old \
		--strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd $(STAGE)/neurohttp.o
	rm -f $(ARCHIVE)
	$(AR) rcs $(ARCHIVE) $(STAGE)/neurohttp.o
	rm -f $(STAGE)/neurohttp.o $(STAGE)/roots

# A plugin links against nothing but libc: what it calls of the server it is handed.
$(STAGE)/plugins/%.so: plugins/%.c plugins/settings.h include/neurohttp.h | setup
	mkdir -p $(@D)
	$(CC) -std=c11 -O2 -g -fPIC -shared -pthread -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror \
		-Iinclude -Iinclude/legacy $(CFLAGS) $(LDFLAGS) -o $@ $<

debug: setup ## unoptimized, with cargo's own layout in target/debug
	$(CARGO) build

# ---- tests ----

# Runs cargo's tests on what stands in $(STAGE), prints the sum as the last line and fails with them.
define run_tests
log=$(STAGE)/tests.log
result=0
NH_STAGE=$(CURDIR)/$(STAGE) $(CARGO) test --no-fail-fast $(1) 2>&1 | tee $$log || result=$$?
awk '/^test result:/ { passed += $$4; failed += $$6 } /^error/ { broken = 1 }
	END { printf "%d passed, %d failed\n", passed, failed + (broken && !failed) }' $$log
exit $$result
endef

tests: setup-tests ## the tests on an unoptimized build: quicker to build while writing
	@$(CARGO) test

valgrind: setup-tests build ## examples, old hosts and plugins under valgrind: no error, no leak
	@$(call run_tests,--test examples --test legacy --test plugins valgrind)

asan: setup-tests build ## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@export NH_CFLAGS="-g -fsanitize=address$(comma)undefined -fno-omit-frame-pointer"
	$(call run_tests,--test c_api --test legacy --test plugins)

without-legacy: setup ## the library without the old names: it builds, and has none of them
	$(CARGO) rustc --no-default-features --lib --crate-type cdylib \
		--target-dir $(TARGET)/without-legacy -- -D warnings
	if $(NM) -D --defined-only $(TARGET)/without-legacy/debug/libneurohttp.so |
			awk '{ print $$3 }' | grep -v '^nh_'; then
		echo "these names are exported although the feature legacy is off" >&2
		exit 1
	fi

# libFuzzer with the coverage passes that every toolchain has: no nightly is needed. What it keeps
# lies in target/fuzz/corpus; a finding is written to target/fuzz and ends the run.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
FUZZ_FLAGS := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 \
	inline-8bit-counters pc-table trace-compares)
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: setup-tests ## each target of tests/fuzz for FUZZ_SECONDS (600), or those of FUZZ_TARGETS="…"
	@export RUSTFLAGS="$(FUZZ_FLAGS)"
	$(CARGO) build --release --manifest-path tests/fuzz/Cargo.toml --target $(FUZZ_HOST) \
		--target-dir $(TARGET)/fuzz
	for target in $(FUZZ_TARGETS); do
		mkdir -p $(TARGET)/fuzz/corpus/$$target
		echo "$$target for $(FUZZ_SECONDS) s"
		$(TARGET)/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
			-timeout=5 -rss_limit_mb=512 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=$(TARGET)/fuzz/$$target- \
			$(TARGET)/fuzz/corpus/$$target tests/fuzz/corpus/$$target
	done

header: ## writes include/neurohttp.h anew from src/ffi
	NEUROHTTP_WRITE_HEADER=1 $(CARGO) test --test header the_committed_header_is_fresh

docs: ## writes anew what is made of --help, the sample, the checks and the header: docs/, docs/man
	NEUROHTTP_WRITE_DOCS=1 $(CARGO) test --test documents fresh

lint: ## formatting and clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

# What the kernels are used for, at each level (a level that this CPU lacks is its best) and in a build
# that found no nasm.
KERNEL_TESTS := --lib --test kernels -- kernel json http head copy crc utf8
LEVELS := scalar sse42 avx2 avx512

levels: setup-tests ## the kernel, JSON and HTTP tests at each forced CPU level and without nasm
	@for level in $(LEVELS); do
		echo "== NEUROHTTP_CPU=$$level"
		NEUROHTTP_CPU=$$level $(CARGO) test -q $(KERNEL_TESTS)
		NEUROHTTP_CPU=$$level $(CARGO) test -q --test net -- framing limits chat
	done
	echo "== without nasm"
	NASM=/nonexistent $(CARGO) test -q $(KERNEL_TESTS)
	NASM=/nonexistent $(CARGO) test -q --test net -- framing limits chat

# Few machines have AVX-512; bochs has it. The tests are built with optimization, as it is slow.
avx512: setup-tests ## the kernel tests on an emulated CPU with AVX-512; some ten minutes
	@$(call need,bochs:bochs:bochs-term:bochsbios:vgabios grub-mkrescue:grub-common:grub-pc-bin \
		xorriso:xorriso mformat:mtools cpio:cpio)
	program=$$(CARGO_PROFILE_DEV_OPT_LEVEL=2 $(CARGO) test --test kernels --no-run \
		--target-dir $(TARGET)/emulated 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$$/\1/p')
	tests/emulated/run.sh $$program $(TARGET)/emulated/machine

# The rivals are packages of the benchmark alone; the system's libraries take part when they are there.
kernel-bench: setup ## every kernel beside the best libraries, as ratios (ARGS="--job crc32 --rounds 31")
	@$(CARGO) run -q --release --manifest-path tests/bench/kernels/Cargo.toml \
		--target-dir $(TARGET)/kernel-bench -- $(ARGS)

check: lint without-legacy test flood levels asan browser deb-check ## what a reviewer runs

flood: ## 100,000 requests from 10,000 addresses beside a client that is let in
	NH_FLOOD=full $(CARGO) test --test firewall flood -- --nocapture

# Where no browser can be had it says so and passes.
browser: build ## the live page in headless Chromium, pictures in build/browser
	@$(call need,chromium:chromium)
	python3 tests/browser/dashboard.py $(PROGRAM) $(STAGE)/browser

bench: build ## a short benchmark beside nginx, where that is installed; ratios count, not figures
	$(CC) -std=c11 -O2 -Wall -Wextra -Werror -o $(STAGE)/load tests/bench/load.c
	python3 tests/bench/run.py $(PROGRAM) $(STAGE)/load $(ARGS)
	$(CARGO) bench --bench routes
	$(CARGO) bench --bench firewall
	$(CARGO) bench --bench cache

bench-overload: build ## what overload does with and without the optimizer, four minutes (ARGS=SECONDS a row)
	$(CC) -std=c11 -O2 -Wall -Wextra -Werror -Iinclude -o $(STAGE)/overload tests/bench/overload.c \
		-L$(STAGE)/lib -lneurohttp -lpthread -lm -Wl,-rpath,$(abspath $(STAGE)/lib)
	$(STAGE)/overload $(ARGS)

# ---- installing ----

BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(LIBDIR)
PLUGIN_DIR := $(DESTDIR)$(PREFIX)/lib/neurohttp
INCLUDE := $(DESTDIR)$(PREFIX)/include
ETC := $(DESTDIR)$(SYSCONFDIR)/neurohttp
DOC := $(DESTDIR)$(PREFIX)/share/doc/neurohttp
OLD_HEADERS := $(patsubst include/legacy/%,%,$(shell find include/legacy -name '*.h' 2>/dev/null))
SAMPLES := neurohttp.toml aionic.conf
MAN := $(DESTDIR)$(PREFIX)/share/man
PAGES := $(notdir $(wildcard docs/man/*.[0-9]))
DOCUMENTS := README.md CHANGELOG.md SECURITY.md LICENSE \
	src/pipeline/dashboard/vendor/LICENSE.uPlot $(filter-out docs/README.md,$(wildcard docs/*.md))
# Documents lie in one folder when they are installed: their links are led there.
LINKS := s|](\.\./docs/|](|g; s|](docs/|](|g; s|](\.\./SECURITY|](SECURITY|g; \
	s|](\.\./plugins/README|](shipped-plugins|g; s|](\.\./config/fronts/|](fronts/|g; \
	s|](\.\./c_examples/|](examples/|g; s|\[src/README\.md\](\.\./src/README\.md)|`src/README.md` of the sources|g
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
CMAKE_FILES := neurohttpConfig.cmake neurohttpConfigVersion.cmake

# An operator's own configuration is never overwritten.
install: build ## into PREFIX (/usr/local), libraries into LIBDIR, below DESTDIR when that is set
	install -D -m 755 $(PROGRAM) $(BIN)/neurohttp
	ln -sf neurohttp $(BIN)/aionic
	install -D -m 755 $(SO) $(LIB)/$(notdir $(SO))
	ln -sf $(notdir $(SO)) $(LIB)/libneurohttp.so.$(ABI)
	ln -sf $(notdir $(SO)) $(LIB)/libneurohttp.so
	install -D -m 644 $(ARCHIVE) $(LIB)/libneurohttp.a
	install -D -m 644 include/neurohttp.h $(INCLUDE)/neurohttp.h
	for header in $(OLD_HEADERS); do
		install -D -m 644 include/legacy/$$header $(INCLUDE)/neurohttp/legacy/$$header
	done
	install -d $(LIB)/pkgconfig
	cat >$(LIB)/pkgconfig/neurohttp.pc <<-END
	prefix=$(PREFIX)
	libdir=$(if $(filter $(PREFIX)/%,$(LIBDIR)),\$${prefix}/$(patsubst $(PREFIX)/%,%,$(LIBDIR)),$(LIBDIR))
	includedir=\$${prefix}/include

	Name: neurohttp
	Description: HTTP server for AI traffic
	Version: $(VERSION)
	Libs: -L\$${libdir} -lneurohttp
	Libs.private: $$(cat $(STAGE)/lib/native-static-libs)
	Cflags: -I\$${includedir}
	END
	cat >$(LIB)/pkgconfig/neurohttp-legacy.pc <<-END
	prefix=$(PREFIX)
	includedir=\$${prefix}/include

	Name: neurohttp-legacy
	Description: NeuroHTTP for hosts and plugins of the original server: its headers
	Version: $(VERSION)
	Requires: neurohttp
	Cflags: -I\$${includedir}/neurohttp/legacy -I\$${includedir}/neurohttp/legacy/ai
	END
	install -d $(LIB)/cmake/neurohttp
	for file in $(CMAKE_FILES); do
		sed -e "s|@VERSION@|$(VERSION)|g; s|@ABI@|$(ABI)|g" \
			-e "s|@PREFIX@|$$(realpath -m --relative-to=$(LIBDIR)/cmake/neurohttp $(PREFIX))|" \
			-e "s|@NATIVE_LIBS@|$$(cat $(STAGE)/lib/native-static-libs)|" \
			config/$$file.in >$(LIB)/cmake/neurohttp/$$file
	done
	for plugin in $(notdir $(PLUGINS)); do
		install -D -m 755 $(STAGE)/plugins/$$plugin $(PLUGIN_DIR)/plugins/$$plugin
	done
	for sample in $(SAMPLES); do
		[ -e $(ETC)/$$sample ] || install -D -m 644 config/$$sample $(ETC)/$$sample
	done
	for page in $(PAGES); do
		install -D -m 644 docs/man/$$page $(MAN)/man$${page##*.}/$$page
	done
	install -d $(UNITS)
	sed -e "s|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g" \
		config/systemd/neurohttp.service.in >$(UNITS)/neurohttp.service
	install -m 644 config/systemd/neurohttp.socket $(UNITS)/neurohttp.socket
	install -d $(DOC)/fronts $(DOC)/examples
	install -m 644 config/fronts/* $(DOC)/fronts
	install -m 644 c_examples/* $(DOC)/examples
	for document in $(DOCUMENTS); do
		sed '$(LINKS)' $$document >$(DOC)/$$(basename $$document)
	done
	sed '$(LINKS)' docs/README.md >$(DOC)/index.md
	sed '$(LINKS)' plugins/README.md >$(DOC)/shipped-plugins.md

# ---- packages ----

setup-deb:
	@$(call need,dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev lintian:lintian mmdebstrap:mmdebstrap)

deb: setup-deb build ## Debian packages of the library, its header, the server and the plugins, into build/deb
	rm -rf $(STAGE)/deb
	$(MAKE) -s install PREFIX=/usr LIBDIR=/usr/lib/$$(dpkg-architecture -qDEB_HOST_MULTIARCH) \
		SYSCONFDIR=/etc DESTDIR=$(CURDIR)/$(STAGE)/deb/installed
	config/debian/build.sh $(VERSION) $(STAGE)/deb/installed $(STAGE)/deb
	rm -rf $(STAGE)/deb/installed

deb-check: deb ## lintian on the packages; then installed, served and removed in a fresh root
	tests/debian/check.sh $(STAGE)/deb

# What was changed since it was installed belongs to its owner and stays.
uninstall: ## removes exactly what install put there
	rm -f $(BIN)/neurohttp $(BIN)/aionic $(LIB)/libneurohttp.so{,.$(ABI),.$(VERSION)} \
		$(LIB)/libneurohttp.a $(LIB)/pkgconfig/neurohttp{,-legacy}.pc $(INCLUDE)/neurohttp.h \
		$(addprefix $(LIB)/cmake/neurohttp/,$(CMAKE_FILES)) \
		$(addprefix $(PLUGIN_DIR)/plugins/,$(notdir $(PLUGINS))) \
		$(addprefix $(INCLUDE)/neurohttp/legacy/,$(OLD_HEADERS)) \
		$(UNITS)/neurohttp.service $(UNITS)/neurohttp.socket \
		$(addprefix $(DOC)/,$(notdir $(DOCUMENTS)) shipped-plugins.md index.md) \
		$(addprefix $(DOC)/fronts/,$(notdir $(wildcard config/fronts/*))) \
		$(addprefix $(DOC)/examples/,$(notdir $(wildcard c_examples/*))) \
		$(foreach page,$(PAGES),$(MAN)/man$(patsubst .%,%,$(suffix $(page)))/$(page))
	for sample in $(SAMPLES); do
		! cmp -s config/$$sample $(ETC)/$$sample || rm $(ETC)/$$sample
	done
	for folder in $(INCLUDE)/neurohttp/legacy/ai $(INCLUDE)/neurohttp/legacy $(INCLUDE)/neurohttp \
			$(LIB)/pkgconfig $(LIB)/cmake/neurohttp $(LIB)/cmake $(PLUGIN_DIR)/plugins \
			$(PLUGIN_DIR) $(UNITS) $(dir $(UNITS)) $(MAN)/man1 $(MAN)/man3 $(MAN)/man5 \
			$(MAN) $(ETC) $(DOC)/fronts $(DOC)/examples $(DOC); do
		[ ! -d $$folder ] || rmdir --ignore-fail-on-non-empty $$folder
	done

clean: ## removes everything that was built
	$(CARGO) clean
	rm -rf $(STAGE)
