#!/bin/sh
# Makes sure that a Docker Engine answers and that the packages ipdc needs are
# there. Does nothing when all is well. Works as root or through sudo.
#
#   scripts/engine.sh         what a node and its stock images need
#   scripts/engine.sh compose that and docker-compose
#   scripts/engine.sh test    that and what else the tests need
#
# An engine that nothing else starts is started here; its log is
# /var/log/ipdc-dockerd.log. Stop it with: kill "$(cat /var/run/docker.pid)"
set -eu

LOG=/var/log/ipdc-dockerd.log
WAIT=60 # seconds for an engine to answer

# Tools like losetup and mkfs.ext4 are not on everybody's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { echo "engine.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# as_root runs a command with root rights and the caller's environment.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -E env "PATH=$PATH" "$@"
	else
		die "\"$*\" needs root rights, and sudo is missing; run this as root"
	fi
}

# answers prints the version of the engine that answers when docker is run by
# the command in front of it, env or as_root.
answers() {
	found=$("$@" timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null) && [ -n "$found" ] && echo "$found"
}

# missing prints the packages that are not there.
missing() {
	want() { command -v "$1" >/dev/null || echo "$2"; }
	file() { [ -e "$1" ] || echo "$2"; }
	if ! command -v docker >/dev/null || { ! command -v dockerd >/dev/null && ! answers env >/dev/null; }; then
		echo docker.io
	fi
	want mkfs.ext4 e2fsprogs
	want losetup mount
	want mmdebstrap mmdebstrap
	file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
	file /etc/ssl/certs/ca-certificates.crt ca-certificates
	if [ "${1:-}" = compose ] && ! docker compose version >/dev/null 2>&1; then
		want docker-compose docker-compose
	fi
	if [ "${1:-}" = test ]; then
		want docker-compose docker-compose
		want gcc gcc
		file /usr/include/stdlib.h libc6-dev
		want python3 python3
		python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
	fi
}

install_packages() {
	[ $# -gt 0 ] || return 0
	command -v apt-get >/dev/null ||
		die "missing: $*; install them with this system's package manager (apt-get, which would do it here, is missing)"
	say "installing $*"
	as_root apt-get update -qq >&2 || say "apt-get update had errors; going on with the package lists that are there"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		-o DPkg::Lock::Timeout=300 "$@" >&2 ||
		die "apt-get could not install them; see above, then run: sudo apt-get install -y $*"
}

# From Debian 13 on the command is a package of its own.
install_client() {
	command -v docker >/dev/null || install_packages docker-cli
	command -v docker >/dev/null || die "the docker command is still missing; install it, then run this again"
}

# await prints the engine's version when it answers within $1 seconds.
await() {
	tries=$(($1 * 2))
	while [ "$tries" -gt 0 ]; do
		answers as_root && return 0
		tries=$((tries - 1))
		sleep 0.5
	done
	return 1
}

# running succeeds when some dockerd runs, even one that does not answer yet.
running() { [ -s /var/run/docker.pid ] && as_root kill -0 "$(as_root cat /var/run/docker.pid)" 2>/dev/null; }

start_engine() {
	if [ -n "${DOCKER_HOST:-}" ]; then
		die "DOCKER_HOST is $DOCKER_HOST, and no engine answers there; start it, or unset DOCKER_HOST"
	fi
	if running; then
		say "an engine is starting"
	elif [ -d /run/systemd/system ]; then
		as_root systemctl start docker || say "systemctl start docker failed; see: journalctl -u docker"
	elif [ "$(cat /proc/1/comm)" = init ] && [ -x /etc/init.d/docker ]; then
		as_root service docker start >&2 || say "service docker start failed"
	else
		start_dockerd
	fi
}

# start_dockerd starts the engine where no init does, as in most containers.
start_dockerd() {
	say "starting dockerd (log: $LOG)"
	if ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
		command -v cgroupfs-mount >/dev/null || install_packages cgroupfs-mount
		as_root cgroupfs-mount
	fi
	# shellcheck disable=SC2016 # $1 is the inner shell's
	as_root sh -c 'setsid dockerd >"$1" 2>&1 </dev/null &' sh "$LOG"
}

main() {
	# shellcheck disable=SC2046 # one word for each package
	install_packages $(missing "$@")
	install_client
	if ! version=$(answers env || answers as_root); then
		start_engine
		if ! version=$(await "$WAIT"); then
			[ ! -r "$LOG" ] || tail -n 20 "$LOG" >&2
			die "no engine answers after $WAIT s; see above, or run: sudo dockerd"
		fi
	fi
	say "docker engine $version answers"
}

main "$@"
