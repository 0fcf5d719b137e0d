"""Walks a site level by level.

All pages of one depth are done before the next depth begins, so that which
pages are crawled, and at which depth, does not depend on who answers first.
"""
import hashlib
import sys
import time
import traceback
from collections import Counter, deque
from urllib.parse import urljoin

import scrapy
from scrapy import signals
from scrapy.exceptions import DontCloseSpider
from scrapy.http import HtmlResponse
from scrapy.utils.response import get_base_url
from twisted.internet.defer import CancelledError
from w3lib.url import safe_url_string

import polite
import store
import urls
from answers import header, pairs, phrase, unzip

HOPS = 10  # redirects from one page
AHEAD = 2  # requests of a host that wait for their turn
LINKS = 10000  # of one page
HTML = ("text/html", "application/xhtml+xml")
TALK = 10  # seconds between lines of progress


def order(url):
    """Where a URL stands in its level: hosts and folders mixed, so that a part
    of a level is a sample of it."""
    return hashlib.sha256(url.encode()).digest()


class Spider(scrapy.Spider):
    name = "crawl"

    def __init__(self, part, pages, **kwargs):
        super().__init__(**kwargs)
        self.part = part  # slice.json
        self.pages = pages  # a store.Store
        self.hosts, self.grants = set(part["hosts"]), set(part["grants"])
        self.base = 1.0 / part["rps"]
        self.delays = {}  # host -> seconds, where it is slower
        self.depth = -1
        self.level = []  # URLs of this depth that are not handed out yet
        self.moved = {}  # where redirects of this depth lead -> how many there were
        self.found = set(filter(self.mine, part["seeds"]))
        self.seen = set()
        self.waiting = {host: deque() for host in self.hosts}
        self.flight = Counter()
        self.counts = Counter()
        self.errors = []  # the first few
        self.stopped = ""  # why the crawl ended early
        self.over = False  # the deadline has passed
        self.fault = ""  # a mistake of this program
        self.deadline = time.monotonic() + part["seconds"]
        self.talked = time.monotonic()

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.idle, signals.spider_idle)
        return spider

    # What the rest of the crawl asks.

    def mine(self, url):
        """Says whether this slice crawls a URL."""
        url = urls.normal(url)
        return url is not None and urls.host(url) in self.hosts and urls.endpoint(url) in self.grants

    def delay(self, host):
        """Seconds between the beginnings of two requests to a host."""
        return max(self.base, self.delays.get(host, 0.0))

    def slow_down(self, netloc, seconds):
        host = urls.host("http://" + netloc)
        self.delays[host] = max(seconds, self.delays.get(host, 0.0))

    # Levels.

    def start_requests(self):
        from twisted.internet import reactor  # which Scrapy installs first

        reactor.callLater(max(self.left(), 0), self.expire)
        return []

    def expire(self):
        """Ends the crawl with what it has, whatever delays hosts ask for."""
        self.over = True
        self.stopped = self.stopped or "the time of %d s is over (--timeout)" % self.part["seconds"]
        self.crawler.engine.downloader.give_up()

    def left(self):
        """Seconds up to the deadline."""
        return self.deadline - time.monotonic()

    def idle(self):
        if self.hand_out():
            raise DontCloseSpider

    def hand_out(self):
        """Hands out what is left of this depth, else the next one."""
        for host in self.hosts:
            self.feed(host)
        if any(self.flight.values()):
            return True
        self.level = sorted({*self.level, *self.moved} - self.seen, key=order)
        if not self.level and self.depth < self.part["depth"]:
            self.depth += 1
            self.level, self.found, self.moved = sorted(self.found - self.seen, key=order), set(), {}
            if self.level:
                self.talk()
        room = self.room()
        batch, self.level = self.level[:room], self.level[room:]
        for url in batch:
            self.seen.add(url)
            self.waiting[urls.host(url)].append((url, self.moved.get(url, 0)))
        for host in self.hosts:
            self.feed(host)
        return bool(batch)

    def room(self):
        """How many more pages there may be, with those that wait for their turn."""
        if not self.stopped and self.pages.bytes > self.part["bytes"]:
            self.stopped = "there are %d bytes of new pages (--disk)" % self.pages.bytes
        left = self.part["max_pages"] - sum(self.counts[k] for k in ("new", "unchanged", "failed"))
        if left <= 0 and not self.stopped and (self.level or self.found or any(self.waiting.values())):
            self.stopped = "there are %d pages (--max-pages)" % self.part["max_pages"]
        return 0 if self.stopped else max(left - sum(self.flight.values()), 0)

    def feed(self, host):
        """Keeps a few requests before each host's turn, so that a host with a
        long delay is soon left when time is over."""
        queue = self.waiting[host]
        while queue and self.flight[host] < AHEAD:
            if not self.room() or self.fault:
                if self.stopped or self.fault:
                    queue.clear()
                return
            url, hops = queue.popleft()
            self.flight[host] += 1
            self.crawler.engine.crawl(self.request(url, hops))

    def request(self, url, hops):
        headers, before = {}, self.pages.previous.get(url)
        if before and before["status"] == 200:
            if "etag" in before:
                headers["If-None-Match"] = before["etag"]
            if "last_modified" in before:
                headers["If-Modified-Since"] = before["last_modified"]
        meta = {"page": url, "hops": hops, "dont_redirect": True, "handle_httpstatus_all": True}
        return scrapy.Request(url, self.answered, headers=headers, meta=meta, errback=self.failed, dont_filter=True)

    # Answers.

    def answered(self, response):
        self.guarded(response.meta, self.take, response)

    def failed(self, failure):
        self.guarded(failure.request.meta, self.give_up, failure)

    def guarded(self, meta, do, what):
        """Does what follows from an answer and makes room for the next."""
        host = urls.host(meta["page"])
        try:
            do(meta["page"], meta["hops"], what)
        except Exception:
            self.fault = self.fault or "%s: %s" % (meta["page"], traceback.format_exc())
        self.flight[host] -= 1
        self.feed(host)
        if time.monotonic() - self.talked > TALK:
            self.talk()

    def take(self, url, hops, response):
        before = self.pages.previous.get(url)
        facts = {
            "etag": header(response, "ETag"),
            "last_modified": header(response, "Last-Modified"),
        }
        if response.status == 304 and before:
            self.pages.unchanged(url, self.depth, **facts)
            self.counts["unchanged"] += 1
            return self.follow_old(url, hops, before)
        refused = response.status >= 300 and response.body.startswith(polite.REFUSED)
        if polite.busy(response.status) or response.status == 304 or refused:
            text = polite.excerpt(response.body) if refused else phrase(response.status)
            return self.fail(url, hops, "%d %s" % (response.status, text))
        location = urls.normal(header(response, "Location"), url) if 300 <= response.status < 400 else None
        kind = header(response, "Content-Type").partition(";")[0].strip().lower()
        new = self.pages.add(
            url, self.depth,
            store.Answer(
                "HTTP/1.1 %d %s" % (response.status, phrase(response.status)), pairs(response), response.body,
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), type=kind, location=location, **facts
            ),
        )
        self.counts["new" if new else "unchanged"] += 1
        self.follow(url, hops, self.pages.pages[url], pairs(response), response.body)

    def give_up(self, url, hops, failure):
        """A page that no answer came for."""
        if failure.check(polite.Late):
            return
        if failure.check(polite.Disallowed):
            self.counts["disallowed"] += 1
            self.pages.skip(url, self.depth, failure.getErrorMessage())
        elif failure.check(CancelledError):
            self.fail(url, hops, "larger than %d bytes (--max-page)" % self.part["max_page"])
        else:
            self.fail(url, hops, failure.getErrorMessage() or failure.type.__name__)

    def fail(self, url, hops, why):
        self.counts["failed"] += 1
        if len(self.errors) < 10:
            self.errors.append("%s: %s" % (url, why))
        before = self.pages.fail(url, self.depth, why)
        if before:
            self.follow_old(url, hops, before)

    # Links.

    def follow_old(self, url, hops, before):
        if before.get("location") or before.get("type") in HTML and self.depth < self.part["depth"]:
            _, headers, body = self.pages.previous.answer(before)
            self.follow(url, hops, before, headers, body)

    def follow(self, url, hops, page, headers, body):
        """Goes where a page leads: a redirect is of the same depth."""
        target = page.get("location")
        if target:
            if not self.mine(target):
                self.pages.leads(url, [target])
            elif hops < HOPS:
                self.moved[target] = min(hops + 1, self.moved.get(target, HOPS))
        elif page.get("type") in HTML and page["status"] == 200 and self.depth < self.part["depth"]:
            try:
                targets = self.links(url, headers, body)
            except Exception as e:  # of a parser, about one page of a site
                self.counts["unreadable"] += 1
                print("no links: %s: %s: %s" % (url, type(e).__name__, e), file=sys.stderr)
                return
            self.collect(url, targets)

    def collect(self, url, targets):
        ours = set(filter(self.mine, targets))
        self.pages.leads(url, targets - ours)
        self.found |= ours - self.seen
        if len(self.found) > 4 * self.part["max_pages"]:
            self.found = set(sorted(self.found, key=order)[: self.part["max_pages"] + 1])

    def links(self, url, headers, body):
        """The pages that a page asks to be followed to."""
        by_name = {name.lower(): value for name, value in headers}
        if "gzip" in by_name.get("content-encoding", "").lower():
            body = unzip(body, self.part["max_page"])
        kind = {"Content-Type": by_name.get("content-type", "text/html")}
        page = HtmlResponse(url, headers=kind, body=body)
        asked = [value for name, value in headers if name.lower() == "x-robots-tag"]
        for meta in page.xpath("//meta[@name and @content]"):
            if meta.attrib["name"].strip().lower() == "robots":
                asked.append(meta.attrib["content"])
        if urls.unfollowed(asked):
            return set()
        base = get_base_url(page)
        targets = set()
        # The first ones alone: Scrapy's LinkExtractor took minutes for a page of a million.
        for link in page.xpath("(//a|//area)[@href][position() <= %d]" % LINKS):
            if "nofollow" not in link.attrib.get("rel", "").lower().split():
                try:
                    target = urljoin(base, safe_url_string(link.attrib["href"].strip(), page.encoding))
                except ValueError:
                    continue
                targets.add(urls.normal(target))
        return targets - {None, url}

    def talk(self):
        self.talked = time.monotonic()
        print(
            "depth %d: %s; %d to do" % (self.depth, self.summary(), len(self.level) + sum(map(len, self.waiting.values()))),
            file=sys.stderr, flush=True,
        )

    def summary(self):
        names = ("new", "unchanged", "disallowed", "failed")
        return ", ".join("%d %s" % (self.counts[name], name) for name in names)
