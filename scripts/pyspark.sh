#!/bin/sh
# Makes a Python environment with the PySpark that benchmarks compare with, and
# installs a Java runtime when there is none (Debian's, with root rights or
# sudo). Prints the environment's python3; does no more when all is there.
set -eu

VERSION=4.3.0

cd "$(dirname "$0")/.."
venv=$PWD/build/pyspark-$VERSION

java_runtime() {
	! command -v java >/dev/null || return 0
	echo "pyspark.sh: installing default-jre-headless" >&2
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get -q update >&2
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends default-jre-headless >&2
}

# environment makes the environment, half a GB. pip's own settings (PIP_CERT,
# PIP_INDEX_URL, HTTPS_PROXY and their like) are heeded. What was cut short is
# made anew.
environment() {
	[ ! -e "$venv/complete" ] || return 0
	echo "pyspark.sh: making $venv" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check "pyspark==$VERSION" >&2
	: >"$venv/complete"
}

java_runtime
environment
echo "$venv/bin/python3"
