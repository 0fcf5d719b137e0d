import json
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "spider"))

# What crawl.py imports of the crawler is not needed for how it ends.
without = {name: types.ModuleType(name) for name in ("scrapy", "scrapy.crawler", "spider")}
without["scrapy.crawler"].CrawlerProcess = None
with mock.patch.dict(sys.modules, without):
    import crawl


class Failures(unittest.TestCase):
    def end(self, error):
        """The report of a crawl that ends with error."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.jsonl")
            with mock.patch.dict(os.environ, IPDC_REPORT=path), mock.patch.object(crawl, "crawl", side_effect=error):
                with self.assertRaises(type(error)):
                    crawl.main()
            if not os.path.exists(path):
                return None
            with open(path, encoding="utf-8") as file:
                return json.load(file)

    def test_says_why(self):
        why = "crawl: none of 1 seed answered: http://h/: 500 Internal Server Error"
        self.assertEqual(self.end(SystemExit(why)), {"type": "failure", "detail": why})
        self.assertEqual(self.end(KeyError("hosts"))["detail"], "crawl: KeyError: 'hosts'")

    def test_is_bounded(self):
        self.assertEqual(len(self.end(SystemExit("x" * 10**6))["detail"]), crawl.MAX_DETAIL)

    def test_good_end_is_none(self):
        self.assertIsNone(self.end(SystemExit(0)))

    def test_numbers(self):
        self.assertEqual([crawl.count(n, "host") for n in (0, 1, 2)], ["0 hosts", "1 host", "2 hosts"])
