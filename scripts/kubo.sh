#!/bin/sh
# Builds the Kubo that tests run against, the real one, from its module. Prints
# the path of the program; does no more when it is there. Needs no root rights.
set -eu

VERSION=v0.43.0
GO=${GO:-go}

cd "$(dirname "$0")/.."
tools=$PWD/build/tools
program=$tools/ipfs-$VERSION

build() {
	echo "kubo.sh: building Kubo $VERSION, some minutes the first time" >&2
	mkdir -p "$tools"
	cd "$tools" # a module of its own, so that our go.mod stays out of it
	export CGO_ENABLED=0 GOWORK=off
	[ -e go.mod ] || echo "module tools" >go.mod
	# Not "go install PATH@VERSION", which asks the module proxy for the list of
	# all versions; Kubo's own go.mod and go.sum say what it is built from.
	"$GO" mod download "github.com/ipfs/kubo@$VERSION" >&2
	cd "$("$GO" env GOMODCACHE)/github.com/ipfs/kubo@$VERSION"
	"$GO" build -trimpath -buildvcs=false -ldflags '-s -w' -o "$program.$$" ./cmd/ipfs >&2
	mv "$program.$$" "$program"
}

[ -x "$program" ] || (build)
echo "$program"
