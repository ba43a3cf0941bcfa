"""The record of who did what: its entries, and the chain that shows whether any was changed, lost or put in.

An entry's hash is SHA-256 over the hash of the one before, a line feed, and the entry itself as JSON: all of its
fields but ``previous`` and ``hash``, keys sorted, no spaces, UTF-8. So whoever has noted the newest hash (the *head*)
can tell later whether everything up to it is as it was. Nothing secret is in an entry: see
:mod:`modelyard.domain.masking`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

# What the first entry follows.
GENESIS: Final = "0" * 64
# By what retention says, in the record itself, from where the record is kept.
RETAIN: Final = "audit.retain"
# Bytes of what is said of one change; more than that is only counted.
_LARGEST: Final = 16_384


class ActorKind(StrEnum):
    """Who acts."""

    ADMINISTRATOR = "administrator"  # the bearer of the administrator's token
    KEY = "key"
    PERSON = "person"  # by a token of an identity provider
    SCHEDULE = "schedule"
    POLICY = "policy"
    AUTOSCALER = "autoscaler"
    CONTROLLER = "controller"
    UNKNOWN = "unknown"  # one who has not shown who it is


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"  # by a rule, a permission or the state of things; nothing was changed
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """From where: the caller's address as the front door saw it, its program, and the id of the request."""

    address: str = ""
    client: str = ""
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to be put on record. ``action`` is the operation's name in the API (``models.stop``) or what the house
    did by itself (``models.scale``); ``kind`` and ``name`` say to what in ``namespace`` (empty: to none); ``code`` is
    the problem's where it was not done; ``change`` is plain JSON: ``asked`` (the request), ``fields`` (each changed one
    ``before`` and ``after``), and what else there is to say."""

    at: datetime
    actor: str
    actor_kind: ActorKind
    action: str
    namespace: str = ""
    kind: str = ""
    name: str = ""
    reason: str = ""
    origin: Origin = Origin()
    outcome: Outcome = Outcome.DONE
    code: str = ""
    change: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place in the chain: the number of an entry (0: before the first) and its hash."""

    number: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A record with its place in the chain."""

    number: int
    record: Record
    previous: str
    hash: str

    @property
    def mark(self) -> Mark:
        return Mark(number=self.number, hash=self.hash)

    def document(self) -> dict[str, Any]:
        """As it is exported."""
        return {**_document(self.number, self.record), "previous": self.previous, "hash": self.hash}


def chain(previous: str, document: Mapping[str, Any]) -> str:
    """The hash of an entry, of which ``document`` may hold the hashes or not, after the one with the hash
    ``previous``."""
    content = {key: value for key, value in document.items() if key not in ("previous", "hash")}
    return hashlib.sha256(previous.encode() + b"\n" + canonical(content)).hexdigest()


def canonical(document: Mapping[str, Any]) -> bytes:
    """One sequence of bytes for one document."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def append(head: Mark, records: Iterable[Record]) -> list[AuditEntry]:
    """The entries that ``records`` become after ``head``."""
    entries = []
    for record in records:
        number, record = head.number + 1, _bounded(record)
        entry = AuditEntry(
            number=number, record=record, previous=head.hash, hash=chain(head.hash, _document(number, record))
        )
        entries.append(entry)
        head = entry.mark
    return entries


def text_of(at: datetime) -> str:
    """A time as entries have it, always of the same length: ``2030-01-01T08:00:00.000000Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _document(number: int, record: Record) -> dict[str, Any]:
    return {
        "number": number,
        "at": text_of(record.at),
        "actor": record.actor,
        "actor_kind": str(record.actor_kind),
        "action": record.action,
        "namespace": record.namespace,
        "kind": record.kind,
        "name": record.name,
        "reason": record.reason,
        "address": record.origin.address,
        "client": record.origin.client,
        "request": record.origin.request,
        "outcome": str(record.outcome),
        "code": record.code,
        "change": dict(record.change),
    }


def _bounded(record: Record) -> Record:
    size = len(canonical(record.change)) if record.change else 0
    if size <= _LARGEST:
        return record
    return replace(record, change={"left_out": sorted(record.change), "bytes": size})


# ------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first entry that is not as it was written, or is missing, and what is wrong with it."""

    number: int
    why: str


class Verifier:
    """Follows a chain, entry after entry, from ``start`` on (None: from wherever the first one stands, whose
    ``previous`` is then believed). ``gaps``: entries were picked, so only neighbours are held against each other.

    It says no more than the chain can: that nothing up to a head which was noted before has changed. Whoever may
    write the table may also write a whole new chain, with another head.
    """

    def __init__(self, start: Mark | None, *, gaps: bool = False) -> None:
        self._gaps = gaps
        self._given = start
        self.start = start
        self.last = start
        self.entries = 0
        self.broken: Broken | None = None
        self._retained: Mark | None = None

    def feed(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """The next entries, as documents. After the first broken one nothing is looked at any more."""
        for document in documents:
            if self.broken is not None:
                return
            self._take(document)

    def finish(self, head: Mark | None = None) -> None:
        """All have been fed; ``head`` is where they are to end. Where the record is kept from a later ``start`` on than
        the beginning, an entry of it says that retention has removed what was before."""
        start, last = self._given, self.last
        if self.broken is not None:
            return
        if start is not None and start.number and self._retained != start:
            why = "what was before is gone, and no entry says that retention has removed it"
            self.broken = Broken(number=start.number, why=why)
        elif head is not None and last != head:
            reached = last.number if last is not None else 0
            if reached < head.number:
                self.broken = Broken(number=reached + 1, why=f"it is missing: the record went on to {head.number}")
            else:
                self.broken = Broken(number=head.number, why="it is not the entry that the head was noted of")

    def _take(self, document: Mapping[str, Any]) -> None:
        try:
            number, previous, hash_ = int(document["number"]), str(document["previous"]), str(document["hash"])
        except (KeyError, TypeError, ValueError):
            number = self.last.number + 1 if self.last is not None else 0
            self.broken = Broken(number=number, why="it is no entry")
            return
        why, last = "", self.last
        if last is not None and number != last.number + 1 and not (self._gaps and number > last.number):
            why = "it is missing" if number > last.number else "another one stands in its place"
            number = last.number + 1
        elif last is not None and number == last.number + 1 and previous != last.hash:
            why = "it does not follow the one before"
        elif hash_ != chain(previous, document):
            why = "it was changed"
        if why:
            self.broken = Broken(number=number, why=why)
            return
        if last is None:
            self.start = Mark(number=number - 1, hash=previous)
        self.last = Mark(number=number, hash=hash_)
        self.entries += 1
        if document.get("action") == RETAIN:
            kept = document.get("change", {})
            self._retained = Mark(number=kept.get("number", 0), hash=kept.get("hash", ""))


def verify(documents: Iterable[Mapping[str, Any]], start: Mark, head: Mark) -> int | None:
    """The number of the first entry that is broken, None if all are whole."""
    verifier = Verifier(start)
    verifier.feed(documents)
    verifier.finish(head)
    return None if verifier.broken is None else verifier.broken.number
