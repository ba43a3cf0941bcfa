"""Requests to one registry: with what it wants to see of the caller, after its redirects, and again where that is worth
it. What they mean is in ``client.py`` and ``uploading.py``.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from modelyard import __version__
from modelyard.domain.errors import ModelyardError, NotFound, Unavailable
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.formats.names import shown
from modelyard.registry.oci.auth import Authority, bounded, find
from modelyard.registry.oci.references import Reference, is_loopback
from modelyard.registry.sources.reaching import hooks

T = TypeVar("T")

# Of an answer that is read as a whole: a manifest has up to 4 MiB everywhere.
MAX_ANSWER: Final = 8 * 2**20
TRIES: Final = 5
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS: Final = 5
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0, pool=None)
# A registry reads a blob once more before it says that it has it.
_PUTTING: Final = httpx2.Timeout(60.0, connect=10.0, read=600.0, pool=None)
_MAX_REASON: Final = 300

Content = Callable[[], Iterable[bytes] | bytes]


class Rejected(ModelyardError):
    """The registry does not take what was sent."""

    code = "registry_rejected"
    http_status = 502
    title = "Rejected by the registry"


class Again(Exception):
    """It may go well at another time: ``after`` so many seconds, where the registry says so."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: httpx2.Headers
    body: bytes


class Transport:
    """One registry; close it. ``sleep`` waits for so many seconds. Many threads may use it at once."""

    def __init__(
        self, reference: Reference, *, environ: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic,
        hosts: Hosts = USERS,
    ) -> None:  # fmt: skip
        self.reference = reference
        self._allowed = hosts
        insecure = [name.strip().lower() for name in environ.get("MODELYARD_OCI_INSECURE", "").split(",")]
        self._url = reference.url(insecure)
        # The registry's own was the caller's to choose.
        self._hosts = {urlsplit(self._url).hostname or ""}
        self._sleep = sleep
        self._http = httpx2.Client(
            headers={"User-Agent": f"modelyard/{__version__}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            # A proxy of the environment has no business between us and this machine.
            trust_env=not is_loopback(reference.host),
            verify=_tls(),
            event_hooks=hooks(hosts),
        )
        known = find(reference.registry, environ)
        self.authority = Authority(
            reference.registry, known, self._http, clock, is_plain=self._url.startswith("http://"), hosts=hosts
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, scope: str, *, headers: Mapping[str, str] | None = None, content: bytes = b"",
    ) -> Answer:  # fmt: skip
        """One request with a small answer, tried again as long as that may help.

        Raises:
            Denied: the registry does not allow it
            Unavailable: the registry cannot be reached, or fails
        """
        body = (lambda: content) if content else None
        return self.again(lambda: self.once(method, path, scope, headers=headers, content=body))

    def again(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns in the end. Raises Unavailable after several tries."""
        for number in range(TRIES - 1):
            try:
                return attempt()
            except (httpx2.TransportError, Again) as error:
                self.pause(number, error)
        try:
            return attempt()
        except (httpx2.TransportError, Again) as error:
            raise self.unavailable(error) from error

    def pause(self, number: int, error: Exception) -> None:
        """Wait after the attempt ``number`` (from 0 on) has failed."""
        longest = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
        after = error.after if isinstance(error, Again) else 0.0
        self._sleep(max(longest * random.uniform(0.5, 1.0), min(after, _LONGEST_PAUSE)))

    def unavailable(self, error: Exception) -> Unavailable:
        reason = str(error) if isinstance(error, Again) else (str(error) or type(error).__name__)
        return Unavailable(f"The registry {self.reference.registry} cannot be used: {shown(reason[:_MAX_REASON])}.")

    def once(
        self, method: str, path: str, scope: str, *, headers: Mapping[str, str] | None = None,
        content: Content | None = None,
    ) -> Answer:  # fmt: skip
        """One request, not tried again. Raises Again, TransportError, Denied."""
        with self.open(method, path, scope, headers=headers, content=content) as response:
            return answered(response)

    @contextmanager
    def open(
        self, method: str, path: str, scope: str, *, headers: Mapping[str, str] | None = None,
        content: Content | None = None,
    ) -> Iterator[httpx2.Response]:  # fmt: skip
        """One request, its body not read yet; ``path`` may be a URL that the registry gave. Raises as :meth:`once`."""
        url = self._located(f"{self._url}/", path)
        sent: str | None = None
        asked = redirected = 0
        while True:
            is_home = _origin(url) == _origin(self._url)
            given = dict(headers or {})
            if is_home and (sent := sent or self.authority.header(scope)):
                given["Authorization"] = sent
            request = self._http.build_request(
                method, url, headers=given, content=content and content(),
                timeout=_PUTTING if method == "PUT" else _TIMEOUT,
            )  # fmt: skip
            response = self._http.send(request, stream=True)
            try:
                if response.status_code == 401 and is_home and not asked:
                    asked += 1
                    sent = self.authority.answer(response.headers.get_list("www-authenticate"), scope, sent)
                    continue
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and method in ("GET", "HEAD") and location:
                    redirected += 1
                    if redirected > _MAX_REDIRECTS:
                        raise Rejected(f"The registry {self.reference.registry} redirects again and again.")
                    url = self._located(url, location)
                    continue
                self._check(response, scope, is_home=is_home)
                yield response
                return
            finally:
                response.close()

    def _check(self, response: httpx2.Response, scope: str, *, is_home: bool) -> None:
        status = response.status_code
        if status in _PASSING:
            after = response.headers.get("retry-after", "")  # seconds, or a date
            raise Again(f"it answers with status {status}", float(after) if after.isdecimal() else 0.0)
        if status in (401, 403):
            if not is_home:  # a bucket, whose address was good for some time only
                raise Again(f"{urlsplit(str(response.url)).hostname} answers with status {status}")
            raise self.authority.denied(scope)

    def _located(self, base: str, location: str) -> str:
        """``location`` as seen from ``base``. Raises Rejected where that leads out of TLS, InvalidRequest where nobody
        is meant to be led."""
        try:
            url = urljoin(base, location)
            _origin(str(httpx2.URL(url)))
        except (ValueError, httpx2.InvalidURL) as error:
            raise Rejected(f"The registry {self.reference.registry} leads to what is no address.") from error
        if self._url.startswith("https://") and url.startswith("http://"):
            # Behind a proxy that ends TLS a registry may not know that it is there.
            if urlsplit(url).netloc != urlsplit(self._url).netloc:
                raise Rejected(f"The registry {self.reference.registry} leads to where no TLS is.")
            url = "https://" + url.removeprefix("http://")
        if not url.startswith(("https://", "http://")):
            raise Rejected(f"The registry {self.reference.registry} leads to where no HTTP is.")
        host = urlsplit(url).hostname or ""
        if host not in self._hosts:
            self._allowed.check(host)
            self._hosts.add(host)
        return url

    def failure(self, answer: Answer, what: str) -> ModelyardError:
        """What an answer that was not hoped for means; ``what`` is what was asked for."""
        if answer.status == 404:
            return NotFound(f"The registry {self.reference.registry} has no {what}.")
        reason = f"status {answer.status}{_reason(answer.body)}"
        return Rejected(f"The registry {self.reference.registry} does not take {what}: {reason}.")


@cache
def _tls() -> ssl.SSLContext:
    """Which takes a while to make, and is the same for all."""
    return httpx2.create_ssl_context()


def answered(response: httpx2.Response) -> Answer:
    """With its body, which is small. Raises Rejected."""
    body = bounded(response, MAX_ANSWER)
    if len(body) > MAX_ANSWER:
        raise Rejected(f"The registry at {urlsplit(str(response.url)).hostname} answers with more than there can be.")
    return Answer(response.status_code, response.headers, body)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _reason(body: bytes) -> str:
    """What a registry says is wrong, by the distribution spec's form of it."""
    try:
        error = json.loads(body)["errors"][0]
        return f", {shown(str(error['code'])[:_MAX_REASON])}: {shown(str(error.get('message', ''))[:_MAX_REASON])}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
