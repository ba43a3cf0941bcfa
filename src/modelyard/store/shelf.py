"""One registered model inside a transaction: what the domain decides by, and the one write path of what it decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec
import sqlalchemy as sa

from modelyard.domain.names import FileSource, InvalidReference, Registered, RegisteredVersion, parse_reference
from modelyard.domain.registry import Alias, AliasMove, RegisteredModel, Use, Version
from modelyard.domain.shelf import Change
from modelyard.domain.versions import Range
from modelyard.store import events, registered_models, registered_versions, version_aliases
from modelyard.store.codec import Raw
from modelyard.store.tables import models, revisions

_target = revisions.alias("target")
_SOURCES: Final = sa.select(
    models.c.name, models.c.spec, _target.c.spec.label("target_spec")
).select_from(
    models.outerjoin(
        _target,
        (_target.c.model_uid == models.c.uid)
        & (_target.c.generation == models.c.target_generation)
        & (models.c.target_generation != models.c.generation),
    )
)  # fmt: skip


class _Artifact(msgspec.Struct):
    version: str


class _Sourced(msgspec.Struct):
    source: str | None = None
    artifact: _Artifact | None = None


_decode: Final = msgspec.json.Decoder(_Sourced).decode


class SqlShelf:
    """Implements :class:`modelyard.domain.shelf.Shelf`."""

    def __init__(self, connection: sa.Connection, model: RegisteredModel) -> None:
        self._connection = connection
        self._model = model

    @property
    def model(self) -> RegisteredModel:
        return self._model

    def version(self, number: str) -> Version | None:
        return registered_versions.get(self._connection, self._model.uid, number)

    def highest(self, within: Range | None = None, *, but: str = "") -> str | None:
        return registered_versions.highest(self._connection, self._model.uid, within, but)

    def buried(self, number: str) -> str | None:
        return registered_versions.buried_manifest(self._connection, self._model, number)

    def alias(self, alias: str) -> Alias | None:
        return version_aliases.get(self._connection, self._model.uid, alias)

    def aliases_of(self, number: str) -> Sequence[str]:
        return version_aliases.names_of(self._connection, self._model.uid, number)

    def last_move(self, alias: str) -> AliasMove | None:
        return version_aliases.last_move(self._connection, self._model.uid, alias)

    def uses(self) -> Sequence[Use]:
        # The database leaves out most of those that are not meant; a name has nothing that JSON would escape.
        named = f'"{self._model.name}'
        mentioned = [sa.cast(column, sa.Text).contains(named) for column in (models.c.spec, _target.c.spec)]
        statement = _SOURCES.where(models.c.namespace == self._model.namespace, sa.or_(*mentioned))
        found = []
        for row in self._connection.execute(statement):
            for spec in (row.spec, row.target_spec):
                found += [Use(model=row.name, reference=reference) for reference in self._named(spec)]
        return found

    def _named(self, spec: Raw | None) -> Sequence[Registered]:
        """What a spec names of this model: its source, and the version that this came to when it was written."""
        try:
            wish = _Sourced() if spec is None else _decode(spec)
            reference = None if wish.source is None else parse_reference(wish.source)
        except (msgspec.DecodeError, InvalidReference):
            # Of another version of Modelyard, or never a reference.
            return ()
        if reference is None or isinstance(reference, FileSource) or reference.name != self._model.name:
            return ()
        if wish.artifact is None:
            return (reference,)
        return reference, RegisteredVersion(self._model.name, wish.artifact.version)


def write(connection: sa.Connection, before: RegisteredModel, change: Change) -> Change:
    """Write ``change`` of the model ``before``, which is held, and return it as written. The order of the steps is
    also that of locks: the model, what stands under it, event numbers."""
    if not change.events:
        return change
    model = registered_models.update(connection, before, change.model)
    for version in change.versions:
        registered_versions.write(connection, version)
    for move in change.moves:
        version_aliases.write(connection, model.uid, move)
    return replace(change, model=model, events=events.append(connection, change.events))
