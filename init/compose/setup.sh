#!/bin/sh
# Makes what the nodes of docker-compose.yml need before they start: one domain
# of all three, a broker that knows them, a Kubo. What is there already stays,
# so that it may run at any time, and again when it was cut short.
#
#   setup.sh STATE    the directory with the state of all of them
set -eu
umask 077
state=$1

node() { # NUMBER ARGUMENT...: ipdc as this node
	dir=$state/node$1
	shift
	IPDC_PATH=$dir ipdc "$@"
}
domain() { node "$1" domain show -o name 2>/dev/null || true; }
id() { node "$1" domain show -o json | sed -n 's/^  "node": "\(.*\)",$/\1/p'; }

# The first node founds the domain, and is there for a moment to let the others
# in. It has the name here that it will have then.
members() {
	started=
	[ -n "$(domain 1)" ] || node 1 domain create "$IPDC_DOMAIN" >/dev/null
	for n in 2 3; do
		[ "$(domain "$n")" = "$(domain 1)" ] && continue
		if ! node 1 node status -q >/dev/null 2>&1; then
			node 1 node start -d >/dev/null
			started=1
		fi
		node 1 domain invite -q | node "$n" domain join - >/dev/null
	done
	if [ -n "$started" ]; then node 1 node stop >/dev/null; fi
}

# The broker's certificate is its own authority, so there is no other key. Its
# users are the nodes, each held to its name.
broker() {
	mkdir -p "$state/broker"
	cd "$state/broker"
	if [ ! -e cert.pem ]; then
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=mosquitto \
			-addext subjectAltName=DNS:mosquitto -keyout key.pem -out cert.new 2>/dev/null
		mv cert.new cert.pem
	fi
	[ -e passwords ] || : >passwords
	for n in 1 2 3; do
		secret=$state/node$n/broker.password
		[ -s "$secret" ] || openssl rand -hex 24 >"$secret"
		user=$(id "$n")
		grep -q "^$user:" passwords || mosquitto_passwd -b passwords "$user" "$(cat "$secret")"
		cp cert.pem "$state/node$n/broker.pem"
	done
	acl=$(node 1 domain acl)
	echo "$acl" >acl
	chown -R mosquitto:mosquitto .
}

# Only the node beside it reaches the Kubo's RPC: it is a socket in a directory.
kubo() {
	export IPFS_PATH="$state/kubo"
	[ ! -e "$IPFS_PATH/swarm.key" ] || return 0
	[ -e "$IPFS_PATH/config" ] || ipfs init --profile=unixfs-v1-2025 --empty-repo >/dev/null
	ipfs config --json Addresses.API "[\"/unix$IPFS_PATH/api.sock\"]"
	ipfs config --json Addresses.Gateway '[]'
	node 3 ipfs private "$IPFS_PATH" >/dev/null
}

members
broker
kubo
