#!/bin/sh
# Fetches a set of pictures from Debian and prints its folder as the last line.
# What was fetched before is used again.
#
#   scripts/pictures.sh               72 maps of planets and moons, 4 MB
#   scripts/pictures.sh wallpapers    215 desktop pictures, 95 MB
set -eu

build=$(cd "$(dirname "$0")/.." && pwd)/build

say() { echo "pictures.sh: $*" >&2; }
die() { say "$*"; exit 1; }

case ${1:-openuniverse} in
openuniverse)
	package=openuniverse-common
	inside=usr/share/openuniverse/textures
	folder=$build/pictures
	count=72
	;;
wallpapers)
	package=plasma-workspace-wallpapers
	inside=usr/share/wallpapers
	folder=$build/wallpapers
	count=215
	;;
*) die "no picture set \"$1\"; there are openuniverse and wallpapers" ;;
esac

pictures() { find -L "$1" -type f \( -name '*.jpg' -o -name '*.png' \); }

download() {
	apt-get download -q "$package" >&2 && return 0
	say "updating the package lists"
	if [ "$(id -u)" -eq 0 ]; then
		apt-get update -qq >&2
	else
		sudo apt-get update -qq >&2
	fi
	apt-get download -q "$package" >&2 ||
		die "apt-get cannot download $package; make sure that the component main (Debian) or universe (Ubuntu) is in the apt sources"
}

# fetch leaves the pictures, and nothing else, in the folder $1. Links become
# files, because ipdc adds what a folder holds and not what it points to.
fetch() {
	cd "$1"
	download
	dpkg-deb -x ./"$package"_*.deb unpacked
	cp -RL --preserve=links "unpacked/$inside" pictures
	find pictures -type f ! -name '*.jpg' ! -name '*.png' -delete
	find pictures -type d -empty -delete
}

if [ ! -d "$folder" ]; then
	command -v apt-get >/dev/null || die "apt-get is missing; on another system put $count pictures into $folder"
	mkdir -p "$build"
	tmp=$(mktemp -d "$build/pictures.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT TERM
	(fetch "$tmp")
	chmod -R u=rwX,go=rX "$tmp/pictures"
	mv -T "$tmp/pictures" "$folder" 2>/dev/null || [ -d "$folder" ] # somebody else was faster
fi

found=$(pictures "$folder" | wc -l)
[ "$found" -eq "$count" ] ||
	die "$folder has $found pictures instead of $count; remove it and run this again"
say "$found pictures, $(du -sh "$folder" | cut -f1)"
echo "$folder"
