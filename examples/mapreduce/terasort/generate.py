"""Makes the records that TeraSort sorts, as gensort does: 100 bytes each.

    mkdir ranges; echo 0 500000 > ranges/0; echo 500000 500000 > ranges/1
    ipdc job submit -f generate.py -c ranges

Each file of the input says FIRST COUNT, and becomes a file of COUNT records from
the FIRST on. A record is a key of 10 random bytes, its number in hexadecimal
and a filler; its bytes depend on its number alone.
Source: Chris Nyberg, gensort, https://www.ordinal.com/gensort.html
"""
import sys

# A linear congruential generator modulo 2^128.
A = 0x2360ED051FC65DA44385DF649FCCF645
C = 0x4A696D47726179524950202020202001
MASK = (1 << 128) - 1
BLOCK = 10_000  # records


def generate(f):
    """The records of one range."""
    first, count = (int(word) for word in f.read().split())
    return _records(first, count)


def _records(first, count):
    x = _skip(first)
    for at in range(first, first + count, BLOCK):
        block = []
        for number in range(at, min(at + BLOCK, first + count)):
            x = (A * x + C) & MASK
            filler = b"%012X" % (x & 0xFFFFFFFFFFFF)
            block += (
                (x >> 48).to_bytes(10, "big"), b"\x00\x11", b"%032X" % number, b"\x88\x99\xaa\xbb",
                bytes(c for c in filler for _ in range(4)), b"\xcc\xdd\xee\xff",
            )
        yield b"".join(block)


def _skip(n):
    """The state after n steps from 0: steps are affine maps, which are squared."""
    x, a, c = 0, A, C
    while n:
        if n & 1:
            x = (a * x + c) & MASK
        a, c, n = a * a & MASK, (a + 1) * c & MASK, n >> 1
    return x


if __name__ == "__main__":
    for block in _records(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.buffer.write(block)
