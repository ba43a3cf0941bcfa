"""Signing people in by an identity provider, in their browsers: where they are sent, and what is had for the code with
which they come back.

Sources: OpenID Connect Core 1.0 (authorization code flow), RFC 7636 (PKCE), RFC 6749, RFC 9207 (issuer identification).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote_plus, urlencode, urlsplit

from modelyard.access.errors import NotAccepted
from modelyard.access.issuing import FRESH, Fetch, IssuerUnavailable, Unusable, discover, endpoint
from modelyard.access.tokens import claims_of
from modelyard.domain.errors import ModelyardError

log = logging.getLogger(__name__)

_ERROR: Final = re.compile(r"[a-z_]{1,64}")


class SignInFailed(ModelyardError):
    """Signing in by the identity provider did not come to its end."""

    code = "sign_in_failed"
    http_status = 401
    title = "Not signed in"


class Post(Protocol):
    """Sends a form. Raises OSError."""

    def __call__(self, url: str, form: Mapping[str, str], authorization: str = "") -> Awaitable[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the identity provider knows this installation by. Without a ``secret`` it is a public client."""

    id: str
    secret: str = ""
    scopes: str = "openid email profile"


@dataclass(frozen=True, slots=True)
class Passage:
    """What a browser is remembered by while it is with the identity provider, and what it may show when it is back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Passage:
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @property
    def challenge(self) -> str:
        """Of the verifier, by S256."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


class Provider:
    """The identity provider ``issuer`` for ``client``. ``clock`` is monotonic."""

    def __init__(
        self, issuer: str, client: Client, fetch: Fetch, post: Post, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.issuer = issuer
        self._client = client
        self._fetch = fetch
        self._post = post
        self._clock = clock
        self._document: dict[str, Any] = {}
        self._read_at = float("-inf")

    @property
    def host(self) -> str:
        """By which people know it."""
        return urlsplit(self.issuer).netloc

    async def address(self, passage: Passage, redirect_uri: str) -> str:
        """Where to send a browser that is to come back to ``redirect_uri``. Raises IssuerUnavailable."""
        url = await self._endpoint("authorization_endpoint")
        asked = {
            "response_type": "code", "client_id": self._client.id, "redirect_uri": redirect_uri,
            "scope": self._client.scopes, "state": passage.state, "nonce": passage.nonce,
            "code_challenge": passage.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(asked)}"

    async def token(self, passage: Passage, answer: Mapping[str, str], redirect_uri: str) -> str:
        """The ID token for what a browser came back with; whether it is valid is still to be checked.

        Raises:
            SignInFailed: there is none, or it is of another passage, and why.
            IssuerUnavailable: that cannot be told now.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), passage.state.encode()):
            raise SignInFailed("This answer belongs to another sign-in than the one begun in this browser. Begin anew.")
        if answer.get("iss", self.issuer) != self.issuer:
            raise SignInFailed("This answer is of another identity provider. Begin anew.")
        if "code" not in answer:
            raise SignInFailed(f"The identity provider did not sign you in ({_error(answer.get('error'))}).")
        form = {
            "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": redirect_uri,
            "client_id": self._client.id, "code_verifier": passage.verifier,
        }  # fmt: skip
        said = await self._exchanged(form)
        token = said.get("id_token")
        if not isinstance(token, str):
            raise SignInFailed(
                f"The identity provider gave no ID token for its code ({_error(said.get('error'))}). Begin anew."
            )
        return token

    async def _exchanged(self, form: dict[str, str]) -> dict[str, Any]:
        url = await self._endpoint("token_endpoint")
        client, authorization = self._client, ""
        if client.secret:
            known = self._document.get("token_endpoint_auth_methods_supported", ("client_secret_basic",))
            if "client_secret_basic" in known:
                pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
                authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                form["client_secret"] = client.secret
        try:
            said = json.loads(await self._post(url, form, authorization))
        except (OSError, ValueError) as error:
            raise self._away(error) from None
        return said if isinstance(said, dict) else {}

    async def _endpoint(self, name: str) -> str:
        try:
            if self._clock() - self._read_at >= FRESH:
                self._document = await discover(self.issuer, self._fetch)
                self._read_at = self._clock()
            return endpoint(self._document, name)
        except (OSError, Unusable) as error:
            raise self._away(error) from None

    def _away(self, error: Exception) -> IssuerUnavailable:
        log.warning("cannot sign in by the identity provider %s: %s", self.issuer, error)
        return IssuerUnavailable(
            f"The identity provider {self.issuer} cannot be asked. Try again in a moment, or sign in by an API key."
        )


def check_nonce(passage: Passage, token: str) -> None:
    """Raises SignInFailed: the ID token, which is valid, was made for another sign-in."""
    try:
        found = claims_of(token).get("nonce")
    except NotAccepted:
        found = None
    if found != passage.nonce:
        raise SignInFailed("The identity provider's token was made for another sign-in. Begin anew.")


def _error(code: object) -> str:
    """Its word for what went wrong, if it is one."""
    return code if isinstance(code, str) and _ERROR.fullmatch(code) else "without saying why"
