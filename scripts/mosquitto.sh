#!/bin/sh
# Installs the MQTT broker that tests run against: mosquitto from Debian. Prints
# the path of the program; does no more when it is there. Works as root or
# through sudo. Tests start brokers of their own; a system service that the
# package brings is not used.
set -eu

program=/usr/sbin/mosquitto

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

if [ ! -x "$program" ]; then
	echo "mosquitto.sh: installing mosquitto" >&2
	as_root apt-get update -q >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mosquitto >&2
fi
echo "$program"
