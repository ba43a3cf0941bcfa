"""How a registry learns who is calling: the user's credentials, and the tokens that are had for them.

Sources: RFC 7617 (Basic), RFC 6750 (Bearer), https://distribution.github.io/distribution/spec/auth/token (tokens),
https://docs.docker.com/reference/cli/docker/login (the configuration file).
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from modelyard.domain.errors import ModelyardError, Unavailable
from modelyard.registry.admitting import USERS, Hosts

_PAIR: Final = r'[A-Za-z_]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,"]+)'
_CHALLENGE: Final = re.compile(rf"\b(Basic|Bearer)\s+({_PAIR}(?:\s*,\s*{_PAIR})*)", re.IGNORECASE)
_VALUE: Final = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# A token's characters (RFC 6750), so that none of it ends a header.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAX_ANSWER: Final = 2**20
# Seconds that a token lasts at least, and the share of its time after which another one is asked for.
_LEAST_LIFE: Final = 60.0
_RENEWED_AT: Final = 0.8
_CLIENT_ID: Final = "modelyard"


class Denied(ModelyardError):
    """The registry does not let this caller do that."""

    code = "registry_denied"
    http_status = 403
    title = "Denied by the registry"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or the ``identity`` token that a login has left in place of a password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Known:
    """The ``credentials`` for one registry, if there are any, and what to tell a user who is denied."""

    credentials: Credentials | None
    hint: str = ""


def find(registry: str, environ: Mapping[str, str] = os.environ) -> Known:
    """What the environment has for a registry: MODELYARD_OCI_USERNAME and MODELYARD_OCI_PASSWORD where
    MODELYARD_OCI_REGISTRY says that they are for this one (whoever names a reference could otherwise have them sent to
    a host of their own), else what ``docker login`` has left. No program is run."""
    username, password = environ.get("MODELYARD_OCI_USERNAME", ""), environ.get("MODELYARD_OCI_PASSWORD", "")
    if (username or password) and environ.get("MODELYARD_OCI_REGISTRY", "").lower() == registry:
        return Known(Credentials(username, password), "MODELYARD_OCI_USERNAME and MODELYARD_OCI_PASSWORD were sent.")
    path = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    advice = f"Set MODELYARD_OCI_USERNAME, MODELYARD_OCI_PASSWORD and MODELYARD_OCI_REGISTRY={registry}."
    try:
        config = json.loads(path.read_bytes())
        logins, helpers = config.get("auths") or {}, config.get("credHelpers") or {}
        entry = next((login for name, login in logins.items() if _is_named(name, registry)), None) or {}
        found = _login(entry)
    except (FileNotFoundError, NotADirectoryError):
        return Known(None, advice)
    except (OSError, ValueError, AttributeError, TypeError):
        return Known(None, f"{path} cannot be read. {advice}")
    if found is not None:
        return Known(found, f"The login in {path} was sent.")
    if config.get("credsStore") or any(_is_named(name, registry) for name in helpers):
        return Known(None, f"{path} leaves passwords to a credential helper, which is not run here. {advice}")
    return Known(None, advice)


def _is_named(name: str, registry: str) -> bool:
    """Whether an entry of the configuration is the registry's; old ones are URLs."""
    host = name.partition("://")[2] if "://" in name else name
    host = host.partition("/")[0].lower()
    return host == registry


def _login(entry: Mapping[str, str]) -> Credentials | None:
    """Raises ValueError."""
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    if not (password or entry.get("identitytoken")):
        return None
    return Credentials(username, password.rstrip("\0"), entry.get("identitytoken", ""))


def challenges(headers: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """The parameters by the scheme, ``basic`` or ``bearer``."""
    found: dict[str, Mapping[str, str]] = {}
    for header in headers:
        for scheme, pairs in _CHALLENGE.findall(header):
            values = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in _VALUE.findall(pairs)
            }
            found.setdefault(scheme.lower(), values)
    return found


class Authority:
    """What to send as Authorization, learned from the challenges of one registry. Many threads may ask at once."""

    def __init__(
        self, registry: str, known: Known, http: httpx2.Client, clock: Callable[[], float], *, is_plain: bool,
        hosts: Hosts = USERS,
    ) -> None:  # fmt: skip
        self._registry, self._known, self._http, self._clock = registry, known, http, clock
        self._is_plain, self._hosts = is_plain, hosts
        self._lock = Lock()
        # By scope: the header, and until when it is good.
        self._headers: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str | None:
        """What is known to be good for ``scope`` (one or several, with blanks between them); None: nothing yet."""
        header, until = self._headers.get(scope, (None, 0.0))
        return header if self._clock() < until else None

    def answer(self, asked: Sequence[str], scope: str, refused: str | None) -> str:
        """What to send after a challenge; ``refused`` is what was sent in vain.

        Raises:
            Denied: there is nothing else to send
            Unavailable: no token can be had
        """
        with self._lock:
            header = self.header(scope)
            if header is not None and header != refused:  # another thread has had the same challenge
                return header
            found = challenges(asked)
            if "bearer" in found:
                header, life = self._token(found["bearer"], scope)
            else:
                credentials = self._known.credentials
                header, life = (credentials.basic() if credentials and credentials.password else ""), float("inf")
                if "basic" not in found or not header:
                    raise self.denied(scope)
            if header == refused:
                raise self.denied(scope)
            self._headers[scope] = (header, self._clock() + life)
            return header

    def denied(self, scope: str) -> Denied:
        return Denied(f"The registry {self._registry} does not allow this ({scope}). {self._known.hint}")

    def _token(self, asked: Mapping[str, str], scope: str) -> tuple[str, float]:
        realm = asked.get("realm", "")
        try:
            host = httpx2.URL(realm).host
        except httpx2.InvalidURL as error:
            raise Unavailable(f"The registry {self._registry} does not say where its tokens are.") from error
        # Passwords go there.
        if urlsplit(realm).scheme not in (("https", "http") if self._is_plain else ("https",)):
            raise Unavailable(f"The registry {self._registry} has its tokens at {host!r}, which has no TLS.")
        self._hosts.check(host)
        values: dict[str, Any] = {"scope": scope.split(" ")}
        if asked.get("service"):
            values["service"] = asked["service"]
        credentials = self._known.credentials
        headers = {}
        if credentials is not None and not credentials.identity:
            headers["Authorization"] = credentials.basic()
        try:
            if credentials is not None and credentials.identity:
                values |= {"scope": scope, "grant_type": "refresh_token", "client_id": _CLIENT_ID}
                asking = self._http.stream("POST", realm, data=values | {"refresh_token": credentials.identity})
            else:
                asking = self._http.stream("GET", realm, params=values, headers=headers)
            with asking as response:
                status, content = response.status_code, bounded(response, _MAX_ANSWER)
        except httpx2.HTTPError as error:
            raise Unavailable(f"No token for {self._registry} can be had: {host!r} does not answer.") from error
        if status in (400, 401, 403):
            raise self.denied(scope)
        try:
            document = json.loads(content)
            token = document.get("token") or document.get("access_token")
            if status != 200 or not _TOKEN.fullmatch(token):
                raise ValueError(status)
            life = max(float(document.get("expires_in") or 0), _LEAST_LIFE) * _RENEWED_AT
        except (ValueError, TypeError, AttributeError) as error:
            raise Unavailable(f"No token for {self._registry} can be had: {host!r} answers {status}.") from error
        return f"Bearer {token}", life


def bounded(response: httpx2.Response, most: int) -> bytes:
    """The body, or its first ``most`` + 1 bytes, which is too much."""
    found = bytearray()
    for piece in response.iter_raw():
        found += piece
        if len(found) > most:
            break
    return bytes(found[: most + 1])
