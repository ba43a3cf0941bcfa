"""A server of files with what servers of files do: ranges, ETags, redirects, and faults when they are asked for. It
keeps a log of what it has sent."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PIECE = 2**16


@dataclass
class Answer:
    """What is sent for one request. ``etag`` None: none is given."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    has_ranges: bool = True
    length: bool = True


def of(body: bytes, **more: Any) -> Answer:
    return Answer(body, **{"etag": f'"{hashlib.md5(body).hexdigest()}"', **more})


@dataclass
class Asked:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    sent: int = 0


class Server:
    """Answers by ``routes``: whole paths to answers, or to functions that give them. ``sending`` is called with the
    bytes of bodies that were sent so far, before each piece; raise in it to break the connection."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.routes: dict[str, Answer | Callable[[Asked], Answer]] = {}
        self.log: list[Asked] = []
        self.sending: Callable[[int], None] = lambda sent: None
        # Bytes of a body that are sent at a time.
        self.piece = _PIECE
        self._http = _Http(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of": self}))
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    @property
    def sent(self) -> int:
        return sum(asked.sent for asked in self.log)

    def gets(self) -> Counter[str]:
        return Counter(asked.path for asked in self.log if asked.method == "GET")

    @contextmanager
    def running(self) -> Iterator[Server]:
        self._thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever was killed has hung up."""


class _Handler(BaseHTTPRequestHandler):
    server_of: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(self.command, unquote(parts.path), parts.query, {k.lower(): v for k, v in self.headers.items()})
        self.server_of.log.append(asked)
        route = self.server_of.routes.get(asked.path, Answer(b"nothing", 404))
        answer = route(asked) if callable(route) else route
        status, headers, body = _ranged(answer, asked.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self._send(asked, body)

    def _send(self, asked: Asked, body: bytes) -> None:
        for at in range(0, len(body), self.server_of.piece):
            piece = body[at : at + self.server_of.piece]
            try:
                self.server_of.sending(self.server_of.sent)
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            asked.sent += len(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _ranged(answer: Answer, asked: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    headers = dict(answer.headers)
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("range", ""))
    if answer.status != 200 or not answer.has_ranges or wanted is None:
        return answer.status, headers, answer.body
    if "if-range" in asked and asked["if-range"] not in (answer.etag, headers.get("Last-Modified")):
        return 200, headers, answer.body
    if "if-match" in asked and asked["if-match"] != answer.etag:
        return 412, headers, b""
    total = len(answer.body)
    start, end = int(wanted[1]), min(int(wanted[2]) + 1 if wanted[2] else total, total)
    if start >= total:
        return 416, {**headers, "Content-Range": f"bytes */{total}"}, b""
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
    return 206, headers, answer.body[start:end]


def serve_bucket(server: Server, bucket: dict[str, bytes]) -> None:
    """The bucket ``shelf``, as S3's and Google's XML APIs list and give what is in one."""

    def listed(asked: Asked) -> Answer:
        prefix = parse_qs(asked.query).get("prefix", [""])[0]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-21T20:00:00.000Z</LastModified>"
            f"<ETag>{escape(of(body).etag or '')}</ETag><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(bucket.items())
            if key.startswith(prefix)
        )
        return Answer(f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode())

    server.routes["/shelf"] = server.routes["/shelf/"] = listed
    for key, body in bucket.items():
        server.routes[f"/shelf/{key}"] = of(body, headers={"Last-Modified": formatdate(usegmt=True)})
