"""Runs the functions of an ipdc map-reduce job beside `ipdc-guest map|reduce`.

    python3 harness.py map --map=Map.py [--combine=FILE] [--records=lines|file|bytes:N] [--data=DIR] [--pieces=yes]
    python3 harness.py reduce --reduce=Reduce.py

docs/mapreduce.md says what the functions get and give, and how keys and values
are encoded. map writes blocks of pairs to standard output; reduce reads blocks
of groups from standard input and writes text. What the user's code prints goes
to standard error.

Python 3.6 or later, standard library only.
"""
import sys

# The job's folder must not shadow what is imported here: a user's file may
# well be called array.py. It comes back below.
HERE = __file__.rpartition("/")[0]
if sys.path and sys.path[0] == HERE:
    del sys.path[0]

import gc
import importlib.machinery
import importlib.util
import inspect
import io
import json
import operator
import os
import re
import stat
import struct
import traceback
from array import array
from collections import defaultdict
from itertools import accumulate, chain, islice, repeat

sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

CHUNK = 256 << 10  # bytes that are read, and turned into lines, at once
BLOCK = 512 << 10  # bytes of keys and values in a block of pairs, about
LIMIT = 64 << 20  # bytes of keys and values that wait to be combined, about
STEP = 60  # of so many pairs the size of one is looked at
ENTRY = 250  # bytes of a key that waits, besides its values
DEEP = 100  # levels of lists, tuples and dicts in a key or value
MAX_TEXT = 1000  # bytes of an error's text in the report
REPORT = "/ipdc/report/report.jsonl"  # in a container, see wire/guest


class Refused(Exception):
    """The user's function gave something that cannot be used."""


# --- Keys and values as bytes: a tag and a payload. -------------------------

END, NONE, FALSE, TRUE, INT, FLOAT, STR, BYTES, LIST, TUPLE, DICT = (
    b"\x00", b"\x10", b"\x11", b"\x12", b"\x13", b"\x14", b"\x15", b"\x16", b"\x17", b"\x18", b"\x19")
STR_TEXT = STR.decode()
DOUBLE = struct.Struct(">Q")
BITS = struct.Struct(">d")
SIGN = 1 << 63
HINTS = {
    "set": "; give a sorted list", "frozenset": "; give a sorted tuple", "bytearray": "; give bytes(...)",
    "memoryview": "; give bytes(...)", "Decimal": "; give str(...)", "Fraction": "; give str(...)",
    "datetime": "; give .isoformat()", "date": "; give .isoformat()", "generator": "; give a list", "ndarray": "; give .tolist()",
}


def encode(x):
    """A key or value as bytes; equal bytes only for equal type and value."""
    kind = type(x)
    if kind is str:
        return STR + x.encode("utf-8", "surrogatepass")
    if kind is int:
        return encode_int(x)
    if kind is bytes:
        return BYTES + x
    out = []
    put(out, x, 0)
    if isinstance(x, (str, bytes)):  # a subclass: at the top nothing is escaped
        return encode(str.__str__(x) if isinstance(x, str) else bytes(x))
    return b"".join(out)


def encode_int(n):
    """Sorts by value: the count of bytes, then the bytes; complemented below 0."""
    size = (abs(n).bit_length() + 7) // 8
    if size > 126:
        raise Refused("an int of %d bits; at most 1008 are possible; give str(...)" % n.bit_length())
    if n >= 0:
        return INT + bytes((128 + size,)) + n.to_bytes(size, "big")
    return INT + bytes((127 - size,)) + ((1 << 8 * size) - 1 + n).to_bytes(size, "big")


def encode_float(x):
    """Sorts by value: IEEE 754 bits, all turned for negative numbers."""
    bits, = DOUBLE.unpack(BITS.pack(x))
    return FLOAT + DOUBLE.pack(bits ^ (2 * SIGN - 1) if bits & SIGN else bits | SIGN)


def put(out, x, depth):
    """Appends an element of a list, tuple or dict, which says itself where it
    ends, so that these sort element by element."""
    if x is None:
        out.append(NONE)
    elif isinstance(x, bool):
        out.append(TRUE if x else FALSE)
    elif isinstance(x, int):
        out.append(encode_int(int(x)))
    elif isinstance(x, float):
        out.append(encode_float(x))
    elif isinstance(x, str):
        out += STR, x.encode("utf-8", "surrogatepass").replace(b"\x00", b"\x00\xff"), END
    elif isinstance(x, bytes):
        out += BYTES, x.replace(b"\x00", b"\x00\xff"), END
    elif not isinstance(x, (list, tuple, dict)):
        name = type(x).__name__
        raise Refused("%s; a key or value is str, bytes, int, float, bool, None, or a list, tuple or dict of these%s"
                      % (name, HINTS.get(name, "; give .item()" if hasattr(x, "dtype") else "")))
    elif depth == DEEP:
        raise Refused("%s in more than %d levels" % (type(x).__name__, DEEP))
    elif isinstance(x, dict):
        entries = []
        for k, v in x.items():
            key, value = [], []
            put(key, k, depth + 1)
            put(value, v, depth + 1)
            entries.append((b"".join(key), b"".join(value)))
        entries.sort()
        out.append(DICT)
        out.extend(chain.from_iterable(entries))
        out.append(END)
    else:
        out.append(LIST if isinstance(x, list) else TUPLE)
        for e in x:
            put(out, e, depth + 1)
        out.append(END)


def decode(b):
    """The key or value that encode made b of."""
    tag = b[0]
    if tag == STR[0]:
        return b[1:].decode("utf-8", "surrogatepass")
    if tag == BYTES[0]:
        return b[1:]
    return take(b, 0)[0]


def take(b, i):
    """The element at b[i:], and where the next one begins."""
    tag, i = b[i:i + 1], i + 1
    if tag == INT:
        size = b[i] - 128
        if size >= 0:
            return int.from_bytes(b[i + 1:i + 1 + size], "big"), i + 1 + size
        size = -1 - size
        return int.from_bytes(b[i + 1:i + 1 + size], "big") - (1 << 8 * size) + 1, i + 1 + size
    if tag == FLOAT:
        bits, = DOUBLE.unpack_from(b, i)
        return BITS.unpack(DOUBLE.pack(bits ^ SIGN if bits & SIGN else bits ^ (2 * SIGN - 1)))[0], i + 8
    if tag in (STR, BYTES):
        end = b.index(END, i)
        while b[end + 1:end + 2] == b"\xff":
            end = b.index(END, end + 1)
        raw = b[i:end].replace(b"\x00\xff", b"\x00")
        return raw.decode("utf-8", "surrogatepass") if tag == STR else raw, end + 1
    if tag in (LIST, TUPLE, DICT):
        items = []
        while b[i] != 0:
            item, i = take(b, i)
            items.append(item)
        if tag == DICT:
            return dict(zip(items[::2], items[1::2])), i + 1
        return items if tag == LIST else tuple(items), i + 1
    return {NONE: None, FALSE: False, TRUE: True}[tag], i


class Memo(dict):
    """Results of a function of immutable values, for those that come often."""

    def __init__(self, function, worth):
        super().__init__()
        self.function, self.worth = function, worth

    def __missing__(self, x):
        y = self.function(x)
        if len(self) < 1 << 16 and self.worth(x):
            self[x] = y
        return y


INTS = Memo(encode_int, lambda n: True)
# Lists and dicts are not shared: the user's code may change them.
VALUES = Memo(decode, lambda b: b[0] < LIST[0] and len(b) <= 32)


def encode_all(items):
    """The lengths of all encoded items, and the items put behind each other."""
    kinds = set(map(type, items))
    if kinds == {str}:
        text = STR_TEXT + STR_TEXT.join(items)
        data = text.encode("utf-8", "surrogatepass")
        if len(data) == len(text):  # one byte for each character
            return array("I", map((1).__add__, map(len, items))), data
    parts = list(map(INTS.__getitem__ if kinds == {int} else encode, items))
    return array("I", map(len, parts)), b"".join(parts)


# --- Blocks. ----------------------------------------------------------------

def packed(numbers):
    """Numbers of 32 bits, the lowest byte first."""
    a = array("I", numbers)
    if sys.byteorder == "big":
        a.byteswap()
    return a.tobytes()


class PairWriter:
    """Writes blocks of pairs: n, bytes of keys, bytes of values, n lengths of
    keys, n lengths of values, the keys, the values."""

    def __init__(self, out):
        self.out = out

    def write(self, keys, values):
        if not keys:
            return
        klens, kdata = encode_all(keys)
        try:
            vlens, vdata = encode_all(values)
        except Refused as e:
            raise Refused("a value that is " + str(e))
        if len(kdata) + len(vdata) > 2 * BLOCK and len(keys) > 1:
            half = len(keys) // 2
            self.write(keys[:half], values[:half])
            self.write(keys[half:], values[half:])
            return
        self.out.write(b"".join((packed((len(keys), len(kdata), len(vdata))), packed(klens), packed(vlens), kdata, vdata)))
        return len(kdata) + len(vdata)


class GroupReader:
    """Reads blocks of groups: g, v, bytes of keys, bytes of values, whether the
    first group continues the last one (its key is empty then); g lengths of
    keys, g counts of values, v lengths of values, the keys, the values."""

    def __init__(self, file):
        self.file = file
        self.at = 0  # the group of the block that comes next
        self.keys, self.ends, self.values = [], [], []

    def numbers(self, n):
        a = array("I", self.bytes(4 * n))
        if sys.byteorder == "big":
            a.byteswap()
        return a

    def bytes(self, n):
        b = self.file.read(n)
        if len(b) != n:
            raise EOFError("the groups end early")
        return b

    def block(self):
        """Reads the next block; gives None at the end, else whether its first
        group continues the last one."""
        head = self.file.read(20)
        if not head:
            self.keys, self.ends, self.values, self.at = [], [], [], 0
            return None
        g, v, ksize, vsize, continued = struct.unpack("<5I", head)
        klens, counts, vlens = self.numbers(g), self.numbers(g), self.numbers(v)
        self.keys = list(pieces(klens, self.bytes(ksize)))
        self.values = list(pieces(vlens, self.bytes(vsize)))
        self.ends, self.at = list(accumulate(counts)), 0
        return bool(continued)

    def __iter__(self):
        """Gives (key, values) for each group; values ends with its group, and
        what is not read of it is passed over."""
        while True:
            if self.at == len(self.keys) and self.block() is None:
                return
            i = self.at
            self.at += 1
            raw = self.values[self.ends[i - 1] if i else 0:self.ends[i]]
            if self.at < len(self.keys):
                yield decode(self.keys[i]), map(VALUES.__getitem__, raw)
                continue
            key = decode(self.keys[i])
            self.open = True
            group = self.spanning(raw)
            yield key, group
            group.close()
            while self.open and self.more() is not None:
                pass

    def spanning(self, raw):
        """The values of a group that may go on in further blocks."""
        while raw is not None:
            for b in raw:
                yield VALUES[b]
            raw = self.more() if self.open else None

    def more(self):
        """The next block's part of the open group, None when it is at its end."""
        if self.block():
            self.at = 1
            self.open = len(self.keys) == 1
            return self.values[:self.ends[0]]
        self.open = False
        return None


def pieces(lengths, data):
    ends = list(accumulate(lengths))
    return map(data.__getitem__, map(slice, chain((0,), ends), ends))


# --- Input. -----------------------------------------------------------------

class Batch:
    """Records of one file: values, and the offsets at which they begin."""

    def __init__(self, path, values, offsets, where):
        self.path, self.values, self.offsets, self.where = path, values, offsets, where
        self.rest = iter(values)

    def place(self):
        """Where the record is that was taken last."""
        return self.where(max(0, len(self.values) - operator.length_hint(self.rest) - 1))


class Input:
    """The records of the files below a folder, in the byte order of their paths."""

    def __init__(self, root, records, offsets, pieces=False):
        self.root, self.offsets, self.pieces = os.fsencode(root), offsets, pieces
        kind, _, n = records.partition(":")
        self.read = {"lines": self.lines, "file": self.whole, "bytes": self.fixed}[kind]
        self.size = int(n or 0)

    def batches(self):
        for path in self.paths():
            name = path.decode("utf-8", "surrogateescape")
            if self.pieces:  # of a sample, each in a folder of its own
                name = name.partition("/")[2]
            with open(os.path.join(self.root, path), "rb", 0) as f:
                for batch in self.read(name, f, self.offsets.get(path, 0)):
                    yield batch

    def paths(self):
        found, top = [], len(self.root) + 1
        for folder, folders, names in os.walk(self.root, onerror=unreadable):
            for name in names:
                full = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(full).st_mode):
                    found.append(full[top:])
        return sorted(found)

    def lines(self, path, f, offset):
        line = 0 if offset else 1  # of a later piece the number is not known
        parts = []
        while True:
            data = f.read(CHUNK)
            cut = data.rfind(b"\n")
            if data and cut < 0:
                parts.append(data)
                continue
            parts.append(data[:max(cut, 0)])
            block = b"".join(parts)
            if data or block:
                batch, count = text_lines(path, block, offset, line)
                yield batch
                offset += len(block) + 1
                line += count if line else 0
            if not data:
                return
            parts = [data[cut + 1:]]

    def whole(self, path, f, offset):
        yield Batch(path, [f.read()], [offset], lambda i: path)

    def fixed(self, path, f, offset):
        n = self.size
        while True:
            parts, missing = [], max(CHUNK // n, 1) * n
            while missing:
                parts.append(f.read(missing))
                missing -= len(parts[-1])
                if not parts[-1]:
                    break
            data = b"".join(parts)
            if not data:
                return
            at = range(offset, offset + len(data), n)
            yield Batch(path, [data[i:i + n] for i in range(0, len(data), n)], at,
                        lambda i, at=at: "%s, byte %d" % (path, at[i]))
            offset += len(data)


def unreadable(error):
    raise error  # a folder that is passed over would be input that is lost


def text_lines(path, block, offset, line):
    """The batch of the lines of block, whose last line end is not in it."""
    text = block.decode("utf-8", "surrogateescape")
    values = text.split("\n")
    sizes = map(len, values if len(text) == len(block) else block.split(b"\n"))
    offsets = accumulate(chain((offset,), map((1).__add__, sizes)))
    if "\r" in text:
        values = [v[:-1] if v.endswith("\r") else v for v in values]

    def where(i):
        byte = offset + sum(map(len, block.split(b"\n")[:i])) + i
        return "%s, line %d (byte %d)" % (path, line + i, byte) if line else "%s, byte %d" % (path, byte)
    return Batch(path, values, offsets, where), len(values)


def read_offsets(path):
    """Where pieces of files begin in their files, by path."""
    found = {}
    try:
        with open(path, "rb") as f:
            for entry in f:
                offset, _, name = entry.rstrip(b"\n").partition(b" ")
                found[name] = int(offset)
    except FileNotFoundError:
        pass
    return found


# --- Map. -------------------------------------------------------------------

class Mapper:
    """Calls map for each record, and combine for what has gathered."""

    def __init__(self, function, combine, source, out):
        self.function = function if inspect.isgeneratorfunction(function) else many("map", function)
        self.combine = combine and (combine if inspect.isgeneratorfunction(combine) else many("combine", combine))
        self.source, self.out = source, out
        self.batch = None
        self.place = self.at_record  # where an error belongs
        self.waiting, self.others, self.weight = defaultdict(list), defaultdict(list), 0

    def at_record(self):
        return "map: " + self.batch.place() if self.batch else "map"

    def near_record(self):
        """The same, when pairs of several records are looked at together."""
        return "map: at or before " + self.batch.place()

    def run(self):
        # All loops over records and pairs are the interpreter's own.
        pairs = chain.from_iterable(chain.from_iterable(self.calls()))
        if self.combine:
            self.gather(pairs)
        else:
            self.stream(pairs)

    def calls(self):
        for batch in self.source.batches():
            self.batch = batch
            yield map(self.function, zip(repeat(batch.path), batch.offsets), batch.rest)

    def stream(self, pairs):
        n = 1  # pairs of a block, about: they may be large
        while True:
            some = list(islice(pairs, n))
            if not some:
                return
            self.place = self.near_record
            for pair in some if not set(map(type, some)) <= {tuple, list} else ():
                check_pair("map", pair)
            done = self.out.write([k for k, v in some], [v for k, v in some])
            self.place = self.at_record
            n = max(1, min(n * 2, n * BLOCK // max(done or 2 * BLOCK, 1), 1 << 14))

    def gather(self, pairs):
        """Puts values to their keys. A dict would take 1, 1.0 and True for one
        key, so only those of text are its keys as they are."""
        waiting, others = self.waiting, self.others
        for pair in pairs:
            key, value = check_pair("map", pair)
            self.put(key, value)
            self.weight += (STEP + 1) * (weigh(value) + 8)
            if len(key) > ENTRY if type(key) in (str, bytes) else False:
                self.weight += (STEP + 1) * len(key)
            for pair in islice(pairs, STEP):
                if type(pair) is not tuple:
                    check_pair("map", pair)
                key, value = pair
                if type(key) is str:
                    waiting[key].append(value)
                else:
                    others[encode(key)].append(value)
            if self.weight + ENTRY * (len(waiting) + len(others)) > LIMIT:
                self.shrink()
        self.send()

    def put(self, key, value):
        if type(key) is str:
            self.waiting[key].append(value)
        else:
            self.others[encode(key)].append(value)

    def shrink(self):
        """Combines what has gathered; when that helps little, it is sent."""
        combined, self.weight = list(self.combined()), 0
        for key, value in combined:
            self.put(key, value)
            self.weight += weigh(value) + 8
        if self.weight + ENTRY * (len(self.waiting) + len(self.others)) > LIMIT // 2:
            self.send()

    def send(self):
        pairs = self.combined()
        while True:
            some = list(islice(pairs, 1 << 12))
            if not some:
                break
            self.out.write([k for k, v in some], [v for k, v in some])
        self.weight = 0

    def combined(self):
        """Takes out all that has gathered, and gives the combined pairs."""
        for table, real in ((self.waiting, None), (self.others, decode)):
            for key in list(table):
                values = table.pop(key)
                if real:
                    key = real(key)
                if len(values) == 1:
                    yield key, values[0]
                    continue
                self.place = lambda: "combine: key " + short(key)
                for pair in self.combine(key, iter(values)):
                    yield check_pair("combine", pair)
                self.place = self.at_record


def many(name, function):
    """Lets a function that does not yield return pairs, a pair, or None."""
    def call(*args):
        try:
            result = function(*args)
        except StopIteration as e:  # would silently end the loop over the records
            raise RuntimeError("%s raised StopIteration" % name).with_traceback(e.__traceback__) from None
        if result is None:
            return ()
        if isinstance(result, tuple):
            return (result,)
        if isinstance(result, (str, bytes, dict)) or not hasattr(result, "__iter__"):
            raise Refused("%s returned %s; yield (key, value) pairs, or return a list of them" % (name, type(result).__name__))
        return result
    return call


def check_pair(name, pair):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        what = type(pair).__name__
        if isinstance(pair, (tuple, list)):
            what += " of %d" % len(pair)
        raise Refused("%s gave a %s where a (key, value) pair is needed" % (name, what))
    return pair


def weigh(x, depth=0):
    """About the bytes that x takes."""
    size = sys.getsizeof(x)
    if depth < 3 and isinstance(x, (list, tuple, dict)) and x:
        some = list(islice(x.items() if isinstance(x, dict) else x, 8))
        size += sum(weigh(e, depth + 1) for e in some) * len(x) // len(some)
    return size


# --- Reduce. ----------------------------------------------------------------

class Reducer:
    """Calls reduce for each key, and writes what it gives as text."""

    def __init__(self, function, groups, out):
        self.function, self.groups, self.out = function, groups, out
        self.key = None

    def place(self):
        return "reduce" if self.key is None else "reduce: key " + short(self.key[0])

    def run(self):
        text, size = [], 0
        for key, values in self.groups:
            self.key = (key,)
            for result in several(self.function(key, values)):
                line = as_line(result)
                text.append(line)
                size += len(line)
                if size > BLOCK:
                    self.flush(text)
                    text, size = [], 0
        self.flush(text)

    def flush(self, text):
        # Bytes that are no UTF-8 came in as surrogates, and go out as they were.
        self.out.write("".join(text).encode("utf-8", "surrogateescape"))


def several(result):
    """What reduce gave, one by one."""
    if result is None:
        return ()
    if isinstance(result, (tuple, str, bytes)):
        return (result,)
    if isinstance(result, dict) or not hasattr(result, "__iter__"):
        raise Refused("reduce returned %s; yield (key, value) pairs, str or bytes" % type(result).__name__)
    return result


def as_line(result):
    kind = type(result)
    if kind is str:
        return result + "\n"
    if kind is bytes:
        return as_text(result)
    key, value = check_pair("reduce", result)
    if value is None:
        return as_text(key) + "\n"
    if key is None:
        return as_text(value) + "\n"
    return as_text(key) + "\t" + as_text(value) + "\n"


def as_text(x):
    """A key or value for people: text and bytes as they are, else JSON."""
    if isinstance(x, str):
        return x
    if isinstance(x, bytes):
        return x.decode("utf-8", "surrogateescape")
    if type(x) is int:
        return str(x)
    try:
        return json.dumps(x, ensure_ascii=False, sort_keys=True)
    except (TypeError, ValueError) as e:
        raise Refused("reduce gave a %s that is no text: %s; give str or bytes" % (type(x).__name__, e))


# --- The user's files, and what goes wrong. -----------------------------------

class Main:
    def __init__(self, argv):
        self.mode = argv[0]
        self.options = dict(a[2:].split("=", 1) for a in argv[1:])
        self.files = set()
        self.loading = None
        self.work = None

    def run(self):
        # Frames have descriptors of their own: what the user's code prints, or
        # reads, must not mix with them.
        out = io.open(os.dup(1), "wb", 1 << 16)
        groups = io.open(os.dup(0), "rb", 1 << 20)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        gc.disable()  # nothing here makes cycles; the user's code may: see below
        try:
            self.work = self.mapper(out) if self.mode == "map" else self.reducer(groups, out)
            gc.enable()
            gc.set_threshold(100000, 50, 1000)
            self.work.run()
            out.flush()
            self.finished()
        except BrokenPipeError:
            return self.quit(141)  # nobody wants more: who reads says why
        except (Exception, SystemExit) as e:
            return self.quit(self.failed(e))
        return self.quit(0)

    def finished(self):
        """Tells the guest that all was read and written: a process that user
        code ends by os._exit(0) looks well from outside."""
        mark = os.environ.get("IPDC_UNFINISHED")
        if mark:
            os.unlink(mark)

    def quit(self, code):
        flush()
        os._exit(code)  # without the second look at memory that is given back anyway

    def mapper(self, out):
        inputs = os.environ["IPDC_INPUTS"]
        data = os.path.abspath(os.path.join(inputs, self.options.get("data", ".")))
        offsets = read_offsets(os.path.join(inputs, "offsets")) if "data" in self.options else {}
        function, combine = self.load("map", "map"), None
        if "combine" in self.options:
            combine = self.load("combine", "combine")
        os.chdir(data)
        return Mapper(function, combine, Input(data, self.options.get("records", "lines"), offsets, "pieces" in self.options), PairWriter(out))

    def reducer(self, groups, out):
        return Reducer(self.load("reduce", "reduce"), GroupReader(groups), out)

    def load(self, option, function):
        """Runs a file of the user once, as a module named like it."""
        file = os.path.join(HERE, self.options[option])
        self.loading = file
        name = os.path.splitext(os.path.basename(file))[0].replace(".", "_")
        if name in sys.modules and getattr(sys.modules[name], "__file__", None) != file:
            name = "ipdc_user_" + name
        if name not in sys.modules:
            loader = importlib.machinery.SourceFileLoader(name, file)
            module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, file, loader=loader))
            sys.modules[name] = module
            self.files.add(file)
            loader.exec_module(module)
        found = getattr(sys.modules[name], function, None)
        if not callable(found):
            raise Refused("%s has no function %s" % (os.path.basename(file), function))
        self.loading = None
        return found

    def failed(self, error):
        """Reports an error and shows its traceback; gives the exit code."""
        tb = error.__traceback__
        while tb and (tb.tb_frame.f_code.co_filename == __file__ or tb.tb_frame.f_code.co_filename.startswith("<frozen importlib")):
            tb = tb.tb_next
        place = self.work.place() if self.work else os.path.basename(self.loading or self.mode)
        text = clip("%s: %s%s" % (place, summary(error, tb), self.line(error, tb)))
        flush()
        print("ipdc: " + text.encode("utf-8", "replace").decode("utf-8"), file=sys.__stderr__)
        if tb or isinstance(error, SyntaxError):
            traceback.print_exception(type(error), error, tb, file=sys.__stderr__)
        self.report(type="failure", detail=text)
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code & 0xFF or 1  # never 0: there are records left
        return 1

    def line(self, error, tb):
        """" (Map.py:12)", the last line of the user's files on the way."""
        found = ""
        if isinstance(error, SyntaxError) and error.filename in self.files:
            return " (%s:%d)" % (os.path.basename(error.filename), error.lineno or 1)
        while tb:
            name = tb.tb_frame.f_code.co_filename
            if name.startswith(HERE + "/"):
                found = " (%s:%d)" % (name[len(HERE) + 1:], tb.tb_lineno)
            tb = tb.tb_next
        return found

    def report(self, **line):
        path = os.environ.get("IPDC_REPORT", REPORT)
        data = (json.dumps(line) + "\n").encode()
        for _ in range(2):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND)
                os.write(fd, data)
                os.close(fd)
                return
            except OSError:
                # Of a full volume the guest holds a file ready that gives way.
                reserve = os.path.join(os.path.dirname(path), "reserve")
                if os.path.exists(reserve):
                    os.unlink(reserve)


def summary(error, tb):
    try:
        # The text of a syntax error names the file, which the place does too.
        text = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    except Exception:
        text = "its text cannot be shown"
    if isinstance(error, Refused):
        return text
    if not tb and isinstance(error, (TypeError, ValueError)):  # raised here, while a pair was taken apart
        return "not a (key, value) pair: " + text
    return type(error).__name__ + (": " + text if text else "")


def short(key):
    text = repr(key)
    return text if len(text) <= 100 else text[:100] + "..."


def clip(text):
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


def flush():
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the user's code closed or replaced it


if __name__ == "__main__":
    Main(sys.argv[1:]).run()
