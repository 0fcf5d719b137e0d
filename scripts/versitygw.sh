#!/bin/sh
# Builds the S3 server that tests run against: versitygw, from its module, with
# a directory for a bucket. Prints the path of the program; does no more when
# it is there.
set -eu

VERSION=v1.8.0
GO=${GO:-go}

cd "$(dirname "$0")/.."
tools=$PWD/build/tools
program=$tools/versitygw-$VERSION

if [ ! -x "$program" ]; then
	echo "versitygw.sh: building versitygw $VERSION" >&2
	mkdir -p "$tools"
	cd "$tools" # a module of its own, so that our go.mod stays out of it
	export CGO_ENABLED=0 GOWORK=off
	[ -e go.mod ] || echo "module tools" >go.mod
	"$GO" mod download "github.com/versity/versitygw@$VERSION" >&2
	cd "$("$GO" env GOMODCACHE)/github.com/versity/versitygw@$VERSION"
	"$GO" build -trimpath -buildvcs=false -ldflags '-s -w' -o "$program.$$" ./cmd/versitygw >&2
	mv "$program.$$" "$program"
fi
echo "$program"
