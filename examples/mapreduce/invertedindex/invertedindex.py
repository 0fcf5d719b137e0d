"""In which files each word stands: a line "WORD TAB PATH PATH ..." per word.

    ipdc mr run -k 4 --map invertedindex.py --reduce invertedindex.py --combine -c CID

A word is what [A-Za-z]+ matches, in small letters.
"""
import re

WORD = re.compile(r"[A-Za-z]+")


def map(key, value):
    path, _ = key
    for word in {word.lower() for word in WORD.findall(value)}:
        yield word, path


def combine(key, values):
    for path in sorted(set(values)):
        yield key, path


def reduce(key, values):
    yield key, " ".join(sorted(set(values)))
