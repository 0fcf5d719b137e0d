# shellcheck shell=sh
# Sums the counts of one partition, the only directory below /inputs.
export LC_ALL=C
cd /inputs || exit
part=$(ls)
find . -type f -exec cat {} + | awk -F '\t' '
	{ count[$1] += $2 }
	END { for (w in count) printf "%s\t%d\n", w, count[w] }' | sort > "/outputs/$part"
