"""Sorts records of 100 bytes by their first 10, as TeraSort does.

    ipdc mr run -k 8 --partition range --records bytes:100 --map terasort.py --reduce terasort.py -c CID

The parts, one behind the other, are the records in order. generate.py makes
such records, validate.py checks the result.
"""
KEY = 10  # bytes


def map(key, value):
    yield value[:KEY], value[KEY:]


def reduce(key, values):
    for rest in values:
        yield key + rest
