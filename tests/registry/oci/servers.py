"""A real registry (Debian's docker-registry), and what may stand between it and its callers."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

_PACKAGE: Final = "docker-registry"
_PATIENCE: Final = 30.0


def program() -> Path:
    """docker-registry: the one that is installed, else Debian's package, fetched once and kept in the user's cache.
    Skips where there is neither."""
    installed = shutil.which(_PACKAGE)
    if installed:
        return Path(installed)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard" / "tests"
    found = base / _PACKAGE / "usr" / "bin" / _PACKAGE
    if found.exists():
        return found
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        try:
            for command in (["apt-get", "download", _PACKAGE], ["sh", "-c", "dpkg-deb -x *.deb unpacked"]):
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", b"") or b""
            pytest.skip(
                f"There is no {_PACKAGE} in PATH, and Debian's package cannot be fetched by apt-get download: "
                f"{error} {reason.decode(errors='replace')}"
            )
        try:
            Path(folder, "unpacked").rename(base / _PACKAGE)
        except OSError:
            assert found.exists()  # somebody else was faster
    return found


@dataclass(frozen=True)
class Registry:
    """One that runs: at ``address`` (host and port), with its log in ``log``."""

    address: str
    log: Path

    def requests(self, method: str) -> list[str]:
        """The paths of the requests by this method that were answered, in order, from its log."""
        return re.findall(rf'"{method} (\S+) HTTP/1.1" \d+', self.log.read_text())


@contextmanager
def registry(home: Path, auth: Mapping[str, Any] | None = None) -> Iterator[Registry]:
    root, log, config = home / "blobs", home / "log", home / "config.yml"
    root.mkdir(parents=True)
    settings = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "maintenance": {"uploadpurging": {"enabled": False}}},
        "http": {"addr": "127.0.0.1:0", "secret": "of a test"},
    }
    config.write_text(yaml.safe_dump(settings | ({"auth": dict(auth)} if auth else {})))
    with log.open("wb") as output:
        process = subprocess.Popen([program(), "serve", config], stdout=output, stderr=output, env={})
    try:
        yield Registry(_address(process, log), log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        listening = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
        if listening:
            return listening[1]
        time.sleep(0.01)
    raise AssertionError(log.read_text())


@dataclass
class Seen:
    """A request that came by."""

    method: str
    path: str
    authorization: str | None


@dataclass
class Between:
    """A server that hands requests on to another one, and answers back, and does harm to some of them:

    ``flip``: of answers to paths that match it, the byte with this number (from the end if negative) is another;
    ``cut_answers``: so many answers to such paths end after so many bytes;
    ``cut_requests``: so many requests by this method end after so many bytes of their body were handed on;
    ``refuse``: so many requests to such paths are answered with this status;
    ``redirect``: requests to such paths are sent to another server.
    """

    to: str
    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    flip: tuple[str, int] | None = None
    cut_answers: tuple[str, int, int] | None = None
    cut_requests: tuple[str, int, int] | None = None
    refuse: tuple[str, int, int] | None = None
    redirect: tuple[str, str] | None = None
    without_ranges: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def used(self, what: str) -> bool:
        """Count down one of the harms; whether there was one left."""
        with self.lock:
            harm = getattr(self, what)
            if harm is None or harm[1] <= 0:
                return False
            setattr(self, what, (harm[0], harm[1] - 1, *harm[2:]))
            return True


@contextmanager
def between(to: str) -> Iterator[Between]:
    state = Between(to)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do(self) -> None:
            state.seen.append(Seen(self.command, self.path, self.headers.get("Authorization")))
            length = int(self.headers.get("Content-Length") or 0)
            if state.refuse and re.search(state.refuse[0], self.path) and state.used("refuse"):
                self.rfile.read(length)
                self.answer(state.refuse[2], {"Retry-After": "0"}, b"")
                return
            if state.redirect and re.search(state.redirect[0], self.path):
                self.rfile.read(length)
                self.answer(307, {"Location": f"{state.redirect[1]}{self.path}"}, b"")
                return
            self.hand_on(length)

        def hand_on(self, length: int) -> None:
            connection = http.client.HTTPConnection(state.to, timeout=_PATIENCE)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if not (state.without_ranges and name.lower() == "range"):
                    connection.putheader(name, value)
            connection.endheaders()
            cut = None
            if state.cut_requests and self.command == state.cut_requests[0] and state.used("cut_requests"):
                cut = state.cut_requests[2]
            left = length if cut is None else min(cut, length)
            while left:
                piece = self.rfile.read(min(left, 65536))
                connection.send(piece)
                left -= len(piece)
            if cut is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
                connection.close()
                self.drop()
                return
            response = connection.getresponse()
            body = bytearray(response.read())
            connection.close()
            if state.flip and re.search(state.flip[0], self.path) and body:
                body[state.flip[1] % len(body)] ^= 1
            headers = {k: v for k, v in response.getheaders() if k.lower() not in ("content-length", "connection")}
            if self.command == "HEAD":
                headers["Content-Length"] = response.getheader("Content-Length") or "0"
            self.answer(response.status, headers, bytes(body))

        def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers and status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.cut_answers
            if cut and body and re.search(cut[0], self.path) and state.used("cut_answers"):
                self.wfile.write(body[: cut[2]])
                self.drop()
                return
            self.wfile.write(body)

        def drop(self) -> None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do)
    with serving(Handler) as address:
        state.address = address
        yield state


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port of this machine; its host and port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
