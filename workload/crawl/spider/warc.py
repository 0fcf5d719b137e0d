"""Records of WARC/1.1 (ISO 28500:2017), each a gzip member of its own.

    data = response(url, date, "HTTP/1.1 200 OK", [("Content-Type", "text/html")], body)
    record = read(file, offset)   # record.head, record.body

The same arguments give the same bytes: ids are made from what a record says,
and no clock is asked.
"""
import gzip
import hashlib
import io
import uuid
import zlib

VERSION = b"WARC/1.1"
SAME_PAYLOAD = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
END = b"\r\n\r\n"


class Broken(Exception):
    """A record that cannot be read."""


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def identity(kind, url, date, payload):
    """The id of a record: no other record says the same."""
    return "<urn:uuid:%s>" % uuid.uuid5(uuid.NAMESPACE_URL, "\n".join((kind, url, date, payload)))


def one_line(text):
    """Text that cannot end its line."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def http_head(status_line, headers):
    """The head of an HTTP message."""
    lines = [one_line(status_line)] + ["%s: %s" % (one_line(n), one_line(v)) for n, v in headers]
    return "\r\n".join(lines).encode("latin-1", "replace") + END


def member(fields, block):
    """A whole record as a gzip member."""
    fields = fields + [("WARC-Block-Digest", digest(block)), ("Content-Length", str(len(block)))]
    head = "\r\n".join("%s: %s" % field for field in fields).encode("utf-8")
    return gzip.compress(VERSION + b"\r\n" + head + END + block + END, 6, mtime=0)


def response(url, date, status_line, headers, body):
    """The record of an answer."""
    payload = digest(body)
    return member(
        [
            ("WARC-Type", "response"),
            ("WARC-Record-ID", identity("response", url, date, payload)),
            ("WARC-Date", date),
            ("WARC-Target-URI", url),
            ("WARC-Payload-Digest", payload),
            ("Content-Type", "application/http;msgtype=response"),
        ],
        http_head(status_line, headers) + body,
    )


def revisit(url, date, status_line, headers, payload, of_url, of_date):
    """The record of an answer whose content is that of another one's record."""
    return member(
        [
            ("WARC-Type", "revisit"),
            ("WARC-Record-ID", identity("revisit", url, date, payload + of_url + of_date)),
            ("WARC-Date", date),
            ("WARC-Target-URI", url),
            ("WARC-Payload-Digest", payload),
            ("WARC-Profile", SAME_PAYLOAD),
            ("WARC-Refers-To", identity("response", of_url, of_date, payload)),
            ("WARC-Refers-To-Target-URI", of_url),
            ("WARC-Refers-To-Date", of_date),
            ("Content-Type", "application/http;msgtype=response"),
        ],
        http_head(status_line, headers),
    )


def info(date, fields):
    """The record that stands first in a file."""
    block = "".join("%s: %s\r\n" % field for field in fields).encode("utf-8")
    return member(
        [
            ("WARC-Type", "warcinfo"),
            ("WARC-Record-ID", identity("warcinfo", "", date, digest(block))),
            ("WARC-Date", date),
            ("Content-Type", "application/warc-fields"),
        ],
        block,
    )


class Record:
    """A record that was read."""

    def __init__(self, fields, block):
        self.fields = fields  # by name in lower case
        self.block = block

    def get(self, name):
        return self.fields.get(name.lower(), "")

    def http(self):
        """The status line, the headers and the body of the answer."""
        head, found, body = self.block.partition(END)
        if not found:
            raise Broken("no end of the HTTP head")
        lines = head.decode("latin-1").split("\r\n")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if ":" in line]
        return lines[0], headers, body


def inflate(file, most):
    """The bytes of the gzip member at which file stands, at most so many."""
    packed = zlib.decompressobj(wbits=31)
    out = io.BytesIO()
    while not packed.eof:
        chunk = packed.unconsumed_tail or file.read(1 << 16)
        if not chunk:
            raise Broken("a gzip member is cut")
        out.write(packed.decompress(chunk, most + 1 - out.tell()))
        if out.tell() > most:
            raise Broken("a record of more than %d bytes" % most)
    return out.getvalue()


def read(file, offset, most=1 << 30):
    """The record at an offset of a file."""
    file.seek(offset)
    try:
        text = inflate(file, most)
    except zlib.error as e:
        raise Broken(str(e)) from None
    head, found, rest = text.partition(END)
    lines = head.decode("utf-8", "replace").split("\r\n")
    if not found or not lines[0].startswith("WARC/"):
        raise Broken("no WARC record at byte %d" % offset)
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    size = fields.get("content-length", "")
    if not size.isdigit() or len(rest) != int(size) + len(END):
        raise Broken("the record at byte %d does not have its length" % offset)
    return Record(fields, rest[: int(size)])
