"""What web pages may ask of a server without access control, which every page of the user's browser could reach.

A page elsewhere may send simple requests to this machine without being asked (cross-site request forgery), and may have
its own name lead here (DNS rebinding). So only origins that are let in may change or ask anything, and a server that is
bound to this machine answers to this machine's names only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from modelyard.runtime.dataplane import problem_answer
from modelyard.runtime.errors import RequestError
from modelyard.runtime.http import Scope, send_answer
from modelyard.runtime.streams import Receive, Send

_LOCAL: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def guarded(app: Any, origins: Sequence[str], *, local_origins: bool, local_hosts: bool) -> Any:
    """``app`` behind a guard. ``origins`` may ask; with ``local_origins`` those of this machine too, whatever their
    port; ``local_hosts``: it is asked by this machine's names only."""
    pattern = _LOCAL if local_origins else None
    guard = _Guard(app, frozenset(origins), None if pattern is None else re.compile(pattern), local_hosts)
    if not origins and pattern is None:
        return guard
    # Only here: a server that no page may ask starts without it.
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        guard, allow_origins=list(origins), allow_origin_regex=pattern, allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"], expose_headers=["Inference-Header-Content-Length", "Retry-After", "X-Request-ID"],
    )  # fmt: skip


class _Guard:
    def __init__(self, app: Any, origins: frozenset[str], pattern: re.Pattern[str] | None, local_hosts: bool) -> None:
        self._app = app
        self._origins = origins
        self._pattern = pattern
        self._local_hosts = local_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await send_answer(problem_answer(error, path=scope["path"]), b"", None, send)

    def _error(self, scope: Scope) -> RequestError | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._local_hosts and re.sub(r":\d+$", "", host).lower() not in _LOCAL_HOSTS:
            return RequestError(403, "wrong_host", f"This server is on localhost only, not at {host[:100]!r}.")
        origin = headers.get(b"origin")
        if origin is None or self._allows(origin.decode("latin-1"), host):
            return None
        message = f"Pages of {origin.decode('latin-1')[:100]} may not ask here: start it with --cors and that origin."
        return RequestError(403, "origin_refused", message)

    def _allows(self, origin: str, host: str) -> bool:
        if origin in self._origins or "*" in self._origins or origin in (f"http://{host}", f"https://{host}"):
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None
