import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "spider"))

import urls


class Normal(unittest.TestCase):
    def test_forms(self):
        for url, want in {
            "HTTP://Example.org:80/a/../b c#top": "http://example.org/b%20c",
            "https://ü.de/ä?q=%7e%2f%zz": "https://xn--tda.de/%C3%A4?q=~%2F%25zz",
            "http://h": "http://h/",
            "http://h?x": "http://h/?x",
            "http://h/?": "http://h/",
            "http://h/a//b/": "http://h/a//b/",
            "http://h/%e2%82": "http://h/%E2%82",
            "http://h./x": "http://h/x",
            "http://[::1]:80/x/./y/..": "http://[::1]/x/",
            "http://h:443/": "http://h:443/",
            "https://h:443/?b=2&a=1": "https://h/?b=2&a=1",
            "http://h/a'b\"<>|^`{}": "http://h/a'b%22%3C%3E%7C%5E%60%7B%7D",
            " http://h/\n": "http://h/",
        }.items():
            with self.subTest(url):
                self.assertEqual(urls.normal(url), want)
                self.assertEqual(urls.normal(want), want)

    def test_refused(self):
        for url in (
            "ftp://h/", "mailto:a@b", "javascript:x()", "data:,x", "http://", "http:///x", "http://u@h/", "http://u:p@h/",
            "http://127.1/", "http://0x7f.1/", "http://h:99999/", "http://h:0/", "http://a b/", "http://-a/", "http://a..b/",
            "http://[::1/", "http://h/" + "x" * 2000, "/relative", "",
        ):
            with self.subTest(url):
                self.assertIsNone(urls.normal(url))

    def test_relative(self):
        base = "https://h/a/b?c"
        for link, want in {
            "../x?y=1 2": "https://h/x?y=1%202", "//o/x": "https://o/x", "#top": "https://h/a/b?c", "?d": "https://h/a/b?d",
            "": "https://h/a/b?c", " /x\n": "https://h/x", "http://g": "http://g/", "../../../..": "https://h/",
        }.items():
            with self.subTest(link):
                self.assertEqual(urls.normal(link, base), want)

    def test_parts(self):
        self.assertEqual(urls.endpoint("http://h/x"), "h:80")
        self.assertEqual(urls.endpoint("https://[::1]/x"), "[::1]:443")
        self.assertEqual(urls.endpoint("https://h:8443/"), "h:8443")
        self.assertEqual(urls.folder(urls.host("http://[::1]:8080/")), "__1")


class Robots(unittest.TestCase):
    def test_unfollowed(self):
        for values, want in (
            ([], False), (["index, follow"], False), (["NoFollow"], True), (["noindex", "none"], True), (["noindex,nofollow "], True),
            (["max-image-preview:none"], False), (["max-snippet: 5, Max-Image-Preview: none"], False), (["a-bot: nofollow"], True),
            (["a-bot: noindex, nofollow"], True), (["nofollowing"], False), (["index", "follow"], False),
        ):
            with self.subTest(values):
                self.assertEqual(urls.unfollowed(values), want)

    def test_matches(self):
        for pattern, path, want in (
            ("/private/", "/private/x", True), ("/private/", "/privat", False), ("/a$", "/a", True), ("/a$", "/ab", False),
            ("/*.cgi$", "/x.cgi", True), ("/*.cgi$", "/x.cgi?y", False), ("/*.cgi", "/x.cgi?y", True), ("/a*b*c", "/aXbYc", True),
            ("/a*b*c", "/acb", False), ("*", "/", True), ("/a*a$", "/a", False), ("/*/x$", "/x", False), ("/$", "/", True),
        ):
            with self.subTest((pattern, path)):
                self.assertEqual(urls.matches(pattern, path), want)

    def test_as_an_expression(self):
        draw = random.Random(1)
        for _ in range(3000):
            pattern = "/" + "".join(draw.choices("ab*", k=draw.randrange(6))) + draw.choice(("", "", "$"))
            path = "/" + "".join(draw.choices("ab", k=draw.randrange(7)))
            body = ".*".join(map(re.escape, pattern.rstrip("$").split("*"))) + ("\\Z" if pattern.endswith("$") else "")
            self.assertEqual(urls.matches(pattern, path), re.match(body, path) is not None, (pattern, path))

    def test_hostile(self):
        self.assertFalse(urls.matches("/" + "a*" * 200 + "b", "/" + "a" * 2000))


if __name__ == "__main__":
    unittest.main()
