"""A web server of one file that a test can hold back, and that counts the bytes that it has given."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_PIECE: Final = 2**14
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class Web:
    """Ranges are given, under a strong ETag. Nothing more is given once ``hold_after`` bytes are, until
    :meth:`let_go`."""

    def __init__(self, content: bytes, hold_after: int | None = None) -> None:
        self.content, self.hold_after = content, hold_after
        self.given = self.asked = 0
        self._lock, self._gate = threading.Lock(), threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                # Whoever is cancelled hangs up in the middle.
                with suppress(ConnectionError):
                    super().handle()

            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/weights.txt"

    def let_go(self) -> None:
        self._gate.set()

    def close(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked += 1
        if request.path == "/away":
            request.send_response(302)
            request.send_header("Location", "http://169.254.169.254/latest/meta-data")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        found = _RANGE.fullmatch(request.headers.get("Range", ""))
        size = len(self.content)
        start, end = (int(found[1]), min(int(found[2] or size - 1) + 1, size)) if found else (0, size)
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        request.send_header("ETag", '"one"')
        request.send_header("Content-Length", str(end - start))
        request.end_headers()
        try:
            for at in range(start, end, _PIECE):
                piece = self.content[at : min(at + _PIECE, end)]
                with self._lock:
                    held = self.hold_after is not None and self.given >= self.hold_after
                if held:
                    request.wfile.flush()
                    self._gate.wait(60)
                request.wfile.write(piece)
                with self._lock:
                    self.given += len(piece)
        except OSError:
            request.close_connection = True
