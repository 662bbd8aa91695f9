# make demo    what Rowcall does, on a private server, in a minute
# make test    everything that must hold: format, lints, unit tests, end-to-end tests on real servers
# make fuzz    the parsers of what comes from outside, and the functions through SQL, five seconds each (SECONDS=600 ONLY="http users" for longer)
# make bench   the speed goals, each beside its peer (ONLY="streams sql" runs some of them)
# make soak    what takes too long for make test (ONLY="faults" runs some of it)
# make install the programs and the library below PREFIX, the configuration in /etc/rowcall (make uninstall)
# make pictures the session and the picture of the page that README.md shows, made anew of the real thing
# make deb     Debian's packages of them, in target/deb
# On Debian each installs what it misses (sudo only when not root).

PREFIX ?= /usr/local
PROFILE ?= release
TARGET := $(or $(CARGO_TARGET_DIR),target)
BUILT := $(TARGET)/$(PROFILE)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rowcall
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
LIBRARY := rowcall_$(subst .,_,$(VERSION)).so

# Most end-to-end tests wait for servers, so more of them than there are cores run at a time; some
# are busy themselves, so not many more.
export RUST_TEST_THREADS ?= 3

.PHONY: build debug release demo test check tests servers clients e2e fuzz bench soak install files uninstall pictures deb

build:
	tests/packages.sh build
	cargo build --workspace

release:
	tests/packages.sh build
	cargo build --release -p rowcall-udf -p rowcalld -p rowcall-cli

demo: release
	tests/packages.sh demo
	sql/examples/demo.sh $(TARGET)/release

test: check e2e fuzz

# Always the whole workspace: each choice of packages would compile the dependencies once more, with
# just the features that these need.
check: tests
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test soak -- -D warnings
	cargo test --workspace --lib --bins

tests:
	tests/packages.sh build
	cargo build --workspace --all-targets

# A server or client that cannot be had fails in CI; elsewhere its tests are skipped by name.
servers:
	tests/packages.sh test
	tests/servers.sh $(CACHE)/servers || test -z "$$CI"
	tests/debian.sh $(CACHE)/debian || test -z "$$CI"

clients:
	tests/packages.sh test
	tests/clients.sh $(CACHE)/clients || test -z "$$CI"

e2e: tests servers clients
	cargo test --workspace --test e2e

fuzz:
	tests/packages.sh fuzz
	tests/fuzz.sh $(or $(SECONDS),5) $(ONLY)

bench: release
	tests/packages.sh bench
	ROWCALL_BUILD=$(abspath $(TARGET))/release cargo bench -p rowcall-tests --bench bench -- $(ONLY)

soak: release servers
	ROWCALL_BUILD=$(abspath $(TARGET))/release cargo test --release -p rowcall-tests --test soak -- $(ONLY)

pictures: tests servers
	ROWCALL_PICTURES=1 cargo test --workspace --test e2e -- readme::session page::portrait
	cp target/screenshots/portrait.png docs/page.png

install: $(PROFILE)
	@$(MAKE) --no-print-directory files

debug: build

# What is installed, from what was built (PROFILE=debug for the quick build). Packages are made of the same.
files:
	install -D -m 755 $(BUILT)/rowcalld $(BUILT)/rowcall -t $(DESTDIR)$(PREFIX)/bin
	install -D -m 644 $(BUILT)/librowcall.so $(DESTDIR)$(PREFIX)/lib/rowcall/$(LIBRARY)
	if plugins=$$(mariadb_config --plugindir 2>/dev/null); then install -D -m 644 "$$plugins"/*.so -t $(DESTDIR)$(PREFIX)/libexec/rowcall/plugin; fi
	$(BUILT)/rowcall man --to $(DESTDIR)$(PREFIX)/share/man/man1
	cd $(DESTDIR)$(PREFIX)/share && mkdir -p bash-completion/completions zsh/site-functions fish/vendor_completions.d
	$(BUILT)/rowcall completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/rowcall
	$(BUILT)/rowcall completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rowcall
	$(BUILT)/rowcall completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rowcall.fish
	install -D -m 644 dist/users.toml dist/grafana.json -t $(DESTDIR)$(PREFIX)/share/rowcall
	install -D -m 644 sql/install.sql sql/uninstall.sql -t $(DESTDIR)$(PREFIX)/share/rowcall/sql
	install -D -m 644 sql/examples/*.sql -t $(DESTDIR)$(PREFIX)/share/rowcall/examples
	install -D -m 644 README.md docs/*.md -t $(DESTDIR)$(PREFIX)/share/doc/rowcall
	install -D -m 644 dist/rowcall.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/rowcall.conf
	install -D -m 644 dist/rowcall.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/rowcall.conf
	install -D -m 644 dist/rowcalld.socket -t $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,/usr/bin/,$(PREFIX)/bin/,' dist/rowcalld.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/rowcalld.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/rowcalld.service
	test -e $(DESTDIR)/etc/rowcall/rowcalld.toml || install -D -m 644 dist/rowcalld.toml -t $(DESTDIR)/etc/rowcall

# What `files` has put there, but for the configuration.
uninstall:
	cd $(DESTDIR)$(PREFIX)/bin && rm -f rowcalld rowcall
	cd $(DESTDIR)$(PREFIX)/lib && rm -rf rowcall systemd/system/rowcalld.service systemd/system/rowcalld.socket sysusers.d/rowcall.conf tmpfiles.d/rowcall.conf
	rm -rf $(DESTDIR)$(PREFIX)/libexec/rowcall
	cd $(DESTDIR)$(PREFIX)/share && rm -rf rowcall doc/rowcall man/man1/rowcall.1 man/man1/rowcall-*.1 bash-completion/completions/rowcall zsh/site-functions/_rowcall fish/vendor_completions.d/rowcall.fish

deb: $(PROFILE)
	tests/packages.sh deb
	dist/deb.sh $(PROFILE) $(TARGET)/deb
