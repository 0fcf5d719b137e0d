# shellcheck shell=sh
# Streaming: sums the lines of each word, which come one behind the other.
LC_ALL=C awk -F '\t' '
	NR > 1 && $1 != word { print word "\t" n; n = 0 }
	{ word = $1; n += $2 }
	END { if (NR) print word "\t" n }'
