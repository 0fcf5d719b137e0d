#!/bin/sh
# Builds the images of docker-compose.yml without a registry and brings a domain
# of three nodes up. Does no more when all is there. Needs root rights.
#
#   scripts/compose.sh images    build ipdc/sidecar and ipdc/compose
#   scripts/compose.sh up        and start; returns when all nodes are connected and have
#                                heard of each other
#   scripts/compose.sh down      stop and remove; the state in IPDC_STATE stays
#
# IPDC_STATE is /var/lib/ipdc-compose unless it is set. IPDC_BIN and IPDC_IMAGES,
# directory of the programs and prefix of the images, are for tests.
set -eu

cd "$(dirname "$0")/.."
build=$PWD/build/compose
bin=${IPDC_BIN:-bin}
export IPDC_STATE="${IPDC_STATE:-/var/lib/ipdc-compose}" IPDC_IMAGES="${IPDC_IMAGES:-ipdc}"
SUITE=bookworm
WAIT=120 # seconds for that

say() { echo "compose.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# sources prints the host's own apt sources of the suite, so that a mirror that
# works for the host works here; none on a host of another suite.
sources() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null |
		sort -u | grep -E " $SUITE(-updates|-security)? " || true
}

# debian makes the root that mosquitto runs in, once.
debian() {
	[ ! -e "$build/debian.tar" ] || return 0
	command -v mmdebstrap >/dev/null || die "mmdebstrap is missing; install it with: scripts/engine.sh"
	say "building a root of Debian $SUITE with mosquitto, half a minute the first time"
	set -- "$SUITE" "$build/debian.new"
	lines=$(sources)
	[ -z "$lines" ] || set -- "$@" -
	merged=/usr/share/mmdebstrap/hooks/merged-usr # keeps Perl out
	[ ! -d "$merged" ] || set -- "--hook-dir=$merged" "$@"
	proxy=$(apt-config dump --format '%f "%v";%n' Acquire::http::Proxy 2>/dev/null || true)
	[ -z "$proxy" ] || set -- "--aptopt=$proxy" "$@"
	printf '%s\n' "$lines" | mmdebstrap --quiet --variant=essential --format=tar --include=mosquitto,openssl,usr-is-merged \
		--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' "$@" >"$build/debian.log" 2>&1 ||
		{ tail -n 20 "$build/debian.log" >&2; die "mmdebstrap failed; see above"; }
	mv "$build/debian.new" "$build/debian.tar"
}

# images builds both from what make build has built, each in a context of its
# own. A program that is the same is not built into a new layer.
images() {
	[ -x "$bin/ipdc" ] || die "$bin/ipdc is missing; run: make build"
	mkdir -p "$build/node/bin"
	debian
	kubo=$(scripts/kubo.sh)
	ln -f "$kubo" "$build/ipfs"
	cp -f "$bin/ipdc" "$bin/ipdc-guest" "$build/node/bin/"
	cp -f Dockerfile "$build/node/"
	cp -f init/compose/* "$build/"
	image sidecar "$build/node"
	image compose "$build"
}

image() { # NAME CONTEXT: by the builder that every engine has
	DOCKER_BUILDKIT=0 docker build -q -t "$IPDC_IMAGES/$1" "$2" >/dev/null 2>"$build/docker.log" ||
		{ cat "$build/docker.log" >&2; die "docker build failed; see above"; }
}

# compose runs Debian's docker-compose, or the plugin.
compose() {
	if command -v docker-compose >/dev/null; then
		docker-compose "$@"
	elif docker compose version >/dev/null 2>&1; then
		docker compose "$@"
	else
		die "docker-compose is missing; install it with: scripts/engine.sh compose"
	fi
}

up() {
	mkdir -p "$IPDC_STATE"
	compose up -d
	tries=$WAIT
	for n in 1 2 3; do
		while [ "$(IPDC_PATH=$IPDC_STATE/node$n "$bin/ipdc" peers -o json 2>/dev/null | grep -cE '"connected": true|"version": "[^"]')" -lt 4 ]; do
			tries=$((tries - 1))
			[ "$tries" -gt 0 ] || die "the nodes are not connected, or have not heard of each other, after $WAIT s; look at: docker-compose logs"
			sleep 1
		done
	done
	say "three nodes are up; talk to one of them: sudo IPDC_PATH=$IPDC_STATE/node1 $bin/ipdc peers"
}

case "${1:-}" in
images) images ;;
up) images && up ;;
down) compose down ;;
*) die "want images, up or down" ;;
esac
