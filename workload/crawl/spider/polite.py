"""What keeps a crawl within its bounds: which hosts, what robots.txt allows,
and how often a host is asked."""
import logging
import os

import protego
from scrapy.core.downloader import Downloader
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import IgnoreRequest

import urls

ROBOTS_MOST = 500 << 10  # bytes of a robots.txt that are read (RFC 9309, section 2.5)
SLOWEST = 60.0  # seconds between requests that a busy server can make us wait
REFUSED = b"ipdc: "  # begins the proxy's own answers
DENY = b"User-agent: *\nDisallow: /\n"


class Disallowed(IgnoreRequest):
    """What robots.txt forbids."""


class Refused(IgnoreRequest):
    """A page of a host whose robots.txt cannot be had, or asks for too much."""


class Late(IgnoreRequest):
    """What had not its turn before time was over."""


class Pattern(protego._URLPattern):
    """A rule of a robots.txt. Its library makes a regular expression of it,
    which a site could write so that it takes for ever."""

    def match(self, path):
        return urls.matches(self._pattern, path)


protego._URLPattern = Pattern


def busy(status):
    """Says whether a server asks to be asked again, or cannot answer."""
    return status in (408, 429) or status >= 500


class Gate:
    """Lets through what this slice crawls, whoever asks: a host of another
    slice has its rate there. All goes to the proxy, whatever NO_PROXY says."""

    def process_request(self, request, spider):
        request.meta["proxy"] = os.environ["HTTPS_PROXY"]
        if request.meta.get("dont_obey_robotstxt"):  # it is one
            request.meta["download_maxsize"] = max(spider.part["max_page"], ROBOTS_MOST)
        if not spider.mine(request.url):
            raise IgnoreRequest("%s is not crawled here" % netloc(request.url))


class Robots(RobotsTxtMiddleware):
    """robots.txt as RFC 9309 has it: none (4xx) allows all, and one that
    cannot be had forbids all. Its Crawl-delay, which is no part of that, holds
    where it is slower than the rate asked for."""

    def __init__(self, crawler):
        super().__init__(crawler)
        self.why = {}  # netloc -> why all is forbidden

    def process_request_2(self, rp, request, spider):
        try:
            super().process_request_2(rp, request, spider)
        except IgnoreRequest:
            why = self.why.get(netloc(request.url))
            raise Refused(why) if why else Disallowed("robots.txt")

    def _parse_robots(self, response, host, spider):
        body = response.body[:ROBOTS_MOST]
        if busy(response.status) or response.status >= 300 and body.startswith(REFUSED):
            self.why[host] = "no robots.txt: %d %s" % (response.status, excerpt(body))
            body = DENY
        elif response.status != 200:
            body = b""
        rules = self._parserimpl.from_crawler(self.crawler, body).rp
        agent = self._default_useragent
        rate = rules.request_rate(agent)
        delay = max(rules.crawl_delay(agent) or 0.0, rate.seconds / rate.requests if rate and rate.requests else 0.0)
        if 2 * delay <= spider.left():
            spider.slow_down(host.rpartition("@")[2], delay)
        else:
            self.why[host] = "robots.txt asks for %g s between requests" % delay
            body = DENY
        super()._parse_robots(response.replace(body=body), host, spider)

    def _logerror(self, failure, request, spider):
        return failure

    def _robots_error(self, failure, host):
        self.why[host] = "no robots.txt: " + (failure.getErrorMessage() or failure.type.__name__)
        waiting = self._parsers[host]
        self._parsers[host] = self._parserimpl.from_crawler(self.crawler, DENY)
        waiting.callback(self._parsers[host])


class Patience:
    """Asks a host that is busy half as often."""

    def process_response(self, request, response, spider):
        if response.status in (429, 503):
            wait = response.headers.get("Retry-After", b"").decode("latin-1")
            wait = float(wait) if wait.isdigit() else 0.0
            spider.slow_down(netloc(request.url), min(SLOWEST, max(wait, 2 * spider.delay(urls.host(request.url)))))
        return response


class Turns(Downloader):
    """One request at a time for each host, at the rate that holds for it."""

    def _get_slot(self, request, spider):
        if spider.over:
            raise Late("the time is over")
        host, slot = super()._get_slot(request, spider)
        slot.delay = spider.delay(host)
        return host, slot

    def give_up(self):
        """Ends all that waits for its turn."""
        for slot in list(self.slots.values()):
            while slot.queue:
                slot.queue.popleft()[1].errback(Late("the time is over"))


def netloc(url):
    return url.split("/", 3)[2]


def excerpt(body):
    """The first line of an answer."""
    return body[:200].decode("utf-8", "replace").partition("\n")[0]


logging.getLogger("protego").setLevel(logging.CRITICAL)
