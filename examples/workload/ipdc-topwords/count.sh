# shellcheck shell=sh
# Counts the words of the files below /inputs into $1 files, by the hash of the word.
export LC_ALL=C
find /inputs -type f | sort | while read -r f; do cat "$f"; echo; done | tr -cs A-Za-z '\n' | tr '[:upper:]' '[:lower:]' | awk -v k="$1" '
	BEGIN { for (i = 97; i < 123; i++) ord[sprintf("%c", i)] = i }
	$0 != "" { count[$0]++ }
	END {
		for (w in count) {
			h = 0
			for (i = 1; i <= length(w); i++) h = (31 * h + ord[substr(w, i, 1)]) % 1000003
			printf "%s\t%d\n", w, count[w] > sprintf("/outputs/part-%05d", h % k)
		}
	}'
for f in /outputs/part-*; do
	test ! -e "$f" || sort -o "$f" "$f" # so that a second run leaves the same bytes
done
