"""How often each word stands in a dataset.

    ipdc mr run -k 4 --map wordcount.py --reduce wordcount.py --combine -c CID

A word is what [A-Za-z]+ matches, in small letters.
"""
import re

WORD = re.compile(r"[A-Za-z]+")


def map(key, value):
    for word in WORD.findall(value):
        yield word.lower(), 1


def combine(key, values):
    yield key, sum(values)


def reduce(key, values):
    yield key, sum(values)
