"""The store of another Modelyard, through its API.

What is read is checked by whoever reads it, as from any store; what is written is checked over there. Nothing is
removed from here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound, Problem, Unavailable
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.manifest import hex_of
from modelyard.registry.content.receiving import MAX_RECORD, framed
from modelyard.registry.content.storage import Entry, Missing, Storage
from modelyard.registry.formats.names import shown

if TYPE_CHECKING:
    import ssl

    import httpx2

T = TypeVar("T")

_OBJECTS: Final = "/api/v1/registry/objects"
_CONNECT: Final = 5.0
# Seconds without a byte of an answer. A version's manifest is answered once all of its index was looked at.
_IDLE: Final = 60.0
_CHECKING: Final = 1800.0
_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# Connections that are kept; as many threads read at a time.
_CONNECTIONS: Final = 16
# The other side may be anybody: no more is taken of an answer, or shown of an error (characters, and problems).
_JSON: Final = 8 * 2**20
_ERROR: Final = 2**16
_SHOWN: Final = 300
_PROBLEMS: Final = 5
# Answers that another try may change: the control process is away, or somebody's proxy has lost it.
_AWAY: Final = frozenset({502, 503, 504})


class Api:
    """What answers at ``url``, asked by many threads; again where that is safe and may help."""

    def __init__(
        self, url: str, token: str = "", *, verify: ssl.SSLContext | bool = True,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        import httpx2

        self.url = url.rstrip("/")
        # What is packed may be anything once it is unpacked.
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=4)
        self._http = httpx2.Client(
            base_url=self.url, headers=headers, limits=limits, transport=transport, trust_env=False, verify=verify,
            timeout=httpx2.Timeout(_IDLE, connect=_CONNECT, pool=None),
        )  # fmt: skip

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Decoded JSON. Raises as :meth:`ask`."""
        return self.ask("GET", path, _json, params=params)

    def ask(
        self, method: str, path: str, read: Callable[[httpx2.Response], T], *, params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, content: Callable[[], Iterable[bytes]] | None = None,
        again: Callable[[], bool] = lambda: True, idle: float = _IDLE,
    ) -> T:  # fmt: skip
        """What ``read`` makes of the answer, whose body has not been read yet; ``content`` gives the request's body
        anew for each try, and there is no other try once ``again`` says no.

        Raises:
            Missing, NotFound, InvalidRequest: as the other side says
            Unavailable: it cannot be reached, or does not want to
        """
        import httpx2

        for number in range(_TRIES):
            last = number == _TRIES - 1
            try:
                with self._http.stream(
                    method, path, params=params, headers=headers, content=content() if content else None,
                    timeout=httpx2.Timeout(idle, connect=_CONNECT, pool=None),
                ) as response:  # fmt: skip
                    if response.status_code < 400 or response.status_code == 416:
                        return read(response)
                    if last or response.status_code not in _AWAY or not again():
                        raise _error(response, self.url)
            except httpx2.TransportError as error:
                if last or not again():
                    raise Unavailable(_broken(error, self.url)) from error
            time.sleep(random.uniform(0.5, 1) * min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE))
        raise AssertionError("the last try returns or raises")


class Remote(Storage):
    """The store of the Modelyard at ``url``."""

    at_once = 8

    def __init__(
        self, url: str, token: str = "", *, verify: ssl.SSLContext | bool = True,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        self.url = url
        self._api = Api(url, token, verify=verify, transport=transport)

    def close(self) -> None:
        self._api.close()

    def resolve(self, namespace: str, name: str, pick: str) -> tuple[str, str]:
        """Which version ``pick`` means of a registered model over there, and the digest of its manifest.

        Raises:
            NotFound: none
            Unavailable: it cannot be found out
        """
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/registry/models/{quote(name, safe='')}/resolve"
        answer = self._api.get(path, {"pick": pick})
        with _sense(self.url):
            hex_of(answer["manifest"])
            return str(answer["version"]), str(answer["manifest"])

    def find(self, prefix: str) -> Iterator[Entry]:
        params = {"prefix": prefix, "page_size": "10000"}
        while True:
            page = self._api.get(_OBJECTS, params)
            with _sense(self.url):
                entries = [Entry(e["key"], e["size"], e["modified"]) for e in page["items"]]
                token = page["next_page_token"]
            yield from entries
            if not token:
                return
            params["page_token"] = token

    def latest(self, name: str) -> str | None:
        answer = self._api.get(f"{_path(name)}/latest")
        with _sense(self.url):
            key = answer["key"]
            return None if key is None else str(key)

    def size(self, key: str) -> int | None:
        try:
            return self._api.ask("HEAD", _path(key), _length)
        except NotFound:
            return None

    def read(self, key: str, offset: int = 0, size: int | None = None) -> Buffer:
        if size == 0:
            return b""
        last = "" if size is None else str(offset + size - 1)
        headers = {"Range": f"bytes={offset}-{last}"} if offset or size is not None else {}
        # Whole are read only the records of a version.
        most = MAX_RECORD if size is None else size
        return self._api.ask("GET", _path(key), lambda response: _body(response, most), headers=headers)

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        # What is made while it is sent can be sent once.
        once = None if isinstance(pieces, Sequence) else _Once(pieces)
        answer = self._api.ask(
            "PUT", _path(name), _json, content=lambda: framed(once or pieces),
            headers={"Content-Type": "application/octet-stream"},
            again=lambda: once is None or not once.begun, idle=_CHECKING,
        )  # fmt: skip
        with _sense(self.url):
            return str(answer["key"])

    def touch(self, key: str) -> bool:
        answer = self._api.ask("POST", f"{_path(key)}/touch", _json)
        with _sense(self.url):
            return bool(answer["there"])

    def remove(self, key: str, before: float) -> bool:
        raise Unavailable(f"What is in the store of {self.url} is removed over there: modelyard gc.")

    def tidy(self, before: float) -> int:
        raise Unavailable(f"The store of {self.url} is cleaned up over there: modelyard gc.")


class _Once:
    """An iterable that tells whether anybody has begun with it."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = pieces
        self.begun = False

    def __iter__(self) -> Iterator[Buffer]:
        for piece in self._pieces:
            self.begun = True
            yield piece


def _path(key: str) -> str:
    return f"{_OBJECTS}/{quote(key)}"


def _json(response: httpx2.Response) -> Any:
    with _sense(str(response.url)):
        return msgspec.json.decode(_body(response, _JSON))


def _length(response: httpx2.Response) -> int:
    with _sense(str(response.url)):
        return int(response.headers["content-length"])


def _body(response: httpx2.Response, most: int) -> bytes:
    """Raises Unavailable where it is longer than ``most`` bytes."""
    if response.status_code == 416:
        return b""
    pieces, there = [], 0
    for piece in response.iter_raw():
        there += len(piece)
        if there > most:
            raise Unavailable(f"{response.url} answers with more than the {most} bytes that it may have.")
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def _sense(url: str) -> Iterator[None]:
    """Raises Unavailable where an answer is none of Modelyard's."""
    try:
        yield
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{url} gave an answer that is none of Modelyard's.") from error


def _error(response: httpx2.Response, url: str) -> ModelyardError:
    try:
        body = msgspec.json.decode(_body(response, _ERROR))
        detail, code = _said(body.get("detail") or ""), _said(body.get("code") or "")
    except (Unavailable, msgspec.DecodeError, AttributeError):
        detail, code, body = "", "", {}
    message = f"{url}: {detail or f'it answered {response.status_code} {_said(response.reason_phrase)}'}"
    if response.status_code == 404:
        return Missing(message) if code == Missing.code or not detail else NotFound(message)
    if response.status_code in (400, 413, 422):
        try:
            problems = [
                Problem(_said(e["path"]), _said(e["code"]), _said(e["message"])) for e in body["errors"][:_PROBLEMS]
            ]
        except (KeyError, TypeError):
            problems = [Problem("", code or "invalid_request", message)]
        return InvalidRequest(problems, message)
    if response.status_code in (401, 403):
        return Unavailable(f"{message} (the token for it is missing, or not the right one)")
    return Unavailable(message)


def _said(text: object) -> str:
    return shown(str(text)[:_SHOWN])


def _broken(error: httpx2.TransportError, url: str) -> str:
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return f"Nothing answers at {url}."
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} did not answer in time."
    return f"The connection to {url} broke: {error or type(error).__name__}."
