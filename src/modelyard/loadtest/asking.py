"""HTTP requests as bytes, and one of them sent alone."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from modelyard.loadtest.connection import Connection
from modelyard.loadtest.plan import Plan


class Target(NamedTuple):
    """Where requests go: the parts of a URL. ``prefix`` is its path without a slash at its end."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


class Answer(NamedTuple):
    status: int
    body: bytes


def target(url: str) -> Target:
    """Raises ValueError if the URL is none of http:// or https:// with a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL to send requests to: it begins with http:// or https://.")
    tls = parts.scheme == "https"
    return Target(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))


def post(to: Target, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request. Raises ValueError for what would not stay within its line."""
    lines = [f"POST {to.prefix}{path} HTTP/1.1", f"Host: {to.authority}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("A header of the request has a line break in it.")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def trust(plan: Plan) -> ssl.SSLContext | None:
    """Whom to believe that it is there; None: without TLS."""
    if not plan.tls:
        return None
    context = ssl.create_default_context(cafile=plan.ca_file or None)
    context.check_hostname = not plan.any_name
    if plan.ca_file:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def ask(to: Target, request: bytes, timeout: float, context: ssl.SSLContext | None = None) -> Answer:
    """Send one request and give what is answered: all of the body that came with the first packet. ``context`` as of
    :func:`trust`.

    Raises:
        ConnectionError: the connection broke, or what came was not HTTP.
        OSError: nobody is there.
        TimeoutError: no answer within ``timeout`` seconds.
    """
    one = _One()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        await loop.create_connection(lambda: one.connection, to.host, to.port, ssl=context)
        one.connection.send(request, time.perf_counter_ns())
        try:
            return await one.answer
        finally:
            one.connection.close()


class _One:
    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.connection = Connection(self)

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer(status, body))

    def broken(self, connection: Connection, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ConnectionError(why or "The connection was closed before the answer had come."))
