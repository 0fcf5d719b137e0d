"""What an answer of Scrapy's says, as it is stored."""
import http
import zlib


def header(response, name):
    return response.headers.get(name, b"").decode("latin-1")


def pairs(response):
    """The headers of an answer, sorted, as the client does not keep their
    order; with the length of what is stored."""
    out = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name in sorted(response.headers)
        for value in response.headers.getlist(name)
        if name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
    ]
    return out + [("Content-Length", str(len(response.body)))]


def phrase(status):
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def unzip(body, most):
    try:
        return zlib.decompressobj(wbits=47).decompress(body, most)
    except zlib.error:
        return body
