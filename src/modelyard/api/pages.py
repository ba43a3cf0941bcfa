"""The dashboard's files: one page, and what it loads. Everybody may have them; what they show, the API decides."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

import modelyard
from modelyard.domain.errors import NotFound

FOLDER: Final = Path(modelyard.__file__).parent / "dashboard"
# The page runs nothing and asks nobody but its own server; PatternFly sets styles on elements.
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; object-src 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
# What is in assets/ has its content's hash in its name.
_FOR_GOOD: Final = "public, max-age=31536000, immutable"
_ASK_FIRST: Final = "no-cache"
_COMPRESSED: Final = {".html", ".js", ".css", ".svg", ".json"}
# Not known to every system.
_TYPES: Final = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}
_NOT_BUILT: Final = (
    "The dashboard is not built here. `make up` builds it; the API's own pages are under /docs, and the command "
    "line does all that the dashboard does: modelyard --help\n"
)

pages = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    gzipped: bytes | None
    media_type: str
    tag: str


@pages.get("/")
async def page(request: Request) -> Response:
    if not (request.app.state.dashboard / "index.html").is_file():
        return Response(_NOT_BUILT, media_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"})
    return _answer(request, "index.html", _ASK_FIRST)


@pages.get("/mark.svg")
async def mark(request: Request) -> Response:
    return _answer(request, "mark.svg", _ASK_FIRST)


@pages.get("/assets/{name}")
async def asset(name: str, request: Request) -> Response:
    return _answer(request, f"assets/{name}", _FOR_GOOD)


def _answer(request: Request, path: str, caching: str) -> Response:
    file = request.app.state.dashboard / path
    try:
        found = _file(file, file.stat().st_mtime_ns)
    except OSError:
        raise NotFound(f"There is no page /{path}.") from None
    headers = {**_HEADERS, "cache-control": caching, "etag": found.tag}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    if found.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.gzipped, media_type=found.media_type, headers={**headers, "content-encoding": "gzip"})
    return Response(found.body, media_type=found.media_type, headers=headers)


@cache
def _file(path: Path, changed: int) -> _File:
    """Read and compressed once for as long as it stays as it is."""
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(
        body=body,
        gzipped=gzip.compress(body, 6, mtime=0) if path.suffix in _COMPRESSED else None,
        media_type=media_type,
        tag=f'"{changed:x}-{len(body):x}"',
    )
