import sys

word, count = None, 0
for line in sys.stdin:
    key, value = line.split("\t", 1)
    if key != word:
        if word is not None:
            print(word + "\t" + str(count))
        word, count = key, 0
    count += int(value)
if word is not None:
    print(word + "\t" + str(count))
