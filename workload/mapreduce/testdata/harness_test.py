"""Tests of harness.py's own parts: python3 harness_test.py FOLDER_OF_HARNESS"""
import io
import itertools
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))
import harness as h

SAMPLES = [
    None, False, True, 0, 1, -1, 127, 128, 255, 256, -255, -256, -257, 2**64, -2**64, 2**1008 - 1, 1 - 2**1008,
    0.0, -0.0, 1.0, -1.5, 1e308, -1e308, 5e-324, math.inf, -math.inf,
    "", "a", "a\0", "a\0b", "ab", "\xe9", "\u20ac", "\U0001f600", "\udcff", "DoneDone", "\n\t",
    b"", b"a", b"a\0", b"\0", b"\xff", b"\0\xff", b"\xff\0\xff",
    [], [None], [[]], [[], []], ["a", "b"], ["a\0", "b"], ["ab"], [1, 2.0, True],
    (), (1,), (1, 2), ("a",), (b"\0", b"\xff"), ((),), ([],), {}, {"a": 1}, {"b": [1], "a": (2,)}, {1: "x", "1": "y", None: {}},
]


def same(a, b):
    """Equal in value and in all types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(any(same(k, l) and same(v, w) for l, w in b.items()) for k, v in a.items())
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


class Codec(unittest.TestCase):
    def test_round_trip(self):
        for x in SAMPLES + [SAMPLES, tuple(SAMPLES), {"all": SAMPLES}]:
            self.assertTrue(same(h.decode(h.encode(x)), x), x)
        nan = h.decode(h.encode(math.nan))
        self.assertTrue(math.isnan(nan))

    def test_equal_bytes_only_for_equal_keys(self):
        for a, b in itertools.combinations(SAMPLES, 2):
            self.assertNotEqual(h.encode(a), h.encode(b), (a, b))
        self.assertEqual(h.encode({"a": 1, "b": 2}), h.encode({"b": 2, "a": 1}))

    def test_order(self):
        ints = [x for x in SAMPLES if type(x) is int] + [random.Random(1).randrange(-10**20, 10**20) for _ in range(500)]
        floats = [x for x in SAMPLES if type(x) is float and x] + [random.Random(2).gauss(0, 1e9) for _ in range(500)]
        texts = [x for x in SAMPLES if type(x) is str]
        raws = [x for x in SAMPLES if type(x) is bytes]
        pairs = list(itertools.product(texts, ints[:20]))
        for kind in (ints, floats, texts, raws, pairs, list(map(list, pairs))):
            self.assertEqual(sorted(kind, key=h.encode), sorted(kind))

    def test_all_at_once(self):
        """encode_all is encode for each."""
        for items in (["a", "b", ""], ["a", "\xe9"], ["a\0"], [1, 2, 1], [True, 1], [1, 1.0], ["a", b"a", None], [b"x"], SAMPLES):
            lengths, data = h.encode_all(items)
            each = [h.encode(x) for x in items]
            self.assertEqual((list(lengths), data), (list(map(len, each)), b"".join(each)))

    def test_subclasses(self):
        import collections
        import enum

        class Text(str):
            pass
        P = collections.namedtuple("P", "x y")
        N = enum.IntEnum("N", "one")
        for x, want in ((Text("a\0"), "a\0"), (P(1, 2), (1, 2)), (N.one, 1), (collections.OrderedDict(a=1), {"a": 1})):
            self.assertTrue(same(h.decode(h.encode(x)), want))

    def test_refused(self):
        deep = []
        for _ in range(200):
            deep = [deep]
        for x, part in ((set(), "sorted list"), (object(), "object"), ([{1}], "set"), (2**1008, "1009 bits"), (bytearray(b"x"), "bytes(...)"),
                        (1j, "complex"), (deep, "100 levels"), ({"a": {1, 2}}, "set")):
            with self.assertRaises(h.Refused) as e:
                h.encode(x)
            self.assertIn(part, str(e.exception))


def block(groups, continued=0):
    """A block of groups as the guest writes it."""
    keys = [b"" if continued and not i else h.encode(k) for i, (k, _) in enumerate(groups)]
    values = [h.encode(v) for _, vs in groups for v in vs]
    return b"".join((
        struct.pack("<5I", len(keys), len(values), sum(map(len, keys)), sum(map(len, values)), continued),
        h.packed(map(len, keys)), h.packed(len(vs) for _, vs in groups), h.packed(map(len, values)), b"".join(keys), b"".join(values)))


class Groups(unittest.TestCase):
    def read(self, *blocks):
        return h.GroupReader(io.BytesIO(b"".join(blocks)))

    def test_groups(self):
        r = self.read(block([("a", [1, 2]), ("b", [3])]), block([("c", [])]), block([("d", ["x", "x"])]))
        self.assertEqual([(k, list(vs)) for k, vs in r], [("a", [1, 2]), ("b", [3]), ("c", []), ("d", ["x", "x"])])
        self.assertEqual(list(self.read()), [])

    def test_group_over_blocks(self):
        blocks = block([("a", [1]), ("b", [2, 3])]), block([("b", [4])], 1), block([("b", [5]), ("c", [6])], 1), block([("c", [7])], 1)
        self.assertEqual([(k, list(vs)) for k, vs in self.read(*blocks)], [("a", [1]), ("b", [2, 3, 4, 5]), ("c", [6, 7])])
        # What is not read is passed over, whether it was begun or not.
        self.assertEqual([k for k, vs in self.read(*blocks)], ["a", "b", "c"])
        self.assertEqual([(k, next(vs)) for k, vs in self.read(*blocks)], [("a", 1), ("b", 2), ("c", 6)])
        self.assertEqual([(k, list(itertools.islice(vs, 3))) for k, vs in self.read(*blocks)], [("a", [1]), ("b", [2, 3, 4]), ("c", [6, 7])])
        last = self.read(block([("a", [1])]), block([("a", [2])], 1))
        self.assertEqual([(k, list(vs)) for k, vs in last], [("a", [1, 2])])

    def test_values_are_not_shared(self):
        groups = [(k, list(vs)) for k, vs in self.read(block([("a", [[1], [1]])]))]
        self.assertIsNot(groups[0][1][0], groups[0][1][1])

    def test_cut(self):
        with self.assertRaises(EOFError):
            list(self.read(block([("a", [1])])[:-1]))


class Collect:
    """Takes what a Mapper writes."""

    def __init__(self):
        self.pairs, self.blocks = [], 0

    def write(self, keys, values):
        self.blocks += 1
        self.pairs += zip(keys, values)
        return 1000


class Source:
    def __init__(self, *values):
        self.values = values

    def batches(self):
        yield h.Batch("f", list(self.values), range(len(self.values)), lambda i: "record %d" % i)


class Combine(unittest.TestCase):
    def total(self, map, combine, *values, limit=None):
        out = Collect()
        old, h.LIMIT = h.LIMIT, limit or h.LIMIT
        try:
            h.Mapper(map, combine, Source(*values), out).run()
        finally:
            h.LIMIT = old
        return out

    def test_what_is_no_pair(self):
        def combine(key, values):
            yield key, sum(values)

        for bad in ("ab", {1, 2}, {1: 2, 3: 4}):
            def map(key, value):
                yield ["a", 1]
                yield (bad if value == 30 else ("a", 1))
            with self.assertRaises(h.Refused):
                self.total(map, combine, *range(40))

    def test_keys_are_not_collapsed(self):
        def map(key, value):
            for k in (1, 1.0, True, "1", b"1", (1,), [1]):
                yield k, 1

        def combine(key, values):
            yield key, sum(values)
        got = self.total(map, combine, "a", "b").pairs
        self.assertEqual(sorted((type(k).__name__, v) for k, v in got),
                         [("bool", 2), ("bytes", 2), ("float", 2), ("int", 2), ("list", 2), ("str", 2), ("tuple", 2)])

    def test_bounded(self):
        def map(key, value):
            for i in range(20000):
                yield str(i % 50), 1

        def combine(key, values):
            yield key, sum(values)
        out = self.total(map, combine, *range(5), limit=100000)
        totals = {}
        for k, v in out.pairs:
            totals[k] = totals.get(k, 0) + v
        self.assertEqual(totals, {str(i): 2000 for i in range(50)})
        self.assertEqual(len(out.pairs), 50)
        many = self.total(lambda k, v: ((str(i), 1) for i in range(20000)), combine, 1, limit=100000)
        self.assertEqual(len(many.pairs), 20000)
        self.assertGreater(many.blocks, 3)  # left before the end

    def test_large_values_leave_early(self):
        out = self.total(lambda k, v: (("k%d" % i, "x" * 10000) for i in range(3000)), lambda k, vs: ((k, v) for v in vs), 1, limit=1 << 20)
        self.assertEqual(len(out.pairs), 3000)
        self.assertGreater(out.blocks, 5)


class Records(unittest.TestCase):
    def read(self, files, records="lines", offsets=None):
        with tempfile.TemporaryDirectory() as top:
            for name, data in files.items():
                os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
                with open(os.path.join(top, name), "wb") as f:
                    f.write(data)
            found = []
            for b in h.Input(top, records, offsets or {}).batches():
                for offset, value in zip(b.offsets, b.rest):
                    found.append((b.path, offset, value))
                    self.assertTrue(b.place().startswith(b.path))
            return found

    def test_lines(self):
        got = self.read({"b/x": b"one\ntwo\r\n\nl\xffast", "b.y": b"\xc3\xa9\n\xe2\n", "empty": b"", "a": b"\n"})
        self.assertEqual(got, [("a", 0, ""), ("b.y", 0, "\xe9"), ("b.y", 3, "\udce2"),
                               ("b/x", 0, "one"), ("b/x", 4, "two"), ("b/x", 9, ""), ("b/x", 10, "l\udcffast")])

    def test_lines_over_reads(self):
        old, h.CHUNK = h.CHUNK, 7
        try:
            data = "".join("%d\xe9\n" % 10**i for i in range(12)).encode()
            got = self.read({"f": data}, offsets={b"f": 1000})
        finally:
            h.CHUNK = old
        self.assertEqual([v for _, _, v in got], data.decode().split("\n")[:-1])
        for _, offset, value in got:
            at = offset - 1000
            self.assertEqual(data[at:at + len(value.encode())].decode(), value)

    def test_fixed(self):
        self.assertEqual(self.read({"f": b"abcdefg"}, "bytes:3", {b"f": 30}), [("f", 30, b"abc"), ("f", 33, b"def"), ("f", 36, b"g")])

    def test_file(self):
        self.assertEqual(self.read({"d/f": b"a\nb", "e": b""}, "file"), [("d/f", 0, b"a\nb"), ("e", 0, b"")])

    def test_no_folder(self):
        with self.assertRaises(OSError):
            list(h.Input("/no/such/folder", "lines", {}).batches())


class Lines(unittest.TestCase):
    def reduce(self, result, key="k"):
        out = io.BytesIO()
        h.Reducer(result if callable(result) else lambda k, vs: result, [(key, iter([1]))], out).run()
        return out.getvalue()

    def test_forms(self):
        for result, want in ((None, b""), ([], b""), (("k", 1), b"k\t1\n"), ([("k", 1), "x", b"y"], b"k\t1\nx\ny"), ("", b"\n"), (b"", b""),
                             (("\xe9", "\udcff"), b"\xc3\xa9\t\xff\n"), ((b"\xff", b"\0"), b"\xff\t\0\n"), (("k", None), b"k\n"), ((None, 1), b"1\n"),
                             ((1.5, [1, None, True, "\xe9"]), '1.5\t[1, null, true, "\xe9"]\n'.encode()), ((True, {"b": 1, "a": (2,)}), b'true\t{"a": [2], "b": 1}\n')):
            self.assertEqual(self.reduce(result), want, result)

    def test_refused(self):
        for result, part in ((7, "int"), ({}, "dict"), ([(1, 2, 3)], "tuple of 3"), ([None], "NoneType"), (("k", {1}), "set"), (("k", [b"x"]), "str or bytes")):
            with self.assertRaises(h.Refused) as e:
                self.reduce(result)
            self.assertIn(part, str(e.exception))


class Failures(unittest.TestCase):
    """What the whole program says of an error."""

    def run_harness(self, half, source, stdin=b"", text="one\ntwo\nthree\n", offsets=None, *options):
        with tempfile.TemporaryDirectory() as top:
            inputs, code, report = (os.path.join(top, n) for n in ("inputs", "code", "report"))
            os.makedirs(inputs + "/data")
            os.mkdir(code)
            shutil.copy(h.__file__, code)
            for path, content in ((inputs + "/data/t.txt", text), (code + "/User.py", source), (inputs + "/offsets", offsets or ""), (report, "")):
                with open(path, "w") as f:
                    f.write(content)
            p = subprocess.run([sys.executable, code + "/harness.py", half, "--%s=User.py" % half] + list(options), input=stdin,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, IPDC_INPUTS=inputs, IPDC_REPORT=report))
            with open(report) as f:
                lines = [json.loads(line) for line in f]
        self.assertEqual([l["type"] for l in lines], ["failure"] * len(lines))
        return p, [l["detail"] for l in lines], p.stderr.decode()

    def check(self, half, source, detail, code=1, **more):
        p, details, log = self.run_harness(half, source, *more.pop("options", ()), **more)
        self.assertEqual((p.returncode, details), (code, [detail]), log)
        self.assertIn("ipdc: " + detail, log)
        return log

    def test_map(self):
        D = (b"", "one\ntwo\nthree\n", None, "--data=data")
        log = self.check("map", "def map(k, v):\n    yield 'a', len(v)\n    if v == 'two':\n        raise ValueError('bad\\nheader')\n",
                         "map: t.txt, line 2 (byte 4): ValueError: bad header (User.py:4)", options=D)
        self.assertIn("line 4, in map", log)
        self.assertNotIn("harness.py", log)
        self.check("map", "def map(k, v):\n    return g(v)\ndef g(v):\n    return [(v, int(v))]\n",
                   "map: t.txt, line 1 (byte 0): ValueError: invalid literal for int() with base 10: 'one' (User.py:4)", options=D)
        self.check("map", "def map(k, v): yield v\n", "map: at or before t.txt, line 1 (byte 0): map gave a str where a (key, value) pair is needed", options=D)
        self.check("map", "def map(k, v): yield {1}, 2\n",
                   "map: at or before t.txt, line 1 (byte 0): set; a key or value is str, bytes, int, float, bool, None, or a list, tuple or dict of these; give a sorted list", options=D)
        self.check("map", "import sys\ndef map(k, v): sys.exit(7)\n", "map: t.txt, line 1 (byte 0): SystemExit: 7 (User.py:2)", code=7, options=D)
        self.check("map", "import sys\ndef map(k, v): sys.exit(0)\n", "map: t.txt, line 1 (byte 0): SystemExit: 0 (User.py:2)", options=D)
        self.check("map", "def map(k, v): raise StopIteration\n", "map: t.txt, line 1 (byte 0): RuntimeError: map raised StopIteration (User.py:1)", options=D)
        self.check("map", "x = = 1\n", "User.py: SyntaxError: invalid syntax (User.py:1)", options=D)
        self.check("map", "import nothing_of_this_name\n", "User.py: ModuleNotFoundError: No module named 'nothing_of_this_name' (User.py:1)", options=D)
        self.check("map", "map_ = 1\n", "User.py: User.py has no function map", options=D)
        # A later piece of a file: only the offset is known.
        self.check("map", "def map(k, v):\n    1 / 0\n", "map: t.txt, byte 500: ZeroDivisionError: division by zero (User.py:2)",
                   options=(b"", "one\n", "500 t.txt\n", "--data=data"))

    def test_combine(self):
        source = "def map(k, v): yield 'x', v\ndef combine(k, vs):\n    raise KeyError(k)\n"
        self.check("map", source, "combine: key 'x': KeyError: 'x' (User.py:3)", options=(b"", "1\n2\n", None, "--data=data", "--combine=User.py"))

    def test_reduce(self):
        self.check("reduce", "def reduce(k, vs):\n    yield k, 1 / next(vs)\n", "reduce: key 'b': ZeroDivisionError: division by zero (User.py:2)",
                   stdin=block([("a", [1]), ("b", [0])]))

    def test_prints_do_not_mix(self):
        p, details, log = self.run_harness("map", "import os\ndef map(k, v):\n    print('hello', v); os.system('echo there'); yield v, 1\n", b"", "x\n", None, "--data=data")
        self.assertEqual((p.returncode, details), (0, []))
        self.assertIn("hello x", log)
        self.assertIn("there", log)
        self.assertEqual(p.stdout, struct.pack("<5I", 1, 2, 3, 2, 3) + h.encode("x") + h.encode(1))


if __name__ == "__main__":
    unittest.main()
