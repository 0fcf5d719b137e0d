#!/bin/sh
# Tests the API of a running node against the node's own OpenAPI document.
#
#   scripts/schemathesis.sh install             make the Python environment; does nothing when it is there
#   scripts/schemathesis.sh http://HOST:PORT    run; the token is in IPDC_TOKEN
#
# It fails at an answer of status 500 and above, at one that the document does
# not describe, and at a wrong request that is taken. The exit code is that of
# schemathesis.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
list=$here/schemathesis.txt
venv=${here%/scripts}/build/schemathesis-$(sha256sum "$list" | cut -c1-12)

# install makes the environment. pip's own settings (PIP_CERT, PIP_INDEX_URL,
# HTTPS_PROXY and their like) are heeded. What was cut short is made anew.
install() {
	[ ! -e "$venv/complete" ] || return 0
	echo "schemathesis.sh: making $venv" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list" >&2
	: >"$venv/complete"
}

install
[ "$1" != install ] || exit 0

# Nothing of it is for a proxy, and what it writes aside goes away with it.
no_proxy='*' NO_PROXY='*'
export no_proxy NO_PROXY PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=schemathesis_hooks
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run --max-time "${MAX_TIME:-60}" "$1/openapi.json"
