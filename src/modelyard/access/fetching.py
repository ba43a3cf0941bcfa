"""Small documents over HTTP, as an identity provider serves them. The standard library's client in a thread: a few
requests an hour are not worth the memory of another."""

from __future__ import annotations

import asyncio
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import IO, Final

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
    return await asyncio.to_thread(_fetch, url)


def _fetch(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise OSError(f"{url[:200]!r} is no http or https URL")
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "modelyard"})  # noqa: S310
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT) as response:
            content: bytes = response.read(_MAX_SIZE + 1)
    except (HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if len(content) > _MAX_SIZE:
        raise OSError(f"the answer is larger than {_MAX_SIZE} bytes")
    return content
