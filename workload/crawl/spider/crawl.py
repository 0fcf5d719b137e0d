"""Crawls one slice of an ipdc crawl: its hosts, and no others.

    python3 crawl.py

The folder of the inputs holds one folder, with slice.json, which says what is
crawled and within which bounds, and since/, the pages of the crawl before.
store.py says what is left in the outputs. Python 3.9 or later and Scrapy 2.8.
"""
import json
import os
import sys

sys.dont_write_bytecode = True

from scrapy.crawler import CrawlerProcess

import spider
import store
import urls

REPORT = "/ipdc/report/report.jsonl"
MAX_DETAIL = 1000  # characters

SETTINGS = {
    "LOG_LEVEL": "CRITICAL",
    "TELNETCONSOLE_ENABLED": False,
    "COOKIES_ENABLED": False,
    "COMPRESSION_ENABLED": False,  # what is stored is what was sent
    "DEFAULT_REQUEST_HEADERS": {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "identity"},
    "HTTPPROXY_ENABLED": False,  # polite.Gate names the proxy
    "SPIDER_MIDDLEWARES_BASE": {},
    "ROBOTSTXT_OBEY": True,
    "ROBOTSTXT_PARSER": "scrapy.robotstxt.ProtegoRobotParser",
    "REDIRECT_MAX_TIMES": 5,  # of robots.txt; those of pages are followed as links
    "METAREFRESH_ENABLED": False,
    "RETRY_TIMES": 2,
    "RETRY_HTTP_CODES": [408, 429, 500, 502, 503, 504],
    "DOWNLOADER": "polite.Turns",
    "DOWNLOADER_MIDDLEWARES": {
        "polite.Gate": 50,
        "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
        "polite.Robots": 100,
        "polite.Patience": 555,  # sees answers before RetryMiddleware (550) does
    },
    "DOWNLOADER_CLIENTCONTEXTFACTORY": "scrapy.core.downloader.contextfactory.BrowserLikeContextFactory",
    "DOWNLOAD_WARNSIZE": 0,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
    "RANDOMIZE_DOWNLOAD_DELAY": False,
    "REQUEST_FINGERPRINTER_IMPLEMENTATION": "2.7",
}


def read_slice(inputs):
    names = os.listdir(inputs)
    if len(names) != 1:
        sys.exit("crawl: %d slices, want one" % len(names))
    top = os.path.join(inputs, names[0])
    with open(os.path.join(top, "slice.json"), encoding="utf-8") as file:
        part = json.load(file)
    previous = store.Previous(os.path.join(top, "since"), part["hosts"])
    part["seeds"] = sorted({seed_of(part, text) for text in part["seeds"]})
    # New pages are there twice for a moment, and old ones are copied.
    part["bytes"] = (part["disk"] * 9 // 10 - previous.bytes()) // 2
    if part["bytes"] <= 0:
        sys.exit("crawl: the pages of the crawl before have %d bytes: give more than --disk %d" % (previous.bytes(), part["disk"]))
    return part, previous


def seed_of(part, text):
    url = urls.normal(text)
    if url is None:
        sys.exit("crawl: the seed %s is no URL that can be crawled" % text)
    if urls.host(url) not in part["hosts"] or urls.endpoint(url) not in part["grants"]:
        sys.exit("crawl: the seed %s is of %s, which is not in this slice" % (text, urls.endpoint(url)))
    return url


def settings(part):
    return dict(
        SETTINGS,
        USER_AGENT=part["user_agent"],
        DOWNLOAD_DELAY=1.0 / part["rps"],
        DOWNLOAD_MAXSIZE=part["max_page"],
        DOWNLOAD_TIMEOUT=min(60, max(5, part["seconds"] // 18)),  # half of what is left after them
        CONCURRENT_REQUESTS=spider.AHEAD * len(part["hosts"]) + 8,
    )


def report(**line):
    """Tells the node what was done, or why the task fails, for describe."""
    try:
        with open(os.environ.get("IPDC_REPORT", REPORT), "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as e:
        print("crawl: report: %s" % e, file=sys.stderr)  # it explains, and decides nothing


def count(n, noun):
    return "%d %s%s" % (n, noun, "" if n == 1 else "s")


def crawl():
    part, previous = read_slice(os.environ["IPDC_INPUTS"])
    pages = store.Store(os.environ["IPDC_OUTPUTS"], previous)
    process = CrawlerProcess(settings(part))
    crawler = process.create_crawler(spider.Spider)
    process.crawl(crawler, part=part, pages=pages)
    process.start()
    done = crawler.spider
    print("%s: %s" % (count(len(part["hosts"]), "host"), done.summary()), file=sys.stderr)
    for line in done.errors:
        print("failed: " + line, file=sys.stderr)
    if done.fault:
        sys.exit("crawl: " + done.fault)
    seeds = [pages.pages.get(url, {}) for url in part["seeds"]]
    if all("error" in page or not page for page in seeds):
        why = done.errors[0] if done.errors else done.stopped
        sys.exit("crawl: none of %s answered: %s" % (count(len(seeds), "seed"), why))
    if done.stopped:
        print("the crawl ended early: %s" % done.stopped, file=sys.stderr)
    pages.write()
    report(type="counters", counters={"crawl." + name: n for name, n in sorted(done.counts.items())})


def main():
    try:
        crawl()
    except SystemExit as e:
        if isinstance(e.code, str):
            report(type="failure", detail=e.code[:MAX_DETAIL])
        raise
    except BaseException as e:
        report(type="failure", detail=("crawl: %s: %s" % (type(e).__name__, e))[:MAX_DETAIL])
        raise


if __name__ == "__main__":
    main()
