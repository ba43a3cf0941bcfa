"""What a write puts on record: entries that stand in the same transaction as what they tell of.

Queries note what they change (:func:`note_change`, :func:`note_events`, :func:`note_fields`); the databases turn every
write into a :class:`Recording`, which makes entries of the notes: those of the request on whose behalf it was asked
for, or, where nobody asks, what schedules, policies, the autoscaler and the controller have decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from modelyard.control import attempts
from modelyard.control.attempts import Attempt, Target
from modelyard.domain.audit import Record
from modelyard.domain.commands import Change
from modelyard.domain.model import Event
from modelyard.domain.recording import changed, decisions, fields_of, happenings, told

T = TypeVar("T")

_NOTES: Final = "modelyard.audit"


class Notes:
    """What one write has changed."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.events: list[Event] = []
        self.fields: dict[str, Any] = {}
        self.about: dict[str, str] = {}
        self.refusals: list[Record] = []

    @property
    def any(self) -> bool:
        return bool(self.changes or self.events or self.fields)


def note_change(connection: sa.Connection, change: Change) -> None:
    """A model's change."""
    if (notes := connection.info.get(_NOTES)) is not None:
        notes.changes.append(change)


def note_events(connection: sa.Connection, events: Sequence[Event]) -> None:
    """What happened; those of a model's change come with it."""
    if (notes := connection.info.get(_NOTES)) is not None:
        notes.events += events


def note_fields(connection: sa.Connection, before: object, after: object, **about: str) -> None:
    """The fields in which what was changed differs, dataclasses or mappings: each goes on record by its path, as far as
    it is no secret. ``about``: what else says what it is."""
    if (notes := connection.info.get(_NOTES)) is not None:
        notes.fields |= fields_of("", before, after)
        notes.about |= about


def note_refusal(connection: sa.Connection, record: Record) -> None:
    """What was not done for somebody who no longer waits for an answer."""
    if (notes := connection.info.get(_NOTES)) is not None:
        notes.refusals.append(record)


class Recording(Generic[T]):
    """One write; made where it is asked for, since it may be run by another task."""

    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self._work = work
        self._attempt = attempts.current()
        self._marked: list[Target] = []
        self.records: list[Record] = []
        """To be written in the same transaction, last."""

    def run(self, connection: sa.Connection) -> T:
        """Do the work. What it raises leaves no records."""
        # At hand: a connection whose write is cancelled in its middle no longer gives it out.
        info = connection.info
        notes = info[_NOTES] = Notes()
        try:
            result = self._work(connection)
        finally:
            info.pop(_NOTES, None)
        if self._attempt is not None:
            # A query that found nothing to do says so: False, or no rows.
            idle = isinstance(result, int) and not result and not notes.any
            self.records = [] if idle else self._of_attempt(self._attempt, notes)
        elif notes.changes or notes.events or notes.refusals:
            self.records = [record for change in notes.changes for record in decisions(change)] + notes.refusals
            if not notes.changes:
                self.records += happenings(notes.events)
        return result

    def undo(self) -> None:
        """It was not written after all."""
        if self._attempt is not None:
            self._attempt.targets.difference_update(self._marked)

    def _of_attempt(self, attempt: Attempt, notes: Notes) -> list[Record]:
        said = attempt.describe()
        if said is None:
            return []
        found = [_of_change(said, change) for change in notes.changes] or [_of_notes(said, notes)]
        records = []
        for record in found:
            target = (record.kind, record.namespace, record.name)
            if target not in attempt.targets:
                attempt.targets.add(target)
                self._marked.append(target)
                records.append(record)
        return records


def _of_change(said: Record, change: Change) -> Record:
    model = change.after or change.before
    assert model is not None
    return replace(
        said, namespace=model.namespace, kind="model", name=model.name, change={**said.change, **changed(change)}
    )


def _of_notes(said: Record, notes: Notes) -> Record:
    more: dict[str, Any] = dict(notes.about)
    if notes.events and not said.namespace:
        said = replace(said, namespace=notes.events[0].namespace)
    if notes.fields:
        more["fields"] = notes.fields
    if notes.events:
        more |= {"changed": told(notes.events)}
    return replace(said, change={**said.change, **more}) if more else said
