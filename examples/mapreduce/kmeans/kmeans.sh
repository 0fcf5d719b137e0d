#!/bin/sh
# k-means: moves the centres of a file (lines NAME,X,Y) over the points X,Y of a
# dataset until none moves by EPS or more, and prints them.
#
#   kmeans.sh CENTRES.csv CID|PATH [EPS]
set -eu
points=$2 eps=${3:-0.001} here=$(dirname "$0") tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp "$here/kmeans.py" "$tmp"
LC_ALL=C sort "$1" >"$tmp/centres.csv"

for step in $(seq 100); do
	ipdc mr run -k 2 --map "$tmp/kmeans.py" --reduce "$tmp/kmeans.py" --combine \
		-c "$points" --out "$tmp/$step" >"$tmp/cid"
	cat "$tmp/$step"/part-* >"$tmp/moved.csv"
	# A centre without points stays where it is.
	awk -F , -v OFS=, 'FNR == NR { now[$1] = $0; next } { print $1 in now ? now[$1] : $0 }' \
		"$tmp/moved.csv" "$tmp/centres.csv" >"$tmp/next.csv"
	far=$(paste -d , "$tmp/centres.csv" "$tmp/next.csv" |
		awk -F , '{ d = sqrt(($2 - $5) ^ 2 + ($3 - $6) ^ 2); if (d > far) far = d } END { printf "%.9f", far }')
	mv "$tmp/next.csv" "$tmp/centres.csv"
	echo "step $step: $(cat "$tmp/cid"), moved by $far" >&2
	if awk -v far="$far" -v eps="$eps" 'BEGIN { exit !(far < eps) }'; then
		cat "$tmp/centres.csv"
		exit
	fi
done
echo "the centres still move by $far after $step steps" >&2
exit 1
