"""``http://`` and ``https://``: one file, by many ranges where the server has them.

A range is asked for with If-Range (RFC 9110, 13.1.5), so one of a file that has changed is never taken for one of the
file that was. Without an ETag that is strong, or a date, nothing says whether it has: then it is read in one go. What
arrives can be checked only against ``#sha256=``; where that is left out, TLS is all that vouches for it.
"""

from __future__ import annotations

import netrc
import os
import re
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit

from modelyard.domain.errors import InvalidRequest, NotFound, Problem, Unavailable
from modelyard.registry.admitting import USERS, Hosts
from modelyard.registry.content.cutting import Progress
from modelyard.registry.formats.names import shown
from modelyard.registry.sources.address import Address, scrubbed
from modelyard.registry.sources.files import Broken, Changed, File, bring
from modelyard.registry.sources.patience import Lasting, Patience
from modelyard.registry.sources.reaching import hooks

if TYPE_CHECKING:
    import httpx2

_CONNECT: Final = 10.0
_READ: Final = 30.0
_REDIRECTS: Final = 10
_WORTH_ANOTHER: Final = (408, 425, 429, 500, 502, 503, 504)
# A resolver that answers, that there is no such name.
_UNKNOWN: Final = (socket.EAI_NONAME, socket.EAI_NODATA)
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_RESTARTS: Final = 3


def fetch(address: Address, to: Path, progress: Progress | None = None, hosts: Hosts = USERS) -> str:
    """The file below ``to``; what it was, with its ETag or digest.

    Raises:
        InvalidRequest: its name may not be in a version; it redirects from https to http, or to where it may not
        NotFound, Unavailable, Damaged: it cannot be had
    """
    url = address.text.partition("#")[0]
    with client(hosts) as http:
        web = Web(http, hosts=hosts)
        for attempt in range(_RESTARTS):
            file, etag = web.file(url, address.sha256)
            try:
                bring([file], to, progress)
                break
            except Changed:
                if attempt == _RESTARTS - 1:
                    raise Unavailable(f"{address} changes again and again: try again later.") from None
            except Broken:
                if attempt == _RESTARTS - 1:
                    raise
    said = f"sha256={address.sha256}" if address.sha256 else etag and f"etag={etag}"
    return f"{address}#{said}" if said else str(address)


@contextmanager
def client(hosts: Hosts = USERS, *, signs_in: bool = True) -> Generator[httpx2.Client]:
    """With credentials from the file that NETRC names (``~/.netrc``), if there is one and it is to be used."""
    import httpx2

    auth: httpx2.Auth | None = None
    if signs_in:
        try:
            auth = httpx2.NetRCAuth(os.environ.get("NETRC"))
        except OSError:
            pass  # there is none
        except netrc.NetrcParseError as error:
            raise Unavailable(f"{error.filename} is damaged in line {error.lineno}: mend it.") from None
    # Compressed on the way, a range of bytes is none of the file's.
    headers = {"Accept-Encoding": "identity"}
    timeout = httpx2.Timeout(_READ, connect=_CONNECT)
    with httpx2.Client(headers=headers, timeout=timeout, auth=auth, event_hooks=hooks(hosts)) as http:
        yield http


class Web:
    """Asks servers, patiently. ``headers`` go to the origin of the address and to none that it redirects to."""

    def __init__(
        self, http: httpx2.Client, headers: Mapping[str, str] | None = None, hosts: Hosts = USERS
    ) -> None:  # fmt: skip
        self._http, self._headers, self._hosts = http, dict(headers or {}), hosts

    def file(self, url: str, sha256: str) -> tuple[File, str]:
        """What is there at ``url``, and its ETag."""
        with self.asked(url, {"Range": "bytes=0-0"}) as response:
            headers, status = response.headers, response.status_code
        etag = headers.get("etag", "")
        # RFC 9110: a weak one does not say that the bytes are the same.
        tag = "" if etag.startswith("W/") else etag
        tag = tag or headers.get("last-modified", "")
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        size = int(found[3]) if found else _whole(headers.get("content-length"))
        path = _name(headers.get("content-disposition"), url)
        if status not in (206, 416) or found is None:
            tag = ""
        if _is_compressed(headers):
            # Though it was asked not to be: what its sizes and ranges are of is not the file.
            tag, size = "", None
        file = File(
            path=path, size=size, tag=tag and f"{tag} {size}", digest=f"sha256:{sha256}" if sha256 else "",
            read=lambda start, end: self.read(url, start, end, size, tag=tag, by_ranges=bool(tag)),
        )  # fmt: skip
        return file, etag.removeprefix("W/").strip('"')

    def read(
        self, url: str, start: int, end: int | None, total: int | None, *, tag: str = "", by_ranges: bool = True
    ) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``end``; ``by_ranges``: gone on with where a connection breaks. ``tag`` is
        what If-Range sends; empty where the address itself says which bytes these are.

        Raises:
            Changed: the server has other ones
            Broken: the connection breaks, and it cannot be gone on with
            NotFound, Unavailable: it cannot be had
        """
        import httpx2

        patience = Patience(_origin(url))
        while True:
            headers = {}
            if by_ranges and end is not None:
                headers = {"Range": f"bytes={start}-{end - 1}", **({"If-Range": tag} if tag else {})}
            try:
                with self.asked(url, headers, patience) as response:
                    if headers:
                        _check_range(response, start, end, total, tag)
                    # As they come: whoever waits for a piece of some size does so for ever where few come.
                    for piece in response.iter_raw() if headers else response.iter_bytes():
                        start += len(piece)
                        patience.rest(len(piece))
                        yield piece
            except httpx2.TransportError as error:
                if not headers:
                    raise Broken(_unreachable(url, error).message) from error
                patience.wait(_unreachable(url, error))
                continue
            if end is None or start >= end:
                return
            if not headers:
                raise Broken(f"{_origin(url)} ends its answer early.")
            patience.wait(Unavailable(f"{_origin(url)} ends its answers early."))

    @contextmanager
    def asked(
        self, url: str, headers: Mapping[str, str], patience: Patience | None = None
    ) -> Generator[httpx2.Response]:
        """The answer to a GET, which is a good one; redirects are followed, never from https to http."""
        import httpx2

        patience = patience or Patience(_origin(url), first=True)
        while True:
            try:
                response = self._followed(url, headers)
            except httpx2.TransportError as error:
                refused = any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))
                patience.wait(_unreachable(url, error), refused=refused)
                continue
            with closing(response):
                if response.status_code in (200, 206, 416):
                    yield response
                    return
                refusal = _refusal(url, response.status_code)
                if response.status_code not in _WORTH_ANOTHER:
                    raise refusal
                after = _whole(response.headers.get("retry-after"))
            patience.wait(refusal, after)

    def _followed(self, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        """The answer of the last that this redirects to, unread."""
        first, secret = _origin(url), self._headers
        for _ in range(_REDIRECTS):
            own = secret if _origin(url) == first else {}
            response = self._http.send(self._http.build_request("GET", url, headers={**headers, **own}), stream=True)
            if not response.is_redirect:
                return response
            response.close()
            is_safe = urlsplit(url).scheme == "https"
            target = urljoin(url, response.headers.get("location", ""))
            if urlsplit(target).scheme not in ("http", "https") or (is_safe and urlsplit(target).scheme != "https"):
                message = f"{_origin(url)} redirects to {_origin(target)}, which is not https: that is not followed."
                raise InvalidRequest([Problem("source", "insecure_redirect", message)])
            self._hosts.check(urlsplit(target).hostname or "")
            url = target
        raise Unavailable(f"{first} redirects in a circle.")


def _check_range(response: httpx2.Response, start: int, end: int | None, total: int | None, tag: str) -> None:
    """Raises Changed."""
    if _is_compressed(response.headers):
        raise Changed
    etag = response.headers.get("etag", "")
    if tag.startswith('"') and etag and etag != tag:
        raise Changed
    if response.status_code == 200 and start == 0 and end == total:
        return  # some do not part what is small
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code != 206 or found is None or found[1] is None or int(found[3]) != total:
        raise Changed
    if int(found[1]) != start or int(found[2]) + 1 != end:
        raise Changed


def _is_compressed(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity") != "identity"


def _name(disposition: str | None, url: str) -> str:
    """What the server calls the file, or its address does.

    Raises:
        InvalidRequest: it is more than a file's name
    """
    message = Message()
    if disposition:
        message["Content-Disposition"] = disposition
    named = message.get_filename()
    if named and "/" in named:
        text = f"The server calls it {shown(named)!r}, which is more than a file's name: fetch it yourself and name it."
        raise InvalidRequest([Problem("source", "path_escape", text)])
    return named or PurePosixPath(unquote(urlsplit(url).path)).name or "index"


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return shown(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def _refusal(url: str, status: int) -> Exception:
    where = shown(scrubbed(url))
    if status in (404, 410):
        return NotFound(f"There is nothing at {where} ({status}).")
    if status in (401, 403, 407):
        return Unavailable(
            f"{_origin(url)} does not let this be read ({status}): {where}. Credentials are read from ~/.netrc, or the "
            "file that NETRC names."
        )
    return Unavailable(f"{_origin(url)} answered {status} for {where}.")


def _unreachable(url: str, error: Exception) -> Unavailable:
    message = f"{_origin(url)} cannot be read from: {scrubbed(str(error)) or type(error).__name__}."
    unknown = any(isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN for cause in _causes(error))
    return Lasting(message) if unknown else Unavailable(message)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, the nearest first."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
