"""From an ``Authorization`` header to the caller: the keys, the members and the tokens' issuer, as they are now.

The administrator's token is not looked at here: each process that listens knows it by its own file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from modelyard.access.errors import NotAccepted
from modelyard.access.issuing import FRESH
from modelyard.access.keys import NOTE_EVERY, ApiKey, KeyRing, digest, is_key
from modelyard.access.limits import RateLimited, RateLimits
from modelyard.access.members import Member
from modelyard.access.tokens import Tokens, is_token
from modelyard.domain.access import Permission, Principal
from modelyard.domain.rates import Rate

# Headers that are remembered, and what is remembered of one about models.
_MAX_KNOWN: Final = 4096
_MAX_VERDICTS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that decides who somebody is, besides what the identity provider says. It holds digests, no secrets."""

    keys: tuple[ApiKey, ...] = ()
    members: tuple[Member, ...] = ()

    def living(self, now: datetime) -> Snapshot:
        """Without the keys that no longer work: those stay on record for good, and become more and more."""
        return replace(self, keys=tuple(key for key in self.keys if not key.ended(now)))

    def document(self) -> bytes:
        """As JSON; :func:`parse_snapshot` reads it."""
        return msgspec.json.encode(self)


def parse_snapshot(text: bytes | memoryview) -> Snapshot:
    """Read a snapshot's document.

    Raises:
        ValueError: it is none, and why.
    """
    try:
        return msgspec.json.decode(text, type=Snapshot)
    except msgspec.DecodeError as error:
        raise ValueError(f"this is no snapshot of keys and members: {error}") from None


class Verdict(Enum):
    """What a caller may with a model."""

    HIDDEN = "hidden"  # it is not there for this caller: 404
    FORBIDDEN = "forbidden"  # it sees the model and may not do this: 403
    ALLOWED = "allowed"


def verdict(caller: Principal, permission: Permission, namespace: str, model: str, groups: tuple[str, ...]) -> Verdict:
    """Whether ``caller`` may do what needs ``permission`` with a model of ``groups``."""
    if not caller.sees(namespace, model, groups):
        return Verdict.HIDDEN
    return Verdict.ALLOWED if caller.may(permission, namespace, model) else Verdict.FORBIDDEN


class Known:
    """A header whose bearer is known ``until`` then (seconds since 1970). ``key`` is None for a token."""

    __slots__ = ("_noted_at", "_verdicts", "caller", "key", "rate", "until", "version")

    def __init__(self, caller: Principal, until: float, *, key: ApiKey | None = None, version: int = 0) -> None:
        self.caller = caller
        self.key = key
        self.rate: Rate | None = key.rate if key is not None else None
        self.until = until
        self.version = version
        self._noted_at = -math.inf
        self._verdicts: dict[tuple[Permission, str, str, tuple[str, ...]], Verdict] = {}

    def verdict(self, permission: Permission, namespace: str, model: str, groups: tuple[str, ...]) -> Verdict:
        """As :func:`verdict`, remembered."""
        asked = (permission, namespace, model, groups)
        found = self._verdicts.get(asked)
        if found is None:
            if len(self._verdicts) >= _MAX_VERDICTS:
                self._verdicts.clear()
            found = self._verdicts[asked] = verdict(self.caller, *asked)
        return found

    def is_to_note(self, now: float) -> bool:
        """Whether its use at ``now`` is worth a note; True once a minute."""
        if self.key is None or now - self._noted_at < NOTE_EVERY:
            return False
        self._noted_at = now
        return True


class Callers:
    """Who bears which credentials. ``fixed`` are members by the settings, beside those of the snapshot; ``noted`` is
    told of a key's use (its id and when), at most once a minute each. ``clock``: seconds since 1970."""

    def __init__(
        self,
        tokens: Tokens | None = None,
        fixed: tuple[Member, ...] = (),
        *,
        noted: Callable[[str, datetime], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._fixed = fixed
        self._members = fixed
        self._clock = clock
        self._ring = KeyRing(noted=noted)
        self._known: dict[bytes, Known] = {}
        self._limits = RateLimits()

    def count(self, found: Known) -> None:
        """Count a request of the bearer of a key against the key's rate. Raises RateLimited: it is one too many."""
        if found.key is not None and found.rate is not None:
            refused = self._limits.take((found.key.id, found.rate))
            if refused is not None:
                raise RateLimited(f"With {found.caller.name} Modelyard", found.rate, refused[1])

    @property
    def takes_tokens(self) -> bool:
        """Whether there is an identity provider."""
        return self._tokens is not None

    def replace(self, snapshot: Snapshot) -> None:
        """From here on these keys and members hold, and no others. What was known before is found out anew."""
        self._ring.replace(snapshot.keys)
        self._members = (*self._fixed, *snapshot.members)
        self._known.clear()

    def known(self, authorization: bytes) -> Known | None:
        """The bearer, if that can be told without asking anybody. ``authorization`` is the header's value.

        A key that is not valid is None as well: :meth:`identify` says why.
        """
        now = self._clock()
        found = self._known.get(authorization)
        if found is None or now >= found.until or (found.key is None and not self._is_current(found)):
            try:
                found = self._by_key(authorization, now)
            except NotAccepted:
                return None
            if found is None:
                return None
        if found.is_to_note(now) and found.key is not None:
            self._ring.note(found.key.id, _moment(now))
        return found

    async def identify(self, authorization: bytes) -> Known:
        """The bearer, and if the identity provider has to be asked.

        Raises:
            NotAccepted: it is nobody, and why.
            IssuerUnavailable: that cannot be told now.
        """
        found = self.known(authorization)
        if found is not None:
            return found
        now = self._clock()
        found = self._by_key(authorization, now)
        if found is not None:
            return found
        credential = bearer(authorization)
        if self._tokens is None or not is_token(credential):
            raise NotAccepted("This is neither the administrator token nor an API key nor a token that is known here.")
        identity = await self._tokens.identify(credential)
        # The members as they are now: they may have changed while the issuer was asked.
        caller = identity.principal(self._members)
        found = Known(caller, min(identity.expires_at.timestamp(), now + FRESH), version=self._tokens.version)
        self._remember(authorization, found)
        return found

    def is_ours(self, authorization: bytes) -> bool:
        """Whether it carries what is meant for here, valid or not: it is nobody else's to see."""
        credential = bearer(authorization)
        return is_key(credential) or (self._tokens is not None and self._tokens.is_meant(credential))

    def _is_current(self, found: Known) -> bool:
        return self._tokens is not None and found.version == self._tokens.version

    def _by_key(self, authorization: bytes, now: float) -> Known | None:
        """The bearer of a key; None: it is no key. Raises NotAccepted."""
        secret = bearer(authorization)
        if not is_key(secret):
            return None
        key = self._ring.check(secret, _moment(now))
        until = key.valid_until(digest(secret))
        found = Known(key.principal(), math.inf if until is None else until.timestamp(), key=key)
        self._remember(authorization, found)
        return found

    def _remember(self, authorization: bytes, found: Known) -> None:
        if len(self._known) >= _MAX_KNOWN and authorization not in self._known:
            del self._known[next(iter(self._known))]
        self._known[authorization] = found


def bearer(authorization: bytes) -> str:
    """What is borne; empty: the header is of another scheme, or not in ASCII."""
    scheme, _, credential = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not credential.isascii():
        return ""
    return credential.strip().decode()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
