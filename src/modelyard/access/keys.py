"""API keys: how they are made, how they are recorded, and the directory in which they are found.

A key is ``myk_ID_RANDOM``: the id names its record and is no secret, the rest is 256 random bits. It is shown once;
what is kept is its SHA-256. A slow hash (bcrypt, Argon2) protects secrets that people think of, which can be guessed
a million at a time; nobody guesses 256 random bits, so a fast one protects as well and costs each request 1 µs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelyard.access.errors import NotAccepted
from modelyard.domain.access import EVERYWHERE, Grant, Principal, PrincipalKind, Role
from modelyard.domain.rates import Rate

# Secret scanners look for it.
PREFIX: Final = "myk_"
# Seconds between two notes of a key's use.
NOTE_EVERY: Final = 60.0

# Compared with for ids that nobody has, so that these take as long.
_NOBODY: Final = "0" * 64


def new_key() -> tuple[str, str]:
    """A new key's secret, to be shown once, and its id (12 hex digits)."""
    key_id = secrets.token_hex(6)
    return new_secret(key_id), key_id


def new_secret(key_id: str) -> str:
    """Another secret for the key ``key_id``, for its rotation."""
    return f"{PREFIX}{key_id}_{secrets.token_hex(32)}"


def digest(secret: str) -> str:
    """What is kept of a secret: its SHA-256 in hex; see the module for why not a slower hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_key(text: str) -> bool:
    """Whether ``text`` means to be a key rather than a token."""
    return text.startswith(PREFIX)


def id_of(secret: str) -> str | None:
    """The id that a secret names; None: it is none."""
    parts = secret.split("_")
    return parts[1] if len(parts) == 3 and secret.startswith(PREFIX) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key's record. Times are aware; ``namespace`` may be EVERYWHERE.

    ``models`` are patterns as in a grant, ``groups`` those that its bearer counts as a member of. After a rotation the
    secret before it (``previous_digest``) works until ``previous_until``.
    """

    id: str
    name: str
    digest: str
    namespace: str
    role: Role
    models: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rate: Rate | None = None
    created_at: datetime
    created_by: str = ""
    reason: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    previous_digest: str = ""
    previous_until: datetime | None = None

    def principal(self) -> Principal:
        """Whoever bears it."""
        return Principal(
            name=f"key:{self.name}" if self.namespace == EVERYWHERE else f"key:{self.namespace}/{self.name}",
            kind=PrincipalKind.KEY,
            grants=(Grant(self.namespace, self.role, self.models),),
            groups=frozenset(self.groups),
        )

    def rotated(self, secret: str, overlap_until: datetime | None) -> ApiKey:
        """With ``secret`` (of :func:`new_secret`) in place of the one it has, which works until ``overlap_until``
        (None: no longer)."""
        previous = self.digest if overlap_until is not None else ""
        return replace(self, digest=digest(secret), previous_digest=previous, previous_until=overlap_until)

    def ended(self, now: datetime) -> str:
        """Why it no longer works, in words; empty: it works."""
        if self.revoked_at is not None:
            return f"API key {self.name!r} was revoked."
        if self.expires_at is not None and now >= self.expires_at:
            return f"API key {self.name!r} expired at {self.expires_at.isoformat(timespec='seconds')}."
        return ""

    def valid_until(self, shown: str) -> datetime | None:
        """Until when the secret whose digest is ``shown`` works, as far as is known now; None: for good."""
        if hmac.compare_digest(shown, self.digest):
            return self.expires_at
        return min(filter(None, (self.previous_until, self.expires_at)), default=None)


class KeyRing:
    """All keys, in memory. ``noted`` is told of a key's use, at most once a minute for each key."""

    def __init__(self, keys: Iterable[ApiKey] = (), noted: Callable[[str, datetime], None] | None = None) -> None:
        self._noted = noted
        self._notes: dict[str, datetime] = {}
        self._keys: dict[str, ApiKey] = {}
        self.replace(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """From now on there are these and no others."""
        # One assignment: whoever looks meanwhile finds all of the old ones or all of the new ones.
        self._keys = found = {key.id: key for key in keys}
        self._notes = {key_id: at for key_id, at in self._notes.items() if key_id in found}

    def put(self, key: ApiKey) -> None:
        """Add ``key``, or have it as it is now (revoked, rotated)."""
        self._keys = {**self._keys, key.id: key}

    def remove(self, key_id: str) -> None:
        self._keys = {known: key for known, key in self._keys.items() if known != key_id}
        self._notes.pop(key_id, None)

    def find(self, secret: str, now: datetime) -> ApiKey | None:
        """The key whose secret it is and that works; None: there is none."""
        try:
            return self.check(secret, now)
        except NotAccepted:
            return None

    def check(self, secret: str, now: datetime) -> ApiKey:
        """The key whose secret it is.

        Raises:
            NotAccepted: there is none, or it works no longer; only who has shown its secret is told which.
        """
        key = self._keys.get(id_of(secret) or "")
        shown = digest(secret)
        current = hmac.compare_digest(shown, key.digest if key is not None else _NOBODY)
        former = hmac.compare_digest(shown, key.previous_digest or _NOBODY if key is not None else _NOBODY)
        if key is None or not (current or former):
            raise NotAccepted("This API key is not valid.")
        ended = key.ended(now)
        if ended:
            raise NotAccepted(ended)
        if not current and (key.previous_until is None or now >= key.previous_until):
            raise NotAccepted(f"API key {key.name!r} was rotated, and its former secret no longer works.")
        self.note(key.id, now)
        return key

    def note(self, key_id: str, now: datetime) -> None:
        """``key_id`` was used at ``now``."""
        before = self._notes.get(key_id)
        if before is None or (now - before).total_seconds() >= NOTE_EVERY:
            self._notes[key_id] = now
            if self._noted is not None:
                self._noted(key_id, now)
