# recentfs: the kernel's xt_recent in user space. `make` alone says what there is.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
RULES   ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SHELL   := /bin/bash

# What the demo calls, what the tests call, and Debian's packages with it. DEPS also
# has what the benchmark's peers are built from.
DEMO_TOOLS := ip iptables nc nsenter
DEMO_DEPS  := iproute2 iptables netcat-openbsd util-linux
TOOLS := busybox fail2ban-server gcc ip ipset iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft jq nc nft nsenter perl ping ps prlimit python3 setpriv systemctl taskset unshare
DEPS := busybox fail2ban gcc iproute2 ipset iptables iputils-ping jq libc6-dev libfuse3-dev libnetfilter-queue-dev netcat-openbsd nftables procps python3 systemd util-linux

# $(call need,TOOLS,PACKAGES) installs PACKAGES where one of TOOLS is missing. An
# update that fails leaves the lists that are there.
define need
@missing=; for tool in $(1); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
[ -z "$$missing" ] || if command -v apt-get >/dev/null; then \
	echo "missing:$$missing: apt-get installs $(2)"; export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update; apt-get -qq install -y --no-install-recommends $(2) >/dev/null || \
		{ echo "apt-get failed: install the packages by hand: $(2)"; exit 1; }; \
else \
	echo "missing:$$missing: install what has them; in Debian these are the packages $(2)"; exit 1; \
fi
endef

define fuse
@[ -c /dev/fuse ] || { echo "/dev/fuse is not the FUSE device, or missing: modprobe fuse, or pass the device into this container"; exit 1; }
endef

# What a soak does more often than make test.
SOAK := TestKilled|TestKills|TestKeep$$|TestTakeover|TestSystemd|TestWatchdogIsCalm

# What feeds the rules; nft can only do it where the kernel can.
IPTABLES_LINE := iptables -t mangle -A INPUT -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0 --queue-bypass
NFT_LINE      := nft 'table inet recentfs { chain input { type filter hook input priority mangle; tcp dport 22 tcp flags & (fin|syn|rst|ack) == syn queue flags bypass to 0; }; }'

UNITS := recentfs.service recentfs-helper.service recentfs-helper.socket

.PHONY: help build lint test bench fuzz mutants demo run install uninstall deps soak clean go tools root

help: ## what you are reading
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

build: go ## bin/recentfs, stamped with its version
	$(GO) build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/recentfs ./cmd/recentfs

lint: go ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l $$($(GO) list -f '{{.Dir}}' ./...)) && \
	if [ -n "$$unformatted" ]; then echo "not as gofmt writes it:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

test: root tools ## every test, under the race detector; needs root
	$(GO) build -o bin/skips ./tests/skips
	@set -o pipefail; echo '$(GO) test -race -count=1 ./...'; $(GO) test -race -count=1 -json ./... | bin/skips

bench: root tools ## recentfs beside its peers, in about three minutes
	$(GO) build -o bin/bench ./tests/bench
	@exec bin/bench

soak: root tools ## kills, restarts and attacks under load, by the thousand: nothing may be lost; half an hour
	RECENTFS_SOAK=1 $(GO) test -count=1 -timeout 2h -v -run '$(SOAK)' ./match/state ./capture/nfqueue ./fs ./tests/e2e
	RECENTFS_SOAK=1 $(GO) test -count=1 -timeout 2h -v ./tests/chaos

fuzz: go ## every fuzz target, 30 seconds each
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime 30s $$package; \
		done; \
	done

mutants: root tools ## a few hundred small faults, one at a time: do the tests notice? about an hour
	$(GO) build -o bin/mutants ./tests/mutants
	@exec bin/mutants

demo: root build ## two namespaces, an ssh port, and a guest who comes too often
	$(call need,$(DEMO_TOOLS),$(DEMO_DEPS))
	$(fuse)
	@tests/demo.sh bin/recentfs

run: root build ## the daemon in the foreground; RULES=FILE for rules of your own
	$(fuse)
	@[ -e /proc/net/netfilter/nfnetlink_queue ] || modprobe nfnetlink_queue 2>/dev/null || \
		{ echo "this kernel has no NFQUEUE: it needs CONFIG_NETFILTER_NETLINK_QUEUE (modprobe nfnetlink_queue)"; exit 1; }
	$(call need,iptables,iptables)
	@echo "In another shell, this sends new ssh connections to the rules:"
	@echo "  $(IPTABLES_LINE)"
	@echo "  (for IPv6, the same by ip6tables)"
	@command -v nft >/dev/null || exit 0; \
	if unshare -n nft -c 'table inet t { chain c { type filter hook input priority 0; queue to 0; }; }' 2>/dev/null; then \
		echo "or this:"; echo "  $(NFT_LINE)"; \
	else \
		echo "  (nft cannot do it here: this kernel lacks CONFIG_NFT_QUEUE)"; \
	fi
	@echo "Then connect, and: cat /run/recentfs/xt_recent/*"
	@exec bin/recentfs run $(if $(RULES),--rules '$(RULES)')

install: build ## the program, its rules, its user and its systemd units; DESTDIR and PREFIX as usual
	install -D -m 0755 bin/recentfs '$(DESTDIR)$(PREFIX)/bin/recentfs'
	[ -e '$(DESTDIR)/etc/recentfs/rules' ] || install -D -m 0644 cmd/recentfs/internal/daemon/example.rules '$(DESTDIR)/etc/recentfs/rules'
	install -D -m 0644 cmd/recentfs/recentfs.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/recentfs.conf'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in $(UNITS); do sed 's|/usr/local/bin/|$(PREFIX)/bin/|' cmd/recentfs/$$unit > '$(DESTDIR)$(PREFIX)/lib/systemd/system/'$$unit; done
	[ -n '$(DESTDIR)' ] || ! command -v systemd-sysusers > /dev/null || systemd-sysusers '$(PREFIX)/lib/sysusers.d/recentfs.conf'

uninstall: ## removes what install put there, but not your rules; first systemctl disable --now recentfs
	rm -f '$(DESTDIR)$(PREFIX)/bin/recentfs' '$(DESTDIR)$(PREFIX)/lib/sysusers.d/recentfs.conf'
	rm -f $(foreach unit,$(UNITS),'$(DESTDIR)$(PREFIX)/lib/systemd/system/$(unit)')

deps: root ## Debian's packages for the tests (of fail2ban Debian also starts the service)
	apt-get update
	apt-get install -y --no-install-recommends $(DEPS)

clean: ## bin/
	rm -rf bin

go:
	@version=$$($(GO) env GOVERSION 2>/dev/null) && printf 'go1.26\n%s\n' "$$version" | sort -VC || \
		{ echo "Go 1.26 or newer is needed ($$($(GO) version 2>/dev/null || echo none is here)): see https://go.dev/dl/"; exit 1; }

tools: root go
	$(call need,$(TOOLS),$(DEPS))
	$(fuse)

root:
	@[ "$$(id -u)" = 0 ] || { echo "root is needed, for queues, mounts and namespaces: run make as root"; exit 1; }
