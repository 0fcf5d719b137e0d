"""Mean, minimum, maximum and standard deviation of each column of CSV files.

    ipdc mr run -k 2 --map columns.py --reduce columns.py --combine -c CID

A line per column: NAME TAB COUNT TAB MEAN TAB MIN TAB MAX TAB STD, where STD is
of the population. The first line of each file names its columns, and all files
have the same; values that are no numbers are left out.

The names stand at the beginning of a file, which another task may have read: so
partial sums go by the number of the column, and names with them. Sums are whole
numbers, of billionths, and do not depend on who adds them in which order.
"""
from decimal import Decimal, InvalidOperation, localcontext

DIGITS = 9


def map(key, value):
    _, offset = key
    for i, text in enumerate(value.split(",")):
        if offset == 0:
            yield i, [text.strip()]
            continue
        try:
            x = int(Decimal(text).scaleb(DIGITS))
        except (InvalidOperation, ValueError, OverflowError):
            continue
        yield i, [None, 1, x, x * x, x, x]


def _sums(values):
    name, n, total, squares, low, high = None, 0, 0, 0, None, None
    for v in values:
        name = min(filter(None, (name, v[0])), default=None)
        if len(v) > 1:
            n, total, squares = n + v[1], total + v[2], squares + v[3]
            low = v[4] if low is None else min(low, v[4])
            high = v[5] if high is None else max(high, v[5])
    return [name, n, total, squares, low, high] if n else [name]


def combine(key, values):
    yield key, _sums(values)


def reduce(key, values):
    name, *sums = _sums(values)
    if not sums:
        return
    n, total, squares, low, high = sums
    with localcontext() as exact:
        exact.prec = 100
        mean = Decimal(total) / n
        std = (Decimal(squares) / n - mean * mean).sqrt()
        numbers = [x.scaleb(-DIGITS) for x in (mean, Decimal(low), Decimal(high), std)]
        yield name or f"column {key}", "\t".join([str(n)] + [f"{x:.6f}" for x in numbers])
