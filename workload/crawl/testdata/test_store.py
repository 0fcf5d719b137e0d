import glob
import gzip
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "spider"))

import store
import warc


class Records(unittest.TestCase):
    def test_round_trip(self):
        body = b"a\r\n\r\nb" + bytes(range(256))
        data = warc.response("http://h/", "2026-01-01T00:00:00Z", "HTTP/1.1 200 OK", [("A", "\xe9"), ("B", "x\r\nC: y")], body)
        self.assertEqual(data, warc.response("http://h/", "2026-01-01T00:00:00Z", "HTTP/1.1 200 OK", [("A", "\xe9"), ("B", "x\r\nC: y")], body))
        record = warc.read(io.BytesIO(b"before" + data + data), 6)
        self.assertEqual(record.http(), ("HTTP/1.1 200 OK", [("A", "\xe9"), ("B", "x  C: y")], body))
        self.assertEqual(record.get("WARC-Type"), "response")
        self.assertEqual(record.get("WARC-Payload-Digest"), warc.digest(body))
        self.assertEqual(record.get("WARC-Block-Digest"), warc.digest(record.block))

    def test_header_injection(self):
        """A site cannot end its record and begin one of another's page."""
        forged = "x\r\n\r\n\r\n\r\nWARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://bank/"
        answer = lambda: warc.response("http://h/", "2026-01-01T00:00:00Z", "HTTP/1.1 200 " + forged, [("A: b" + forged, forged)], b"body")
        self.assertNotIn(b"\nWARC-Target-URI: http://bank/", gzip.decompress(answer()))
        self.assertEqual(warc.read(io.BytesIO(answer()), 0).http()[2], b"body")
        with mock.patch.object(warc, "one_line", str):  # control: with the guard off it can
            self.assertIn(b"\nWARC-Target-URI: http://bank/", gzip.decompress(answer()))
            self.assertNotEqual(warc.read(io.BytesIO(answer()), 0).http()[2], b"body")

    def test_form(self):
        """What ISO 28500 says of every record: the version, CRLF, mandatory
        fields, a length, two line ends; and gzip members, one per record."""
        parts = [
            warc.info("2026-01-01T00:00:00Z", [("software", "x")]),
            warc.response("http://h/", "2026-01-01T00:00:00Z", "HTTP/1.1 200 OK", [], b"x"),
            warc.revisit("http://h/2", "2026-01-02T00:00:00Z", "HTTP/1.1 200 OK", [], warc.digest(b"x"), "http://h/", "2026-01-01T00:00:00Z"),
        ]
        ids = set()
        for part in parts:
            text = gzip.decompress(part)
            head, _, rest = text.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            self.assertEqual(lines[0], "WARC/1.1")
            fields = dict(line.split(": ", 1) for line in lines[1:])
            for name in ("WARC-Type", "WARC-Record-ID", "WARC-Date", "Content-Length"):
                self.assertIn(name, fields)
            self.assertRegex(fields["WARC-Record-ID"], r"^<urn:uuid:[0-9a-f-]{36}>$")
            ids.add(fields["WARC-Record-ID"])
            self.assertEqual(len(rest), int(fields["Content-Length"]) + 4)
            self.assertTrue(rest.endswith(b"\r\n\r\n"))
        self.assertEqual(len(ids), 3)
        self.assertEqual(gzip.decompress(b"".join(parts)), b"".join(map(gzip.decompress, parts)))
        refers = warc.read(io.BytesIO(parts[2]), 0)
        self.assertEqual(refers.get("WARC-Refers-To"), warc.read(io.BytesIO(parts[1]), 0).get("WARC-Record-ID"))

    def test_broken(self):
        data = warc.response("http://h/", "2026-01-01T00:00:00Z", "HTTP/1.1 200 OK", [], b"x" * 1000)
        for spoilt in (b"", data[:-20], b"x" + data, gzip.compress(b"no"), gzip.compress(gzip.decompress(data)[:-1])):
            with self.assertRaises(warc.Broken):
                warc.read(io.BytesIO(spoilt), 0)
        with self.assertRaises(warc.Broken):
            warc.read(io.BytesIO(data), 0, most=900)


def answer(body, date="2026-01-01T00:00:00Z", status="200 OK", **facts):
    return store.Answer("HTTP/1.1 " + status, [("Date", date)], body, date, **facts)


class Crawls(unittest.TestCase):
    """Crawls without a crawler: what comes is told to the store."""

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.n = 0

    def crawl(self, since, pages, unchanged=(), failed=()):
        self.n += 1
        out = os.path.join(self.dir.name, str(self.n))
        os.mkdir(out)
        s = store.Store(out, store.Previous(since or out, ["h", "g"]))
        for url, a in pages:
            s.add(url, 0, a)
        for url in unchanged:
            s.unchanged(url, 0)
        for url in failed:
            s.fail(url, 0, "503")
        s.write()
        return out

    def read(self, top):
        """All pages with what their records say, checked against the index."""
        self.assertEqual(glob.glob(top + "/.*") + glob.glob(top + "/*/.*"), [])
        pages = {}
        before = store.Previous(top, ["h", "g"])
        for path in glob.glob(top + "/*/index.jsonl"):
            with open(path, encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            self.assertEqual([p["url"] for p in lines], sorted(p["url"] for p in lines))
            for page in lines:
                if "warc" in page:
                    record = before.record(page)
                    self.assertEqual(record.get("WARC-Target-URI"), page["url"])
                    self.assertEqual(record.get("WARC-Date"), page["time"])
                    self.assertEqual(record.get("WARC-Type"), "revisit" if "duplicate_of" in page else "response")
                    body = before.answer(page)[2]
                    self.assertEqual(warc.digest(body), page["digest"])
                    page["body"] = body
                pages[page["url"]] = page
        return pages

    def tree(self, top):
        out = {}
        for path in glob.glob(top + "/**/*", recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    out[os.path.relpath(path, top)] = file.read()
        return out

    def test_order_does_not_count(self):
        pages = [("http://h/%d" % i, answer(b"%d" % (i % 7))) for i in range(40)] + [("http://g/x", answer(b"0"))]
        a, b = self.crawl(None, pages), self.crawl(None, pages[::-1])
        # Which of equal pages is the first is the one that comes first by name.
        self.assertEqual(self.tree(a), self.tree(b))
        read = self.read(a)
        self.assertEqual(len(read), 41)
        self.assertEqual(sum("duplicate_of" in p for p in read.values()), 33)
        self.assertNotIn("duplicate_of", read["http://g/x"])  # of another host

    def test_nothing_changed(self):
        pages = [("http://h/%d" % i, answer(b"%d" % (i % 7))) for i in range(40)]
        pages.append(("http://h/r", answer(b"", status="302 Found", location="http://h/1")))
        pages.append(("http://h/404", answer(b"no", status="404 Not Found")))
        a = self.crawl(None, pages)
        later = [(url, answer(p.body, "2027-01-01T00:00:00Z", p.status_line[9:], **p.facts)) for url, p in pages]
        b = self.crawl(a, later)  # fetched again, the same
        self.assertEqual(self.tree(a), self.tree(b))
        c = self.crawl(b, later[1::2], [url for url, _ in later[::2]])  # half of it 304
        self.assertEqual(self.tree(a), self.tree(c))

    def test_one_page_changed(self):
        text = os.urandom(300 << 10)
        pages = [("http://h/%02d" % i, answer(b"%d" % i + text)) for i in range(60)]
        a = self.crawl(None, pages)
        b = self.crawl(a, [("http://h/17", answer(b"new", "2027-01-01T00:00:00Z"))], [u for u, _ in pages if not u.endswith("/17")])
        old, new = self.tree(a), self.tree(b)
        self.assertGreater(len(old), 4)
        self.assertLessEqual(len(set(new) - set(old)), 2)  # its file, perhaps one that it left
        read = self.read(b)
        self.assertEqual(read["http://h/17"]["body"], b"new")
        self.assertEqual(read["http://h/18"]["time"], "2026-01-01T00:00:00Z")
        self.assertEqual(read["http://h/17"]["time"], "2027-01-01T00:00:00Z")

    def test_duplicates_whose_first_goes(self):
        a = self.crawl(None, [("http://h/%s" % n, answer(b"same")) for n in "abc"])
        self.assertEqual(self.read(a)["http://h/c"]["duplicate_of"], "http://h/a")
        # a has changed: of b and c, one must have the content now.
        b = self.crawl(a, [("http://h/a", answer(b"other", "2027-01-01T00:00:00Z"))], ["http://h/b", "http://h/c"])
        read = self.read(b)
        self.assertEqual([read["http://h/" + n]["body"] for n in "abc"], [b"other", b"same", b"same"])
        self.assertNotIn("duplicate_of", read["http://h/b"])
        self.assertEqual(read["http://h/c"]["duplicate_of"], "http://h/b")
        self.assertEqual(read["http://h/b"]["time"], "2026-01-01T00:00:00Z")
        # a is back: b keeps the content, as its record did not change.
        c = self.crawl(b, [("http://h/a", answer(b"same", "2028-01-01T00:00:00Z"))], ["http://h/b", "http://h/c"])
        read = self.read(c)
        self.assertEqual(read["http://h/a"]["duplicate_of"], "http://h/b")
        # all but c are gone.
        d = self.crawl(c, [], ["http://h/c"])
        self.assertEqual(self.read(d)["http://h/c"]["body"], b"same")

    def test_failed_pages_keep_what_they_had(self):
        a = self.crawl(None, [("http://h/a", answer(b"a", etag='"1"'))])
        b = self.crawl(a, [], failed=["http://h/a", "http://h/new"])
        read = self.read(b)
        self.assertEqual((read["http://h/a"]["body"], read["http://h/a"]["error"]), (b"a", "503"))
        self.assertNotIn("warc", read["http://h/new"])
        c = self.crawl(b, [], ["http://h/a"])
        self.assertEqual(self.tree(a), self.tree(c))

    def test_empty_pages_are_no_duplicates(self):
        a = self.crawl(None, [("http://h/%s" % n, answer(b"")) for n in "ab"])
        self.assertFalse(any("duplicate_of" in p for p in self.read(a).values()))


if __name__ == "__main__":
    unittest.main()
