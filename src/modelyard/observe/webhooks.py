"""Sends requests to webhooks: only to hosts that may be reached, never to where an answer sends on to, and whatever the
receiver does within ten seconds. Of an answer only its status is looked at."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from modelyard import __version__
from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.domain.webhooks import Attempt
from modelyard.registry.admitting import Hosts

if TYPE_CHECKING:
    import httpx2

# Seconds for all of a request.
PATIENCE: Final = 10.0


class WebhookSender:
    """A client for all webhooks; it is made, and its library imported, with the first request."""

    def __init__(self, hosts: Hosts, patience: float = PATIENCE) -> None:
        self._hosts = hosts
        self._patience = patience
        self._client: httpx2.AsyncClient | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """What came of it, in words that hold nothing of the answer's body."""
        import httpx2

        if self._client is None:
            # Certificates are read from files: not on the loop.
            context = await asyncio.to_thread(ssl.create_default_context)
            # It would log whole URLs, which may be all that a receiver asks to know.
            logging.getLogger("httpx2").setLevel(logging.WARNING)
            # No proxies: what one of them connects to nobody could look at.
            self._client = httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, verify=context, timeout=self._patience,
                headers={"User-Agent": f"modelyard/{__version__}"},
            )  # fmt: skip
        try:
            async with asyncio.timeout(self._patience):
                request = self._client.build_request("POST", url, headers=dict(headers), content=body)
                request.extensions = {**request.extensions, "trace": _trace(request.url.host, self._hosts)}
                answer = await self._client.send(request, stream=True)
                await answer.aclose()
        except InvalidRequest:
            return Attempt(error=refusal(httpx2.URL(url).host))
        except (TimeoutError, httpx2.TimeoutException):
            return Attempt(error=f"no answer within {self._patience:g} seconds")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return Attempt(error=f"not reached: {type(error).__name__}: {_said(error, url)}"[:300])
        status = answer.status_code
        if 300 <= status < 400:
            return Attempt(status=status, error="it answered with a redirect, which is not followed")
        said = "" if answer.is_success else f"it answered {status}"
        return Attempt(status=status, error=said, retry_after=_seconds(answer.headers.get("retry-after", "")))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def check(url: str, hosts: Hosts) -> None:
    """Raises InvalidRequest at ``url``: nothing is sent there, by what its name stands for just now. Blocks."""
    host = urlsplit(url).hostname or ""
    try:
        hosts.check(host)
    except InvalidRequest:
        raise InvalidRequest([Problem("url", "host_refused", f"N{refusal(host)[1:]}.")]) from None


def refusal(host: str) -> str:
    return (
        f"nothing is sent to {host}, which is this machine or link-local; its administrator can name it in "
        "MODELYARD_WEBHOOK_HOSTS"
    )


def _said(error: Exception, url: str) -> str:
    """Its words, if they tell nothing of the URL's path."""
    parts, said = urlsplit(url), str(error)
    return "" if any(len(part) > 1 and part in said for part in (parts.path, parts.query)) else said


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def _trace(host: str, hosts: Hosts) -> Callable[[str, dict[str, Any]], Coroutine[Any, Any, None]]:
    """Looks at the address of each connection before anything is sent over it."""

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            try:
                hosts.check_address(host, stream.get_extra_info("server_addr")[0])
            except BaseException:
                await stream.aclose()
                raise

    return trace
