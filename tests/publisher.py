"""A publisher on this machine: an HTTP server whose manners, good and bad, a test chooses request by request."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Manner = Callable[["Request"], None]


@dataclass
class Publisher:
    """What is offered, how, and what was asked for.

    Attributes:
        files: content by path.
        etag: of every file, with its quotes; None for none.
        manners: for one request each, in order; `well` afterwards.
        asked: for each request its path, `Range` and `If-Range`.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"v1"'
    manners: list[Manner] = field(default_factory=list)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted, _ in self.asked]


class Request(BaseHTTPRequestHandler):
    """One request, and ways to answer it."""

    publisher: Publisher
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        offer = self.publisher
        offer.asked.append((self.path[1:], self.headers["Range"], self.headers["If-Range"]))
        manner = offer.manners.pop(0) if offer.manners else well
        manner(self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def content(self) -> bytes:
        return self.publisher.files[self.path[1:]]

    def answer(self, status: int, body: bytes, **headers: str | int | None) -> None:
        self.send_response(status)
        shown = {"ETag": self.publisher.etag, "Content-Length": len(body), "Connection": "close"}
        shown |= {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in shown.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def well(request: Request) -> None:
    """As RFC 9110 has it."""
    content, etag = request.content, request.publisher.etag
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    if not wanted or request.headers["If-Range"] not in (None, etag):
        request.answer(200, content)
        return
    begin = int(wanted[1])
    if begin >= len(content):
        request.answer(416, b"", Content_Range=f"bytes */{len(content)}")
    else:
        told = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        request.answer(206, content[begin:], Content_Range=told)


def cut_after(count: int) -> Manner:
    """Break off after `count` bytes of what was to come."""

    def manner(request: Request) -> None:
        whole = request.wfile

        class Cut:
            def write(self, body: bytes) -> None:
                whole.write(body if body.startswith(b"HTTP/") else body[:count])

            flush = whole.flush

        request.wfile = Cut()  # type: ignore[assignment]
        well(request)
        request.wfile = whole

    return manner


def without_ranges(request: Request) -> None:
    request.answer(200, request.content, ETag=None)


def without_ranges_cut_after(count: int) -> Manner:
    return lambda request: request.answer(200, request.content[:count], ETag=None, Content_Length=len(request.content))


def without_length(request: Request) -> None:
    """In chunks, as servers do that pack on the way."""
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.send_header("Connection", "close")
    request.end_headers()
    for begin in range(0, len(request.content), 1000):
        part = request.content[begin : begin + 1000]
        request.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    request.wfile.write(b"0\r\n\r\n")


def saying_length(length: int) -> Manner:
    """Lie."""
    return lambda request: request.answer(200, request.content, Content_Length=length)


def status(code: int) -> Manner:
    return lambda request: request.answer(code, b"")


def web_page(request: Request) -> None:
    request.answer(200, b"<!DOCTYPE html><title>Please register</title>", Content_Type="text/html; charset=utf-8")


@contextmanager
def publisher() -> Iterator[Publisher]:
    """Offer nothing yet, on a free port."""

    class Handler(Request):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.publisher = Publisher(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Handler.publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
