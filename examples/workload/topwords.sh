#!/bin/sh
# The same as ipdc-topwords by curl alone: the ten words that stand most often
# in the dataset $1. `ipdc NAME` sets IPDC_ADDRESS for a program ipdc-NAME.
set -eu
input=$1 dir=$(dirname "$0")/ipdc-topwords tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

api() { # api PATH [CURL OPTION...]
	path=$1
	shift
	case $IPDC_ADDRESS in
	unix://*) curl -sS --fail-with-body --unix-socket "${IPDC_ADDRESS#unix://}" "$@" "http://localhost/v1/$path" ;;
	*) curl -sS --fail-with-body -H "Authorization: Bearer $(cat "$IPDC_TOKEN_FILE")" "$@" "$IPDC_ADDRESS/v1/$path" ;;
	esac
}
field() { sed -n "s/^{.*\"$1\":\"\([^\"]*\)\".*/\1/p"; } # field NAME: of a JSON answer
program() { sed 's/^/      /' "$dir/$1"; } # program FILE: as a YAML text

cat >"$tmp/job.yaml" <<SPEC
version: ipdc/v1
name: topwords
inputs: [{cid: $input}]
stages:
- name: count
  partitions: 2
  split: {by: lines, size: 16MiB}
  run:
    image: shell
    command:
    - sh
    - -euc
    - |
$(program count.sh)
    - sh
    - "2"
- name: sum
  needs: [count]
  run:
    image: shell
    command:
    - sh
    - -euc
    - |
$(program sum.sh)
SPEC
job=$(api jobs -H 'Content-Type: application/yaml' --data-binary "@$tmp/job.yaml" | field id)
api "jobs/$job/events?follow=true" -N >/dev/null # ends with the job
result=$(api "jobs/$job" | field result)
if [ -z "$result" ]; then
	api "jobs/$job" >&2
	exit 1
fi
api "dag/$result?format=tar" | tar -x -C "$tmp"
find "$tmp" -name 'part-*' -exec cat {} + | LC_ALL=C sort -t "$(printf '\t')" -k2,2nr -k1,1 | head -n 10 | awk '{ print $2 "\t" $1 }'
