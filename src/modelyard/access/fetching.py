"""Small documents over HTTP, as an identity provider serves them. The standard library's client in a thread: a few
requests an hour are not worth the memory of another."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import IO, Final
from urllib.error import HTTPError
from urllib.parse import urlencode

_TIMEOUT: Final = 5.0
_MAX_SIZE: Final = 2**20


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where keys are is for the settings to say, not for whoever answers there."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """None: the redirect is an error."""


async def fetch(url: str) -> bytes:
    """What ``url`` (http or https) holds, 1 MiB at most, within 5 s.

    Raises:
        OSError: it cannot be had.
    """
    return await asyncio.to_thread(_ask, url)


async def post(url: str, form: Mapping[str, str], authorization: str = "") -> bytes:
    """What ``url`` answers to ``form``, within the same bounds; also what it refuses it with (400, 401). Raises
    OSError."""
    return await asyncio.to_thread(_ask, url, urlencode(form).encode(), authorization)


def _ask(url: str, form: bytes | None = None, authorization: str = "") -> bytes:
    if not url.startswith(("https://", "http://")):
        raise OSError(f"{url[:200]!r} is no http or https URL")
    headers = {"Accept": "application/json", "User-Agent": "modelyard"}
    if authorization:
        headers["Authorization"] = authorization
    request = urllib.request.Request(url, form, headers)  # noqa: S310
    try:
        with _opened(request) as response:
            content = response.read(_MAX_SIZE + 1)
    except (HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if len(content) > _MAX_SIZE:
        raise OSError(f"the answer is larger than {_MAX_SIZE} bytes")
    return content


def _opened(request: urllib.request.Request) -> IO[bytes]:
    """Raises OSError, HTTPException, ValueError."""
    try:
        answer: IO[bytes] = urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if request.data is None or error.code not in (400, 401):
            raise
        return error
    return answer
