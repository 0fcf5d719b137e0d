"""Calls one function of a Python file for each input file of an ipdc task.

    python3 harness.py process.py downscale
    python3 harness.py crawler.py crawl lines

docs/jobspec.md ("item protocol") says what it reads and writes. The function
gets a binary file whose name is the path below the input; the working
directory is the input, so open(file.name) works as well. It returns bytes, str
(stored as UTF-8), an iterable of these (stored as it comes), (name, data) to
choose the output's name, or None for no output. Nothing is kept per item.

With lines each file holds one line, and the function gets that, as text
without its line end; bytes that are no UTF-8 are in it as surrogate escapes.
It may return a dict, too, which is stored as JSON.

Python 3.6 or later, standard library only.
"""
import sys

# The job's folder must not shadow what is imported here: a user's file may
# well be called json.py. It comes back below.
HERE = __file__.rpartition("/")[0]
if sys.path and sys.path[0] == HERE:
    del sys.path[0]

import errno
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import time
import traceback

sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

MAX_TEXT = 1000  # bytes of an error's text in the report
MAX_STDERR = 2048  # bytes of the end of an item's stderr there
MAX_LINE = 8192  # bytes of a line of the report
PART = ".ipdc-part"  # an output that is being written
LINES = sys.argv[3:] == ["lines"]  # each file holds one line, which the function gets
ALLOWED = "return bytes, str, an iterable of them, %s(name, data) or None" % ("a dict, " if LINES else "")
PICTURE = "return bytes: buf = io.BytesIO(); img.save(buf, 'JPEG'); return buf.getvalue()"
HINTS = {
    "PIL": PICTURE,
    "numpy": PICTURE + ", with img = PIL.Image.fromarray(array); or array.tobytes()",
    "pandas": "return text: frame.to_csv()",
}

PIXELS = 89478485  # Pillow's own limit
PIXEL = 5  # bytes: Pillow keeps RGB in 4, and the function one more in grey
BASE = 128 << 20  # bytes: Python with what a program imports


class InputFile(io.BufferedReader):
    """An input file, named by its path below the input."""

    def __init__(self, root, path):
        super().__init__(io.FileIO(os.path.join(root, encode(path))), 1 << 16)
        self._path = path

    @property
    def name(self):
        return self._path


def read_line(root, path):
    """The line that an input file holds."""
    with InputFile(root, path) as file:
        text = file.read().decode("utf-8", "surrogateescape")
    return text[:-1] if text.endswith("\n") else text


class OutputError(Exception):
    """What the function returned cannot be stored."""

    def __init__(self, text, full=False):
        super().__init__(text)
        self.full = full  # the volume of the outputs is full


def encode(path):
    """A path as the system wants it, whatever the locale is."""
    return path.encode("utf-8", "surrogatepass")


class Report:
    """The report file: a line of JSON for each item."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, **line):
        data = as_line(line)
        while len(data) > MAX_LINE and line.get("stderr"):  # escapes made it long
            half = clip_end(line["stderr"], len(line["stderr"].encode("utf-8")) // 2)
            cut = len(line["stderr"].encode("utf-8")) - len(half.encode("utf-8"))
            line.update(stderr=half, stderr_cut=line.get("stderr_cut", 0) + cut)
            data = as_line(line)
        while data:
            try:
                data = data[os.write(self.fd, data):]
            except OSError as e:
                if not is_full(e) or not self.make_room():
                    return  # the exit code is what counts

    def make_room(self):
        """Takes away the file that the guest holds ready for a full volume."""
        try:
            os.unlink(os.path.join(os.path.dirname(self.path), "reserve"))
        except OSError:
            return False
        return True

    def maker(self, name):
        """The input that output name, or a folder of that name, came from."""
        with open(self.path, "rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line.decode("utf-8"))
                    names = entry.get("outputs") or []
                    if any(n == name or n.startswith(name + "/") for n in names):
                        return entry["path"]
                except (ValueError, KeyError, AttributeError, TypeError):
                    pass
        return "something else"


def as_line(line):
    return (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def json_size(text):
    """How many bytes a text takes in a line, without the quotes."""
    return min(len(as_line(text)) - len('""\n'), MAX_LINE)


class Tail:
    """Stands for sys.stderr, and keeps the end of what is written to it."""

    def __init__(self, stream):
        self.stream, self.last, self.cut = stream, "", 0

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        n = self.stream.write(text)
        self.keep(text)
        return n

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def keep(self, text):
        kept = clip_end(self.last + text, MAX_STDERR)
        self.cut += len((self.last + text).encode("utf-8", "replace")) - len(kept.encode("utf-8"))
        self.last = kept

    def take(self, most):
        """What is for an item's line, of which so many bytes have room."""
        last, cut = self.last, self.cut
        self.last, self.cut = "", 0
        if json_size(last) > most:
            last, cut = "", cut + len(last.encode("utf-8"))
        line = {"stderr": last} if last else {}
        if cut:
            line["stderr_cut"] = cut
        return line


def is_full(error):
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk(call, *args):
    """Calls what writes below the outputs, so that its errors are told apart
    from those of the user's code."""
    try:
        return call(*args)
    except OSError as e:
        raise OutputError("OSError: output: %s" % e.strerror, is_full(e)) from None


class Outputs:
    """The folder of the outputs."""

    def __init__(self, root, report):
        self.root = os.fsencode(root)
        self.report = report

    def at(self, name):
        return os.path.join(self.root, encode(name))

    def store(self, path, result, function):
        """Stores what function returned for the input path; gives the names."""
        if result is None:
            return []
        name, data = path, result
        if isinstance(result, tuple):
            if len(result) != 2 or not isinstance(result[0], str):
                raise wrong(function, "a tuple that is not (name, data)", ALLOWED)
            name, data = result
            check_name(function, name)
        part = self.at(PART)
        out = io.open(disk(os.open, part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb")
        try:
            try:
                for chunk in chunks(function, data):
                    disk(out.write, chunk)
            finally:
                disk(out.close)
            self.publish(part, name, path)
        except BaseException:
            os.unlink(part)
            raise
        return [name]

    def publish(self, part, name, path):
        """Gives a finished output its name, which must be free."""
        parts = name.split("/")
        for i in range(1, len(parts) + 1):
            above = "/".join(parts[:i])
            taken = os.path.lexists(self.at(above))
            if taken and (above == name or not os.path.isdir(self.at(above))):
                text = "ValueError: output %s: %s is already made by input %s and would be made by input %s too"
                raise OutputError(text % (name, above, self.report.maker(above), path))
        disk(os.makedirs, os.path.dirname(self.at(name)), 0o755, True)
        disk(os.rename, part, self.at(name))


def wrong(function, what, hint):
    return OutputError("TypeError: %s returned %s; %s" % (label(function), what, hint))


def label(function):
    return getattr(function, "__name__", "the function")


def check_name(function, name):
    """Allows what can be an output's path: relative, clean and printable."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    bad = any(part in ("", ".", "..") for part in name.split("/"))
    control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name)
    if bad or control or not 0 < size <= 4096 or name.startswith(PART):
        text = "ValueError: %s returned the name %r; a name is a relative path without . and .."
        raise OutputError(text % (label(function), name[:200]))


def chunks(function, data):
    """What is to be written, in the order in which it comes."""
    if isinstance(data, (bytes, bytearray, memoryview, str)):
        yield as_bytes(function, data)
        return
    kind = type(data)
    hint = HINTS.get((kind.__module__ or "").partition(".")[0])
    if isinstance(data, (io.BytesIO, io.StringIO)):
        hint = "return its content: .getvalue()"
    elif isinstance(data, io.IOBase):
        hint = "return its content: .read()"
    elif isinstance(data, dict) and LINES:
        yield (json.dumps(data, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
        return
    elif isinstance(data, dict):
        hint = "return text: json.dumps(...)"
    elif isinstance(data, (set, frozenset)):
        hint = "its order is not the same in each run, return sorted(...)"
    if hint or isinstance(data, tuple) or not hasattr(kind, "__iter__"):
        raise wrong(function, kind.__name__, hint or ALLOWED)
    for chunk in data:
        yield as_bytes(function, chunk)


def as_bytes(function, chunk):
    if isinstance(chunk, str):
        return chunk.encode("utf-8")
    if isinstance(chunk, memoryview):
        return chunk.tobytes()  # a file does not take one with gaps
    if isinstance(chunk, (bytes, bytearray)):
        return chunk
    what = "an iterable with %s in it" % type(chunk).__name__
    raise wrong(function, what, "return bytes or str, or an iterable of them")


class Batch:
    """The items of one task and the function that is called for them."""

    def __init__(self, file, function):
        with io.open(os.environ["IPDC_TASK"], encoding="utf-8") as f:
            task = json.load(f)
        self.items = task.get("items") or []
        self.keep_going = task.get("keep_going", False)
        self.retries = task.get("retries", 0)
        self.stderr = Tail(sys.stderr)
        self.file = os.path.join(HERE, file)
        self.function = function  # a name, until load
        self.report = Report(os.environ["IPDC_REPORT"])
        self.inputs = os.fsencode(os.environ["IPDC_INPUTS"])
        self.outputs = Outputs(os.environ["IPDC_OUTPUTS"], self.report)
        volume = os.statvfs(self.outputs.root)
        self.budget = min(32 << 20, volume.f_blocks * volume.f_frsize // 16)  # of stderr in the report

    def run(self):
        """Does all the work and gives the exit code."""
        os.chdir(self.inputs)
        sys.stderr = self.stderr
        try:
            self.load()
        except (Exception, SystemExit) as e:
            # Told as the first item's error, so that the job's failure names it.
            return self.failed(self.items[0]["path"] if self.items else self.file, e, 1)
        todo, tries = self.items, 0
        while todo:
            tries += 1
            if tries > 1:
                time.sleep(min(1 << min(tries - 2, 6), 60))
            again = []
            for item in todo:
                allow_pictures()
                code, full = self.run_item(item["path"], tries)
                flush()
                if code is None:
                    again.append(item)
                elif full or code and not self.keep_going:
                    return code
            todo = again
        return 0

    def load(self):
        """Runs the user's file once, as a module named like it."""
        name = os.path.splitext(os.path.basename(self.file))[0].replace(".", "_")
        if name in sys.modules:
            name = "ipdc_user_" + name
        loader = importlib.machinery.SourceFileLoader(name, self.file)
        module = importlib.util.module_from_spec(
            importlib.util.spec_from_file_location(name, self.file, loader=loader))
        sys.modules[name] = module
        loader.exec_module(module)
        self.function = getattr(module, self.function)

    def run_item(self, path, tries):
        """Gives the item's exit code, None if it is to be tried again, and
        whether the outputs are full."""
        try:
            if LINES:
                names = self.outputs.store(path, self.function(read_line(self.inputs, path)), self.function)
            else:
                with InputFile(self.inputs, path) as file:
                    names = self.outputs.store(path, self.function(file), self.function)
        except (Exception, SystemExit) as e:
            full = getattr(e, "full", False)
            return self.failed(path, e, tries, not full and tries <= self.retries), full
        self.report.add(type="item", path=path, outputs=names, **self.more(tries))
        return 0, False

    def more(self, tries):
        """What is told of any item beside how it ended."""
        line = self.stderr.take(self.budget)
        self.budget -= json_size(line.get("stderr", ""))
        if tries > 1:
            line["tries"] = tries
        return line

    def failed(self, path, error, tries, again=False):
        """Reports an error and shows its traceback; gives the exit code, None
        if the item is to be tried again."""
        code, line = 1, {}
        text, tb = self.describe(error)
        if isinstance(error, SystemExit):
            code = exit_code(error.code)
        if getattr(error, "full", False):
            line["kind"] = "E_QUOTA"
        flush()
        also = " (try %d of %d)" % (tries, self.retries + 1) if again else ""
        sys.__stderr__.write("ipdc: %s: %s%s\n" % (path, text, also))
        if not isinstance(error, OutputError):
            shown = "".join(traceback.format_exception(type(error), error, tb))
            sys.__stderr__.write(shown)
            self.stderr.keep(shown)
        if again:
            self.stderr.take(0)
            self.report.add(type="retry", path=path, error=text, exit_code=code, tries=tries)
        else:
            self.report.add(type="item", path=path, error=text, exit_code=code, **self.more(tries), **line)
        flush()
        return None if again else code

    def describe(self, error):
        """The error in one line, and its traceback from the user's frames on."""
        tb = error.__traceback__
        while tb and (tb.tb_frame.f_code.co_filename == __file__
                      or tb.tb_frame.f_code.co_filename.startswith("<frozen importlib")):
            tb = tb.tb_next
        line, frame = self.first_line(), tb
        if isinstance(error, SyntaxError) and error.filename == self.file:
            line = error.lineno
        if isinstance(error, OutputError):
            frame = None
        while frame:
            if frame.tb_frame.f_code.co_filename == self.file:
                line = frame.tb_lineno
            frame = frame.tb_next
        place = os.path.basename(self.file) + (":%d" % line if line else "")
        return "%s (%s)" % (clip(summary(error)), place), tb

    def first_line(self):
        """Of the function, where an error has no better place; None if unknown."""
        function = self.function
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        code = getattr(function, "__code__", None)
        return code.co_firstlineno if code and code.co_filename == self.file else None


def summary(error):
    try:
        # The text of a syntax error names the file, which the place does too.
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        text = " ".join(text.split())
    except Exception:
        text = "its text cannot be shown"
    if isinstance(error, OutputError):
        return text  # begins with the kind of error
    return type(error).__name__ + (": " + text if text else "") + picture_hint(error, text)


def memory():
    """The memory in bytes that this container may have; 0 if unknown."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as f:
                return int(f.read())
        except (OSError, ValueError):
            pass
    return 0


def allow_pictures():
    """Lets Pillow open what fits into the memory: its own limit is a guess
    for servers, and here the memory is bounded. It fails at twice the limit."""
    image = sys.modules.get("PIL.Image")
    if getattr(image, "MAX_IMAGE_PIXELS", None) == PIXELS:  # not one of the user's
        image.MAX_IMAGE_PIXELS = max(PIXELS, (memory() - BASE) // PIXEL // 2)


def picture_hint(error, text):
    """What to ask for when a picture is larger than Pillow opens."""
    found = re.search(r"([0-9]+) pixels", text)
    if type(error).__name__ != "DecompressionBombError" or not found:
        return ""
    need, ask = int(found.group(1)) * PIXEL + BASE, 512
    while ask << 20 < need:
        ask *= 2
    unit = "%dMiB" % ask if ask < 1024 else "%dGiB" % (ask >> 10)
    return " Decoded it takes about %d MB: ask for --memory %s" % (need // 10**6, unit)


def clip(text):
    return text.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


def clip_end(text, most):
    return text.encode("utf-8", "replace")[-most:].decode("utf-8", "ignore") if most > 0 else ""


def exit_code(code):
    """Of sys.exit(code). Never 0: the items after this one were not done."""
    return code & 0xFF or 1 if isinstance(code, int) else 1


def flush():
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the user's code closed or replaced it


if __name__ == "__main__":
    sys.exit(Batch(sys.argv[1], sys.argv[2]).run())
