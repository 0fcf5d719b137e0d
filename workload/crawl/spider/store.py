"""What a crawl keeps: the pages of each host, in WARC files with an index.

    previous = Previous("/inputs/00000/since")
    crawl = Store("/outputs", previous)
    crawl.add(url, depth, answer)        # an Answer
    crawl.unchanged(url, depth, etag, last_modified)
    crawl.write()

Each host has a folder: index.jsonl has a line for each URL, sorted; the WARC
files hold the records in the same order. What a page's record says, and where
files are cut, does not depend on the order in which pages came, and the record
of a page that did not change is that of the crawl before, byte for byte. So a
crawl of a site that did not change has the CID of the one before.
"""
import hashlib
import json
import os

import urls
import warc

SOFTWARE = "ipdc-crawler/1"
AIM = 4 << 20  # bytes of a WARC file
FOUND = 10000  # URLs elsewhere that are kept for each host


class Answer:
    """What a server answered."""

    def __init__(self, status_line, headers, body, date, **facts):
        self.status_line = status_line
        self.status = int(status_line.split()[1])
        self.headers = headers  # pairs of text
        self.body = body
        self.date = date
        self.facts = {k: v for k, v in facts.items() if v}  # type, etag, last_modified, location


class Previous:
    """The pages of an earlier crawl, as far as they are of these hosts."""

    def __init__(self, top, hosts):
        self.top = top
        self.pages = {}
        for name in hosts:
            self._read(os.path.join(top, urls.folder(name), "index.jsonl"))

    def _read(self, path):
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                page = json.loads(line)
                if "warc" in page:
                    self.pages[page["url"]] = page

    def bytes(self):
        """The size of all records."""
        return sum(page["length"] for page in self.pages.values())

    def get(self, url):
        return self.pages.get(url)

    def path(self, page):
        return os.path.join(self.top, urls.folder(urls.host(page["url"])), page["warc"])

    def packed(self, page):
        """The bytes of a page's record."""
        with open(self.path(page), "rb") as file:
            file.seek(page["offset"])
            data = file.read(page["length"])
        if len(data) != page["length"]:
            raise warc.Broken("the record of %s is cut" % page["url"])
        return data

    def record(self, page):
        with open(self.path(page), "rb") as file:
            return warc.read(file, page["offset"])

    def answer(self, page):
        """Status line and headers of a page, and its content, wherever it is."""
        line, headers, body = self.record(page).http()
        if "duplicate_of" in page:
            body = self.record(self.pages[page["duplicate_of"]]).http()[2]
        return line, headers, body


class Piece:
    """A page's record, before it has its place."""

    def __init__(self, page, size, packed):
        self.page = page
        self.size = size  # bytes
        self.packed = packed  # gives them


class Store:
    """The pages of a crawl."""

    def __init__(self, out, previous):
        self.out = out
        self.previous = previous
        self.pages = {}  # by URL
        self.old = set()  # URLs whose record is that of the previous crawl
        self.spool = {}  # URL -> where its record stands in the spool
        self.elsewhere = {}  # host -> URLs that this crawl does not follow
        self.spool_path = os.path.join(out, ".spool")
        self.file = open(self.spool_path, "w+b")
        self.bytes = 0  # of the spool

    def skip(self, url, depth, why):
        self.pages[url] = {"url": url, "depth": depth, "skipped": why}

    def fail(self, url, depth, why):
        """A page that cannot be had keeps what it had; gives that, or None."""
        self.pages[url] = page = {"url": url, "depth": depth}
        before = self.previous.get(url)
        if before:
            page.update({k: v for k, v in before.items() if k != "depth"})
            self.old.add(url)
        page["error"] = why
        return before

    def unchanged(self, url, depth, **facts):
        """A page that is as it was."""
        before = self.previous.get(url)
        page = {k: v for k, v in before.items() if k != "error"}
        page.update({k: v for k, v in facts.items() if v})
        self.pages[url] = dict(page, depth=depth)
        self.old.add(url)

    def add(self, url, depth, answer):
        """An answer with a body; says whether it is new."""
        page = {"url": url, "depth": depth, "status": answer.status}
        page.update(answer.facts)
        page.update(digest=warc.digest(answer.body), size=len(answer.body))
        before = self.previous.get(url)
        if before and all(before.get(k) == page.get(k) for k in ("status", "digest", "location")):
            self.unchanged(url, depth, **answer.facts)
            return False
        page["time"] = answer.date
        data = warc.response(url, answer.date, answer.status_line, answer.headers, answer.body)
        self.spool[url] = (self.bytes, len(data))
        self.file.write(data)
        self.bytes += len(data)
        self.pages[url] = page
        return True

    def leads(self, url, targets):
        """URLs on a page that another crawl may follow."""
        found = self.elsewhere.setdefault(urls.host(url), set())
        found.update(targets)
        if len(found) > 2 * FOUND:
            self.elsewhere[urls.host(url)] = set(sorted(found)[:FOUND])

    def write(self):
        """Makes the folders of all hosts."""
        self.file.flush()
        hosts = {}
        for page in self.pages.values():
            hosts.setdefault(urls.host(page["url"]), []).append(page)
        for name in sorted(hosts):
            self._write_host(name, sorted(hosts[name], key=lambda page: page["url"]))
        self.file.close()
        os.unlink(self.spool_path)

    def _write_host(self, name, pages):
        folder = os.path.join(self.out, urls.folder(name))
        os.makedirs(folder)
        for group in groups(self._pieces(pages)):
            write_file(folder, group)
        with open(os.path.join(folder, "index.jsonl"), "w", encoding="utf-8") as index:
            for page in pages:
                index.write(json.dumps(page, sort_keys=True, ensure_ascii=False) + "\n")
        found = sorted(self.elsewhere.get(name, ()))[:FOUND]
        if found:
            with open(os.path.join(folder, "elsewhere.txt"), "w", encoding="utf-8") as file:
                file.writelines(url + "\n" for url in found)

    def _pieces(self, pages):
        """A record for each page that has one, sorted by URL: of pages of one
        content, one has it and the others refer to that one."""
        same = {}
        for page in pages:
            if page.get("status") == 200 and page.get("size"):
                same.setdefault(page["digest"], []).append(page)
        holder = {key: self._holder(group) for key, group in same.items()}
        for page in pages:
            if "digest" not in page:
                continue
            of = holder.get(page["digest"]) if page.get("status") == 200 else None
            yield self._piece(page, None if of is page else of)

    def _holder(self, pages):
        """The page whose record has the content: the one that had it, else the
        first that was fetched, else the first."""
        for page in pages:
            if page["url"] in self.old and "duplicate_of" not in page:
                return page
        for page in pages:
            if page["url"] in self.spool:
                return page
        return pages[0]

    def _piece(self, page, of):
        """The record of a page, whose content is that of another, or its own."""
        url = page["url"]
        if url in self.old:
            before = self.previous.get(url)
            if before.get("duplicate_of") == (of and of["url"]) and (of is None or of["url"] in self.old):
                return Piece(page, before["length"], lambda: self.previous.packed(before))
            line, headers, body = self.previous.answer(before)
        elif of is None:
            return Piece(page, self.spool[url][1], lambda: self._spooled(url))
        else:
            line, headers, body = self._spooled_record(url).http()
        page.pop("duplicate_of", None)
        if of is None:
            data = warc.response(url, page["time"], line, headers, body)
        else:
            page["duplicate_of"] = of["url"]
            data = warc.revisit(url, page["time"], line, headers, page["digest"], of["url"], of["time"])
        return Piece(page, len(data), lambda: data)

    def _spooled(self, url):
        offset, length = self.spool[url]
        self.file.seek(offset)
        return self.file.read(length)

    def _spooled_record(self, url):
        return warc.read(self.file, self.spool[url][0])


def groups(pieces):
    """Cuts a sequence of records into files where the URLs say so: a page more
    or less moves the borders up to the next one only."""
    group, weight = [], 0
    for piece in pieces:
        group.append(piece)
        weight += piece.size
        number = int.from_bytes(hashlib.sha256(piece.page["url"].encode()).digest()[:8], "big")
        if weight >= 2 * AIM or weight >= AIM // 4 and number < piece.size / (0.75 * AIM) * 2**64:
            yield group
            group, weight = [], 0
    if group:
        yield group


def write_file(folder, group):
    """Writes a WARC file and tells the pages where their records are. It is
    named by what it holds."""
    part = os.path.join(folder, ".part")
    total = hashlib.sha256()
    with open(part, "wb") as file:
        about = [("software", SOFTWARE), ("format", "WARC File Format 1.1"), ("robots", "obey")]
        data = warc.info(max(piece.page["time"] for piece in group), about)
        file.write(data)
        total.update(data)
        for piece in group:
            data = piece.packed()
            piece.page.update(offset=file.tell(), length=len(data))
            file.write(data)
            total.update(data)
    name = "pages-%s.warc.gz" % total.hexdigest()[:16]
    for piece in group:
        piece.page["warc"] = name
    os.rename(part, os.path.join(folder, name))
