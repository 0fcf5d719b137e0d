"""URLs in the one form under which a page is known.

    normal("HTTP://Example.org:80/a/../b c#top") == "http://example.org/b%20c"

What RFC 3986, section 6.2.2 and 6.2.3, calls equivalent is written alike, and
nothing else is changed: parameters keep their order, a final slash stays. What
cannot be crawled is None: other schemes, user names, over-long URLs.
"""
import ipaddress
import re
from urllib.parse import urljoin, urlsplit

LONGEST = 2000  # characters of a URL
PORTS = {"http": 80, "https": 443}

UNRESERVED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
KEPT = UNRESERVED | set("!$&'()*+,;=:@/?")
ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def normal(url, base=None):
    """The normal form of url, which may be relative to base, or None."""
    try:
        if base is not None:
            url = urljoin(base, url.strip(" \t\r\n\f"))
        parts = urlsplit(url.strip(" \t\r\n\f"))
        scheme, name, port = parts.scheme, hostname(parts.hostname), parts.port
        path, query = escape(parts.path), escape(parts.query)
    except ValueError:
        return None
    if scheme not in PORTS or name is None or "@" in parts.netloc or port == 0:
        return None
    if ":" in name:
        name = "[%s]" % name
    if port not in (None, PORTS[scheme]):
        name = "%s:%d" % (name, port)
    url = "%s://%s%s" % (scheme, name, without_dots(path))
    if query:
        url += "?" + query
    return url if len(url) <= LONGEST else None


def hostname(name):
    """A host in lower case and ASCII, or None."""
    name = (name or "").rstrip(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        name = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(name) > 253 or labels[-1].isdigit() or not all(map(LABEL.match, labels)):
        return None
    return name


def escape(text):
    """Text with everything escaped that must be, and nothing that need not."""

    def mend(match):
        char = chr(int(match.group(1), 16))
        return char.encode() if char in UNRESERVED else match.group(0).upper()

    raw = ESCAPE.sub(mend, text.encode("utf-8", "surrogatepass"))
    out = []
    for i, byte in enumerate(raw):
        char = chr(byte)
        whole = char == "%" and ESCAPE.match(raw, i)
        out.append(char if char in KEPT or whole else "%%%02X" % byte)
    return "".join(out)


def without_dots(path):
    """A path without . and .. elements; never empty."""
    out = []
    for part in path.split("/")[1:] if path.startswith("/") else path.split("/"):
        if part == "..":
            del out[-1:]
        elif part != ".":
            out.append(part)
    if path.endswith(("/.", "/..")):
        out.append("")
    return "/" + "/".join(out)


def matches(pattern, path):
    """Says whether a path begins as a pattern of a robots.txt has it, in which
    * stands for anything and a final $ for the end, in linear time."""
    whole = pattern.endswith("$")
    first, *rest = (pattern[:-1] if whole else pattern).split("*")
    at = len(first)
    if not path.startswith(first):
        return False
    if not rest:
        return not whole or at == len(path)
    for part in rest[:-1]:
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    if whole:
        return len(path) - len(rest[-1]) >= at and path.endswith(rest[-1])
    return path.find(rest[-1], at) >= 0


def unfollowed(values):
    """Says whether robots metadata ask that no link of a page be followed, of
    whichever crawler they ask it: "nofollow", "none", "a-bot: nofollow"."""
    for word in ",".join(values).lower().split(","):
        name, _, value = word.rpartition(":")
        if value.strip() in ("nofollow", "none") and not name.strip().startswith("max-"):
            return True
    return False


def host(url):
    """The host of a normal URL: what a rate holds for."""
    return urlsplit(url).hostname


def endpoint(url):
    """The host:port of a normal URL, as grants are written."""
    parts = urlsplit(url)
    name = parts.hostname
    if ":" in name:
        name = "[%s]" % name
    return "%s:%d" % (name, parts.port or PORTS[parts.scheme])


def folder(name):
    """The folder of a host's pages."""
    return name.replace(":", "_")
