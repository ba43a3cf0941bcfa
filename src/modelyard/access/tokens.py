"""Tokens of an identity provider (OpenID Connect ID tokens and JWT access tokens): what makes one valid, and who it is.

Sources: RFC 7519 (JSON Web Token), RFC 8725 (best practices), RFC 9068 (access tokens), OpenID Connect Core 1.0.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from modelyard.access.errors import NotAccepted
from modelyard.access.issuing import Fetch, IssuerKeys, KeySet
from modelyard.access.members import Identity

if TYPE_CHECKING:
    from modelyard.access.issuing import PublicKey

# With public keys only: "none" signs nothing, and with HS* whoever knows the public key could sign.
ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    **{f"{family}{bits}": ("RSA",) for family in ("RS", "PS") for bits in (256, 384, 512)},
    **{f"ES{bits}": ("EC",) for bits in (256, 384, 512)},
    "EdDSA": ("OKP",),
    "Ed25519": ("OKP",),
}
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
# Tokens of other kinds (a logout token, a DPoP proof) have the same signature and are not meant for this.
_TYPES: Final = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_MAX_SIZE: Final = 16 * 2**10
_EMAIL: Final = re.compile(r"[^\s@:]{1,64}@[^\s@:]{1,189}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What tokens are taken: those of ``issuer`` for one of ``audiences``, signed by one of ``algorithms``.

    ``jwks_url``: where its keys are; empty: where its discovery document says. ``groups_claim``: what holds the
    groups, a claim's name or a path with dots through nested ones. Clocks may differ by ``leeway`` seconds.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA", "Ed25519")
    jwks_url: str = ""
    groups_claim: str = "groups"
    leeway: float = 30.0

    def __post_init__(self) -> None:
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ValueError(f"{name!r} is no algorithm with public keys; there are {', '.join(ALGORITHMS)}")
        if not self.audiences:
            raise ValueError("without an audience tokens that the issuer made for others would be taken")


def is_token(text: str) -> bool:
    """Whether ``text`` means to be a JSON Web Token."""
    return text.count(".") == 2


class Tokens:
    """Checks tokens by ``rules``. ``clock`` is of the day (seconds since 1970), ``monotonic`` for how old keys are."""

    def __init__(
        self,
        rules: Rules,
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._keys = IssuerKeys(rules.issuer, rules.jwks_url, fetch, monotonic)

    @property
    def version(self) -> int:
        """Of the issuer's keys: what was valid with others may no longer be."""
        return self._keys.version

    def is_meant(self, token: str) -> bool:
        """Whether ``token`` says, truly or not, that it is for here."""
        try:
            self._check_meant(claims_of(token))
        except NotAccepted:
            return False
        return True

    async def identify(self, token: str) -> Identity:
        """Whose token it is.

        Raises:
            NotAccepted: it is not valid, and why, in words without any of the token's.
            IssuerUnavailable: it cannot be checked now.
        """
        if len(token) > _MAX_SIZE:
            raise NotAccepted(f"The token is larger than {_MAX_SIZE} bytes.")
        algorithm, kid = self._head(token)
        claims = claims_of(token)
        # Before the keys are asked for: a token of another issuer needs none of them.
        self._check_meant(claims)
        self._check_time(claims)
        key_types = ALGORITHMS[algorithm]
        keys = await self._keys.current()
        if not self._is_signed(token, algorithm, kid, key_types, keys):
            renewed = await self._keys.anew() if _may_be_new(kid, keys) else keys
            if renewed is keys or not self._is_signed(token, algorithm, kid, key_types, renewed):
                raise NotAccepted(_not_signed(kid, renewed))
        return self._identity(claims)

    def _head(self, token: str) -> tuple[str, str | None]:
        """The algorithm and the key's id, by the unprotected words of the token. Raises NotAccepted."""
        header = _part(token, 0, "header")
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise NotAccepted(
                f"The token is not signed by one of the algorithms that are taken here: "
                f"{', '.join(self._rules.algorithms)}."
            )
        if "crit" in header or "b64" in header:
            raise NotAccepted("The token's header demands what is not understood here.")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise NotAccepted("The token is of another kind than ID tokens and access tokens.")
        if kid is not None and not (isinstance(kid, str) and kid):
            raise NotAccepted("The token's kid is no text.")
        return algorithm, kid

    @staticmethod
    def _is_signed(token: str, algorithm: str, kid: str | None, key_types: tuple[str, ...], keys: KeySet) -> bool:
        return any(_verifies(token, algorithm, key) for _, key in keys.candidates(kid, key_types))

    def _check_meant(self, claims: Mapping[str, Any]) -> None:
        """Raises NotAccepted."""
        if claims.get("iss") != self._rules.issuer:
            raise NotAccepted(f"The token is of another issuer than {self._rules.issuer}.")
        given = claims.get("aud")
        audiences = given if isinstance(given, list) else [given]
        if not any(isinstance(one, str) and one in self._rules.audiences for one in audiences):
            raise NotAccepted(f"The token is for another audience than {' or '.join(sorted(self._rules.audiences))}.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject or len(subject) > 255 or not subject.isprintable():
            raise NotAccepted("The token names no subject (sub).")

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        """Raises NotAccepted."""
        now, leeway = self._clock(), self._rules.leeway
        if now >= _seconds(claims, "exp") + leeway:
            raise NotAccepted("The token has expired.")
        if "nbf" in claims and now < _seconds(claims, "nbf") - leeway:
            raise NotAccepted("The token is not valid yet (nbf).")
        if "iat" in claims and now < _seconds(claims, "iat") - leeway:
            raise NotAccepted("The token was made in the future (iat): the clocks of the issuer and here differ.")

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject, email = claims["sub"], claims.get("email")
        # An address that the issuer has not checked may be anybody's.
        known = isinstance(email, str) and claims.get("email_verified") is True and _EMAIL.fullmatch(email)
        return Identity(
            subject=subject,
            name=str(email) if known else f"subject:{subject}",
            email=str(email) if known else "",
            groups=frozenset(_groups(claims, self._rules.groups_claim)),
            expires_at=datetime.fromtimestamp(min(_seconds(claims, "exp"), 253402300799), UTC),
        )


def _verifies(token: str, algorithm: str, key: PublicKey) -> bool:
    from joserfc import jws
    from joserfc.errors import JoseError

    curve = _CURVES.get(algorithm)
    if curve is not None and key.as_dict().get("crv") != curve:
        return False
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError):
        return False
    return True


def _may_be_new(kid: str | None, keys: KeySet) -> bool:
    """Whether the issuer may have a key by now that the token means."""
    return kid is None or kid not in keys.keys


def _not_signed(kid: str | None, keys: KeySet) -> str:
    if kid is not None and kid not in keys.keys:
        return "The token was signed with a key that its issuer does not have (any more)."
    return "The token's signature is wrong."


def claims_of(token: str) -> dict[str, Any]:
    """What ``token`` says, checked or not. Raises NotAccepted: it is none."""
    return _part(token, 1, "content")


def _part(token: str, number: int, what: str) -> dict[str, Any]:
    """Raises NotAccepted."""
    parts = token.split(".")
    try:
        text = parts[number].encode("ascii")
        found = json.loads(base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, IndexError, RecursionError):
        found = None
    if len(parts) != 3 or not isinstance(found, dict):
        raise NotAccepted(f"This is no token: its {what} cannot be read.")
    return found


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Raises NotAccepted."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise NotAccepted(f"The token's {name} is missing or no time.")
    return float(value)


def _groups(claims: Mapping[str, Any], path: str) -> list[str]:
    """The groups at ``path``: some issuers' claims have dots in their names, others nest them."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found]
    return [group for group in found if isinstance(group, str)] if isinstance(found, list) else []
