#!/bin/sh
# k-means: moves the centres of a file (lines NAME,X,Y) over the points X,Y of a
# dataset until none moves by EPS or more, and prints them.
#
#   kmeans.sh CENTRES.csv CID|PATH [EPS]
set -eu
points=$2 eps=${3:-0.001} step=$(dirname "$0")/kmeans.py tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
LC_ALL=C sort "$1" >"$tmp/centres.csv"

for n in $(seq 100); do
	result=$(ipdc mr run -q -k 2 --map "$step" --reduce "$step" --combine --file "$tmp/centres.csv" -c "$points" --out "$tmp/$n")
	cat "$tmp/$n"/part-* >"$tmp/moved.csv"
	# A centre without points stays where it is.
	awk -F , -v OFS=, 'FNR == NR { now[$1] = $0; next } { print $1 in now ? now[$1] : $0 }' \
		"$tmp/moved.csv" "$tmp/centres.csv" >"$tmp/next.csv"
	far=$(paste -d , "$tmp/centres.csv" "$tmp/next.csv" |
		awk -F , '{ d = sqrt(($2 - $5) ^ 2 + ($3 - $6) ^ 2); if (d > far) far = d } END { printf "%.9f", far }')
	mv "$tmp/next.csv" "$tmp/centres.csv"
	echo "step $n: $result, moved by $far" >&2
	if awk -v far="$far" -v eps="$eps" 'BEGIN { exit !(far < eps) }'; then
		cat "$tmp/centres.csv"
		exit
	fi
done
echo "the centres still move by $far after $n steps" >&2
exit 1
