"""An origin for the registry's benchmarks: S3's API and plain HTTP over a folder, in a process of its own.

Of S3 it has what the clients that are compared ask for: objects by range, lists, and uploads whole or in parts, without
looking at signatures. A path with ``/resolve/`` in it also says what a client of the Hugging Face hub wants to know.
Files go out by sendfile, a thread a connection. It counts the bytes of every body that it sends, by path, and flips
bits of what it sends where it is told to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from time import gmtime, strftime
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHAT = "a Python process of its own: threads, sendfile, HTTP/1.1 on the loopback"
_CONTROL = "/-/"
_PAGE = 1000
_COPY = 2**20


# ------------------------------------------------------------------------------------------------ the client's side


@dataclass(frozen=True)
class Origin:
    """One that runs. ``folder``: what it serves; a bucket is a folder in it. ``pid``: of its process."""

    folder: Path
    url: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """By which S3's clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.url, "MLFLOW_S3_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench", "HF_ENDPOINT": self.url, "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def reset(self) -> None:
        """Count anew, and flip nothing any more."""
        self._ask("reset")

    def sent(self) -> int:
        """Bytes of all bodies since the last reset."""
        return sum(self.sent_by_path().values())

    def sent_by_path(self) -> dict[str, int]:
        return dict(self._ask("sent"))

    def flip(self, path: Path, offset: int) -> None:
        """Of this file alone, this byte alone is from now on sent with its lowest bit turned."""
        self._ask("flip", f"/{path.relative_to(self.folder)}", offset)

    def _ask(self, what: str, *arguments: Any) -> Any:
        request = urllib.request.Request(f"{self.url}{_CONTROL}{what}", json.dumps(arguments).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def origin(folder: Path) -> Iterator[Origin]:
    process = subprocess.Popen([sys.executable, "-m", "bench.origin", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Origin(folder, f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
    finally:
        process.terminate()
        process.wait()


# ------------------------------------------------------------------------------------------------ the server's side


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path, uploads: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.uploads, self.lock = root, uploads, Lock()
        self.sent: Counter[str] = Counter()
        self.flipped: tuple[str, int] | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients that are killed are part of the benchmarks
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = _COPY  # a head goes out in one piece; flushed before what sendfile sends
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def _split(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))

    def _file(self, path: str) -> Path:
        return self.server.root / path.lstrip("/")

    # ---------------------------------------------------------------- reading

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, query = self._split()
        if "list-type" in query:
            return self._list(path, query)
        try:
            file = self._file(path).open("rb")
        except OSError:
            return self._error(404, "NoSuchKey")
        with file:
            stat = os.fstat(file.fileno())
            start, end = _range(self.headers.get("Range"), stat.st_size)
            if start >= end and stat.st_size:
                return self._error(416, "InvalidRange")
            self.send_response(206 if "Range" in self.headers else 200)
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{stat.st_size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Last-Modified", formatdate(stat.st_mtime, usegmt=True))
            self.send_header("ETag", f'"{_tag(path, stat)}"')
            if "/resolve/" in path:
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self._send_file(path, file.fileno(), start, end)
        return None

    def _send_file(self, path: str, file: int, start: int, end: int) -> None:
        flipped = self.server.flipped
        at = flipped[1] if flipped is not None and flipped[0] == path and start <= flipped[1] < end else None
        if at is None:
            self._send(path, file, start, end)
            return
        self._send(path, file, start, at)
        self.wfile.write(bytes([os.pread(file, 1, at)[0] ^ 1]))
        self._count(path, 1)
        self._send(path, file, at + 1, end)

    def _send(self, path: str, file: int, start: int, end: int) -> None:
        self.wfile.flush()
        first = start
        try:
            while start < end:
                start += os.sendfile(self.connection.fileno(), file, start, end - start)
        finally:
            self._count(path, start - first)

    def _count(self, path: str, count: int) -> None:
        with self.server.lock:
            self.server.sent[path] += count

    def _list(self, path: str, query: dict[str, str]) -> None:
        bucket, prefix = path.strip("/"), query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(key for key in self._keys(bucket, prefix) if key > after)
        page, more = keys[:_PAGE], len(keys) > _PAGE
        parts = [f"<Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"]
        folders = set()
        for key in page:
            below, delimiter, _ = key[len(prefix) :].partition(query.get("delimiter") or "\0")
            if delimiter:
                folders.add(prefix + below + delimiter)
                continue
            stat = self._file(f"{bucket}/{key}").stat()
            when = strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(stat.st_mtime))
            parts.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{stat.st_size}</Size><LastModified>{when}</LastModified>"
                f"<ETag>&quot;{_tag(key, stat)}&quot;</ETag><StorageClass>STANDARD</StorageClass></Contents>"
            )
        parts += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        if more:
            parts.append(f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>")
        self._answer(200, "ListBucketResult", "".join(parts), count=f"{path}?list")

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        top = self._file(bucket)
        for folder, _, names in os.walk(top / prefix.rpartition("/")[0]):
            for name in names:
                key = os.path.relpath(os.path.join(folder, name), top)
                if key.startswith(prefix):
                    yield key

    # ---------------------------------------------------------------- writing

    def do_PUT(self) -> None:
        path, query = self._split()
        part = query.get("partNumber")
        file = self.server.uploads / f"{query['uploadId']}.{int(part):05}" if part else self._file(path)
        written = self.server.uploads / os.urandom(8).hex()
        with written.open("wb") as target:
            _copy(self.rfile, target, int(self.headers["Content-Length"]))
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if self.headers.get("If-None-Match") == "*":
                os.link(written, file)
                written.unlink()
            else:
                written.rename(file)
        except FileExistsError:
            written.unlink()
            return self._error(412, "PreconditionFailed")
        return self._answer(200, tag=_tag(path, file.stat()))

    def do_POST(self) -> None:
        path, query = self._split()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith(_CONTROL):
            return self._control(path.removeprefix(_CONTROL), json.loads(body))
        if "uploads" in query:
            return self._answer(200, "InitiateMultipartUploadResult", f"<UploadId>{os.urandom(8).hex()}</UploadId>")
        parts = sorted(self.server.uploads.glob(f"{query['uploadId']}.*"))
        with parts[0].open("ab") as whole:
            for part in parts[1:]:
                with part.open("rb") as content:
                    shutil.copyfileobj(content, whole, _COPY)
                part.unlink()
        file = self._file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        parts[0].rename(file)
        return self._answer(200, "CompleteMultipartUploadResult", f"<ETag>&quot;{_tag(path, file.stat())}&quot;</ETag>")

    def _control(self, what: str, arguments: list[Any]) -> None:
        with self.server.lock:
            found = dict(self.server.sent)
            if what == "reset":
                self.server.sent.clear()
                self.server.flipped = None
            elif what == "flip":
                self.server.flipped = (arguments[0], arguments[1])
        self._reply(200, json.dumps(found).encode(), "application/json")

    # ---------------------------------------------------------------- answers

    def _answer(self, status: int, kind: str = "", inner: str = "", *, tag: str = "", count: str = "") -> None:
        xml = f'<?xml version="1.0" encoding="UTF-8"?><{kind}>{inner}</{kind}>' if kind else ""
        if count:
            self._count(count, len(xml.encode()))
        self._reply(status, xml.encode(), "application/xml", tag)

    def _reply(self, status: int, body: bytes, kind: str, tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, "Error", f"<Code>{code}</Code><Message>{code}</Message>")


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """From where to where, of ``bytes=a-b``, ``bytes=a-`` or ``bytes=-n``."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if found is None:
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _tag(path: str, stat: os.stat_result) -> str:
    return hashlib.md5(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode(), usedforsecurity=False).hexdigest()


def _copy(source: BinaryIO | Any, target: BinaryIO, size: int) -> None:
    while size > 0 and (some := source.read(min(size, _COPY))):
        target.write(some)
        size -= len(some)


def main() -> None:
    root = Path(sys.argv[1])
    # Beside it: on the same file system, and not in any list.
    uploads = Path(tempfile.mkdtemp(prefix=".uploads-", dir=root.parent))
    server = _Server(root, uploads)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
