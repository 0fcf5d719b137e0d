# shellcheck shell=sh
# Streaming: a line per word, for `ipdc mr run --mapper "$(cat map.sh)"`.
LC_ALL=C awk '{
	gsub(/[^A-Za-z]+/, " ")
	n = split(tolower($0), word, " ")
	for (i = 1; i <= n; i++) print word[i] "\t1"
}'
