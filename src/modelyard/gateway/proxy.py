"""HTTP passed on as it is: to the control process over its Unix socket, and to the servers that users bring.

Both bodies are streamed, never held whole; the head is copied without what concerns one hop only
(RFC 9110, section 7.6.1), and framing is always made anew, so that no two parties can read one
message's length differently.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from modelyard.gateway.access import Access
from modelyard.gateway.browsers import cookies_for_others, from_others
from modelyard.gateway.exchange import ClientGone, Exchange
from modelyard.gateway.outcomes import Counted
from modelyard.gateway.problems import BodyLimit, Header, Refusal, instance_lost, retry_after
from modelyard.gateway.served import Endpoint, ServedModel, Wanted

# Seconds without a byte of a request body on its way to the control process.
_UPLOAD_IDLE: Final = 60.0
# Servers commonly close idle connections after 5 s; one is never used when it may be closing already.
_KEEP_ALIVE: Final = 2.0

# Where whole models go up: what is there says how large the rest may be (its disk).
_UPLOADS: Final = "/api/v1/registry/objects/"

_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# Said anew for the next hop, or a claim about this one that only this one may make.
_REPLACED: Final = _HOP | {
    b"content-length", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    b"x-request-id",
}  # fmt: skip
_NOT_RETURNED: Final = _HOP | {b"date", b"server", b"x-request-id"}


@dataclass(slots=True)
class _Upload:
    """The request body on its way; ``failure`` is why it broke off, if that was the caller's doing."""

    exchange: Exchange
    limit: BodyLimit
    idle: float
    failure: Refusal | ClientGone | None = None

    def __post_init__(self) -> None:
        self.exchange.check_length(self.limit)
        self.exchange.received = not self.exchange.has_body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.exchange.chunks(self.limit, self.idle):
                yield piece
        except (Refusal, ClientGone) as failure:
            self.failure = failure
            raise


class Proxy:
    """``max_body`` bounds what goes to the control process; a model's route bounds what goes to its server."""

    def __init__(self, control_socket: Path, max_body: int, access: Access) -> None:
        self._limit = BodyLimit(max_body, "the setting MODELYARD_MAX_BODY")
        self._no_limit = BodyLimit(sys.maxsize, "the disk")
        self._access = access
        self._control = _session(
            aiohttp.UnixConnector(path=str(control_socket), limit=0, keepalive_timeout=_KEEP_ALIVE)
        )
        self._instances = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE))

    async def close(self) -> None:
        await self._control.close()
        await self._instances.close()

    # ---------------------------------------------------------------- the control process

    async def to_control(self, exchange: Exchange) -> None:
        """Pass the request on to the control process.

        Raises:
            Refusal: it is away, or went away before it answered.
        """
        is_upload = exchange.method == "PUT" and exchange.path.startswith(_UPLOADS)
        upload = _Upload(exchange, self._no_limit if is_upload else self._limit, _UPLOAD_IDLE)
        headers = _request_headers(exchange)
        exchange.guard(None)
        try:
            async with self._send(
                self._control, exchange, "http://localhost", exchange.path, headers, upload
            ) as response:
                await _return(exchange, response, None)
        except asyncio.CancelledError:
            end = exchange.ended(0)
            if end is None:
                raise
            raise end from None
        except aiohttp.ClientConnectorError:
            raise _control_unavailable("The control process is away") from None
        except (aiohttp.ClientError, OSError):
            raise upload.failure or _control_unavailable(
                "The control process went away before it answered; what was asked may have been done or not"
            ) from None
        finally:
            exchange.unguard()

    async def ask(self, method: str, path: str, headers: Mapping[str, str], timeout: float) -> tuple[int, Any]:
        """Ask the control process something for a caller who did not put it in its words: status and JSON.

        Raises:
            Refusal: it is away, or went away before it answered.
        """
        try:
            async with self._control.request(
                method, f"http://localhost{path}", headers=headers, timeout=aiohttp.ClientTimeout(total=timeout)
            ) as response:
                return response.status, orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise _control_unavailable(
                "The control process is away, or went away before it answered; what was asked may have been done or not"
            ) from None

    async def control_metrics(self) -> str:
        """The control process's part of the metrics; empty while it is away."""
        try:
            async with self._control.get(
                "http://localhost/internal/metrics", timeout=aiohttp.ClientTimeout(total=2)
            ) as response:
                return await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, OSError, TimeoutError):
            return ""

    # ---------------------------------------------------------------- servers that users bring

    async def to_instance(
        self, exchange: Exchange, model: ServedModel, wanted: Wanted, path: str, *, probe: bool = False
    ) -> None:
        """Pass the request on to one of the servers that are wanted, as ``path``, and count it.

        The route's ``request_timeout`` bounds the time to the answer's head, then each silence in its body.
        A ``probe`` is none of the requests that keep a model awake.
        """
        with Counted(model, exchange.began) as counted:
            status = await self._ask_instance(exchange, model, wanted, path, probe)
        counted.answered(status)

    async def _ask_instance(
        self, exchange: Exchange, model: ServedModel, wanted: Wanted, path: str, probe: bool
    ) -> int:
        route = model.route
        upload = _Upload(exchange, model.body_limit, route.request_timeout)
        headers = _request_headers(exchange, withhold=self._access)
        model.admit(wanted)
        exchange.guard(route.request_timeout)
        try:
            tried: tuple[Endpoint, ...] = ()
            while True:
                endpoint = model.choose(wanted, tried, probe=probe)
                answered = cut = False
                try:
                    async with self._send(
                        self._instances, exchange, endpoint.instance.address, path, headers, upload
                    ) as response:
                        await _return(exchange, response, route.request_timeout)
                        answered = True
                        return response.status
                except aiohttp.ClientConnectorError:
                    endpoint.shun()
                    tried = (*tried, endpoint)
                except (aiohttp.ClientError, OSError):
                    if upload.failure is None:
                        cut = True
                    raise upload.failure or instance_lost(route.name) from None
                finally:
                    model.release(endpoint, answered=answered, cut=cut, probe=probe)
        except asyncio.CancelledError:
            end = exchange.ended(route.request_timeout)
            if end is None:
                raise
            raise end from None
        finally:
            exchange.unguard()
            model.leave()

    def _send(
        self,
        session: aiohttp.ClientSession,
        exchange: Exchange,
        origin: str,
        path: str,
        headers: CIMultiDict[str],
        upload: _Upload,
    ) -> aiohttp.client._RequestContextManager:
        query: bytes = exchange.scope["query_string"]
        target = f"{origin}{path}?{query.decode('ascii', 'replace')}" if query else f"{origin}{path}"
        return session.request(
            exchange.method,
            URL(target, encoded=True),
            headers=headers,
            data=upload if exchange.has_body else None,
            allow_redirects=False,
        )


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        trust_env=False,
    )


def _request_headers(exchange: Exchange, withhold: Access | None = None) -> CIMultiDict[str]:
    """The head to pass on. What ``withhold`` takes for its own (the administrator's token, keys, tokens) is for this
    door only, never for what stands behind it: no field that carries it is among them, nor a session's cookie."""
    dropped = _REPLACED | _named_by(exchange.headers.get(b"connection"))
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in exchange.scope["headers"]:
        is_secret = False
        if withhold is not None and name == b"authorization":
            is_secret = withhold.is_ours(value)
        elif withhold is not None and name == b"cookie":
            value = cookies_for_others(value)
            is_secret = not value
        if name not in dropped and not is_secret:
            headers.add(name.decode("latin-1"), value.decode("utf-8", "replace"))
    length = exchange.headers.get(b"content-length")
    if length is not None:
        headers["Content-Length"] = length.decode("ascii")
    client = exchange.scope["client"]
    if client:
        headers["X-Forwarded-For"] = client[0]
    headers["X-Forwarded-Proto"] = exchange.scope["scheme"]
    host = exchange.headers.get(b"host")
    if host is not None:
        headers["X-Forwarded-Host"] = host.decode("utf-8", "replace")
    headers["X-Request-ID"] = exchange.id.decode()
    return headers


def _named_by(connection: bytes | None) -> frozenset[bytes]:
    """The fields that a Connection field makes hop-by-hop."""
    if connection is None:
        return frozenset()
    return frozenset(name.strip().lower() for name in connection.split(b","))


async def _return(exchange: Exchange, response: aiohttp.ClientResponse, idle: float | None) -> None:
    """Send ``response`` on as it comes; with ``idle`` it is that of a server that a user brought. Once its head is out
    a failure can only break the connection."""
    raw = response.raw_headers
    dropped = _NOT_RETURNED | _named_by(next((v for n, v in raw if n.lower() == b"connection"), None))
    if response.status in (204, 304):
        dropped |= {b"content-length"}
    # What is said here already is not said twice.
    dropped |= {name for name, _ in exchange.fields}
    headers: list[Header] = [(n, v) for n, v in raw if n.lower() not in dropped]
    if idle is not None:
        headers = from_others(headers)
    headers.append((b"x-request-id", exchange.id))
    if exchange.has_body and not exchange.received:
        exchange.connection.hold()
    await exchange.start(response.status, headers)
    if idle is not None:
        exchange.extend(idle)
    async for piece in response.content.iter_any():
        if idle is not None:
            exchange.extend(idle)
        await exchange.write(piece, more=True)
    await exchange.write(b"", more=False)


def _control_unavailable(what: str) -> Refusal:
    return Refusal(
        503,
        "control_unavailable",
        f"{what}. It is restarted by itself; models go on serving. Try again in a moment.",
        headers=[retry_after(1)],
        retry_after=1,
    )
