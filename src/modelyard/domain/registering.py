"""What each command of the registry makes of a registered model: pure functions from a shelf to a change.

What is published is never published again with other bytes; ``latest`` follows the versions by itself; what
an alias or a served model reaches is not deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from modelyard.domain.errors import EtagMismatch, NotFound, Refused
from modelyard.domain.model import Event
from modelyard.domain.names import Registered, RegisteredAlias, RegisteredVersion
from modelyard.domain.registry import (
    LATEST,
    About,
    Alias,
    AliasMove,
    Identity,
    MoveKind,
    Notes,
    RegisteredModel,
    Use,
    Version,
    differences,
)
from modelyard.domain.registry_rules import drop_complaint
from modelyard.domain.shelf import Asked, Change, Shelf
from modelyard.domain.versions import newest, parse_range, parse_version

# How long what was deleted can be brought back, unless its deleter says otherwise.
GRACE = timedelta(days=7)
MAX_GRACE = timedelta(days=365)


# ------------------------------------------------------------------------------------------- the model


def register(uid: str, namespace: str, name: str, about: About, asked: Asked) -> Change:
    model = RegisteredModel(
        uid=uid, namespace=namespace, name=name, about=about, created_at=asked.at, updated_at=asked.at
    )
    return Change(model=model, events=(_event(model, "ModelRegistered", asked, f"{name} is registered.", {}),))


def describe(shelf: Shelf, about: About, asked: Asked) -> Change:
    """Have ``about`` be said of the model."""
    model = _live(shelf)
    if about == model.about:
        return Change(model=model)
    after = replace(model, about=about, updated_at=asked.at)
    event = _event(after, "RegisteredModelChanged", asked, f"What is said of {model.name} has changed.", {})
    return Change(model=after, events=(event,))


def delete(shelf: Shelf, grace: timedelta, asked: Asked) -> Change:
    """Refused while a served model names it."""
    model = shelf.model
    if model.deleted_at is not None:
        return Change(model=model)
    if users := _users(shelf.uses()):
        raise Refused(
            "in_use",
            f"{model.name} is served by {_listed(users)}: delete {_these(users)}, or give {_these(users)} another "
            "source, first.",
        )
    after = replace(model, deleted_at=asked.at, purge_at=asked.at + grace, updated_at=asked.at)
    message = f"{model.name} is deleted and can be restored until {_until(after.purge_at)}."
    return Change(model=after, events=(_event(after, "RegisteredModelDeleted", asked, message, {}),))


def restore(shelf: Shelf, asked: Asked) -> Change:
    """Its versions and aliases are as they were when it was deleted."""
    model = shelf.model
    if model.deleted_at is None:
        return Change(model=model)
    after = replace(model, deleted_at=None, purge_at=None, updated_at=asked.at)
    return Change(
        model=after, events=(_event(after, "RegisteredModelRestored", asked, f"{model.name} is restored.", {}),)
    )


# ------------------------------------------------------------------------------------------- versions


def publish(shelf: Shelf, number: str, identity: Identity, notes: Notes, asked: Asked) -> Change:
    """A version that stands for good. The same once more is no change; without a licence it has the model's. One that
    loses more of its accuracy than it may is a pre-release, which neither ``latest`` nor a range comes to by itself."""
    model, there = _live(shelf), shelf.version(number)
    if not identity.licence:
        # Once published it keeps the one that the model had then.
        identity = replace(identity, licence=there.identity.licence if there else model.about.licence)
    version = Version(
        model_uid=model.uid, version=number, identity=identity, notes=notes, published_at=asked.at,
        published_by=asked.actor, reason=asked.reason,
    )  # fmt: skip
    if there is not None:
        return Change(model=model, versions=(_same(model, there, version),))
    manifest = identity.content.manifest
    if shelf.buried(number) not in (None, manifest):
        raise Refused(
            "version_exists",
            f"{model.name}@{number} was published with other bytes and deleted since. A version's number means the "
            "same bytes for good: publish under the next one.",
        )
    complaint = drop_complaint(notes.metrics)
    if complaint and not parse_version(number).pre:
        raise Refused(
            "accuracy_drop",
            f"{model.name}@{number} would be what latest and ranges mean, and {complaint}. Publish it as a pre-release "
            f"({number}-int8, for example), which nobody gets who does not name it.",
        )
    after = replace(model, updated_at=asked.at)
    data = {"version": number, "manifest": manifest, "trust": list(identity.trust)}
    event = _event(after, "VersionPublished", asked, f"{model.name}@{number} is published.", data)
    latest = model.latest if complaint else _newest_of(number, model.latest)
    return _kept(shelf, Change(model=after, versions=(version,), events=(event,)), latest, asked)


def _same(model: RegisteredModel, there: Version, version: Version) -> Version:
    """``there``, if ``version`` is the same."""
    name = f"{model.name}@{version.version}"
    differing = [difference.path for difference in differences(there, version)]
    if "manifest" in differing:
        message = (
            f"{name} is published already, with other bytes. Published versions never change: publish the next one."
        )
    elif differing:
        message = (
            f"{name} is published already with these bytes, but with another {', '.join(differing)}. Its description, "
            "metrics, labels and card can be changed; for the rest publish the next version."
        )
    elif there.deleted_at is not None:
        raise _is_deleted(f"{name} is published already, but was deleted", there.purge_at)
    else:
        return there
    raise Refused("version_exists", message)


def expect_free(shelf: Shelf, number: str | None) -> None:
    """Raises Refused where no new version can be published: the model is deleted, or the ``number`` is taken."""
    model = _live(shelf)
    there = None if number is None else shelf.version(number)
    if there is None:
        return
    name = f"{model.name}@{number}"
    if there.deleted_at is not None:
        raise _is_deleted(f"{name} is published already, but was deleted", there.purge_at)
    message = f"{name} is published already. Published versions never change: take the next number."
    raise Refused("version_exists", message)


def annotate(shelf: Shelf, number: str, notes: Notes, asked: Asked) -> Change:
    """Have ``notes`` be said of a version. What it is does not change."""
    model, version = _live(shelf), find_version(shelf, number)
    _expect_there(model, version)
    if notes == version.notes:
        return Change(model=model, versions=(version,))
    version = replace(version, notes=notes, edits=version.edits + 1)
    after = replace(model, updated_at=asked.at)
    message = f"What is said of {model.name}@{number} has changed."
    event = _event(after, "VersionChanged", asked, message, {"version": number})
    return Change(model=after, versions=(version,), events=(event,))


def delete_version(shelf: Shelf, number: str, grace: timedelta, asked: Asked) -> Change:
    """Refused while an alias other than ``latest`` points at it, or a served model's source comes to it."""
    model, version = _live(shelf), find_version(shelf, number)
    if version.deleted_at is not None:
        return Change(model=model, versions=(version,))
    name = f"{model.name}@{number}"
    if aliases := [alias for alias in shelf.aliases_of(number) if alias != LATEST]:
        raise Refused(
            "in_use", f"{name} is what {_listed(aliases)} means: move or remove {_these(aliases)} before you delete it."
        )
    uses = shelf.uses()
    # Many may have one source, and each look for what it means is one at the database.
    reaching = {reference for reference in {use.reference for use in uses} if resolve(shelf, reference) == number}
    if users := _users(use for use in uses if use.reference in reaching):
        raise Refused(
            "in_use",
            f"{name} is served by {_listed(users)}: give {_these(users)} another version before you delete it.",
        )
    version = replace(version, deleted_at=asked.at, purge_at=asked.at + grace)
    after = replace(model, updated_at=asked.at)
    message = f"{name} is deleted and can be restored until {_until(version.purge_at)}."
    event = _event(after, "VersionDeleted", asked, message, {"version": number})
    change = Change(model=after, versions=(version,), events=(event,))
    return _kept(shelf, change, _heir(shelf, number), asked) if model.latest == number else change


def restore_version(shelf: Shelf, number: str, asked: Asked) -> Change:
    model, version = _live(shelf), find_version(shelf, number)
    if version.deleted_at is None:
        return Change(model=model, versions=(version,))
    version = replace(version, deleted_at=None, purge_at=None)
    after = replace(model, updated_at=asked.at)
    event = _event(after, "VersionRestored", asked, f"{model.name}@{number} is restored.", {"version": number})
    change = Change(model=after, versions=(version,), events=(event,))
    latest = model.latest if drop_complaint(version.notes.metrics) else _newest_of(number, model.latest)
    return _kept(shelf, change, latest, asked)


def resolve(shelf: Shelf, reference: Registered) -> str | None:
    """The version that ``reference`` means now; None if there is none."""
    if isinstance(reference, RegisteredAlias):
        alias = shelf.alias(reference.alias)
        return None if alias is None else alias.version
    if isinstance(reference, RegisteredVersion):
        version = shelf.version(reference.version)
        return None if version is None or version.deleted_at is not None else version.version
    return shelf.highest(parse_range(reference.range))


def find_version(shelf: Shelf, number: str) -> Version:
    """Raises NotFound."""
    version = shelf.version(number)
    if version is None:
        newest_one = f"; the latest is {shelf.model.latest}" if shelf.model.latest else ": it has none"
        raise NotFound(f"{shelf.model.name!r} has no version {number!r}{newest_one}.")
    return version


# ------------------------------------------------------------------------------------------- aliases


def move_alias(shelf: Shelf, alias: str, number: str, asked: Asked, *, force: bool = False) -> Change:
    """Refused for a version that loses more of its accuracy than it may. ``force`` has it moved; the event tells so."""
    model, version = _live(shelf), find_version(shelf, number)
    refuse_reserved(alias)
    _expect_there(model, version)
    last = shelf.last_move(alias)
    if last is not None and last.after == number:
        return Change(model=model, moves=(last,))
    complaint = drop_complaint(version.notes.metrics)
    if complaint and not force:
        raise Refused(
            "accuracy_drop",
            f"{model.name}@{alias} is not moved to {number}: {complaint}. Take another version, or force it and say "
            "why (modelyard alias set … --force --reason …).",
        )
    return _moved(shelf, Change(model=model), alias, number, MoveKind.MOVE, asked, although=complaint or "")


def remove_alias(shelf: Shelf, alias: str, asked: Asked) -> Change:
    """Its history stays."""
    model = _live(shelf)
    refuse_reserved(alias)
    find_alias(shelf, alias)
    if users := _users(use for use in shelf.uses() if use.reference == RegisteredAlias(model.name, alias)):
        raise Refused(
            "in_use", f"{model.name}@{alias} is served by {_listed(users)}: give {_these(users)} another source first."
        )
    return _moved(shelf, Change(model=model), alias, None, MoveKind.REMOVE, asked)


def roll_back_alias(shelf: Shelf, alias: str, asked: Asked) -> Change:
    """To where it was before its last move, whatever that version is worth: it was let in there once. That is a move
    too: once more goes back to where it is now."""
    model = _live(shelf)
    refuse_reserved(alias)
    last = shelf.last_move(alias)
    if last is None:
        raise _no_alias(model, alias)
    if last.before is None:
        raise Refused(
            "no_earlier_version",
            f"{model.name}@{alias} was nowhere before its last move: there is nothing to go back to.",
        )
    version = shelf.version(last.before)
    if version is None:
        raise Refused("version_purged", f"{model.name}@{last.before}, where {alias} was before, is gone for good.")
    _expect_there(model, version)
    return _moved(shelf, Change(model=model), alias, last.before, MoveKind.ROLLBACK, asked)


def find_alias(shelf: Shelf, alias: str) -> Alias:
    """Raises NotFound."""
    found = shelf.alias(alias)
    if found is None:
        raise _no_alias(shelf.model, alias)
    return found


def expect_alias_at(alias: str, there: Alias | None, expected: str | None) -> None:
    """Raises EtagMismatch unless the alias is at ``expected`` (None: nowhere)."""
    now = None if there is None else there.version
    if now != expected:
        message = f"The alias {alias!r} is {_place(now)}, not {_place(expected)}: look at it again and decide again."
        raise EtagMismatch(message)


def refuse_reserved(alias: str) -> None:
    if alias == LATEST:
        raise Refused(
            "alias_reserved",
            f"The alias {LATEST!r} is kept by the registry: it is the newest release. Use another one, such as stable.",
        )


def _kept(shelf: Shelf, change: Change, latest: str | None, asked: Asked) -> Change:
    """``change``, and ``latest`` moved if it is elsewhere."""
    if latest == change.model.latest:
        return change
    kind = MoveKind.MOVE if latest else MoveKind.REMOVE
    moved = replace(asked, reason=asked.reason or change.events[0].message)
    return _moved(shelf, replace(change, model=replace(change.model, latest=latest)), LATEST, latest, kind, moved)


def _moved(
    shelf: Shelf, change: Change, alias: str, to: str | None, kind: MoveKind, asked: Asked, although: str = ""
) -> Change:
    """``although``: what would have had it refused."""
    last = shelf.last_move(alias)
    before = last.after if last else None
    move = AliasMove(
        alias=alias, number=last.number + 1 if last else 1, kind=kind, before=before, after=to, at=asked.at,
        actor=asked.actor, reason=asked.reason,
    )  # fmt: skip
    model = replace(change.model, updated_at=asked.at)
    name = f"{model.name}@{alias}"
    message = f"{name} is removed; it was {before}." if to is None else f"{name} is now {to}."
    data: dict[str, Any] = {"alias": alias, "kind": str(kind), "from": before, "to": to}
    if although:
        message, data = f"{name} is now {to}, although {although}.", {**data, "forced": True}
    event = _event(model, "AliasMoved" if to else "AliasRemoved", asked, message, data)
    return replace(change, model=model, moves=(*change.moves, move), events=(*change.events, event))


# ------------------------------------------------------------------------------------------- purging


def purged(model: RegisteredModel, number: str | None, at: datetime) -> Event:
    """What is told when the version, or (None) the whole model, is gone for good."""
    asked = Asked(actor="controller", reason="", at=at)
    if number is None:
        return _event(model, "RegisteredModelPurged", asked, f"{model.name} is gone for good.", {})
    return _event(model, "VersionPurged", asked, f"{model.name}@{number} is gone for good.", {"version": number})


# ------------------------------------------------------------------------------------------- helpers


def _event(model: RegisteredModel, type_: str, asked: Asked, message: str, data: Mapping[str, Any]) -> Event:
    return Event(
        at=asked.at, namespace=model.namespace, model=model.name, model_uid=model.uid, type=type_,
        reason=asked.reason or type_, message=message, actor=asked.actor, data=data,
    )  # fmt: skip


def _live(shelf: Shelf) -> RegisteredModel:
    """The model; refused when it is deleted."""
    model = shelf.model
    if model.deleted_at is not None:
        raise Refused(
            "model_deleted", f"{model.name} is deleted. It can be restored until {_until(model.purge_at)}.", ["restore"]
        )
    return model


def _expect_there(model: RegisteredModel, version: Version) -> None:
    if version.deleted_at is not None:
        raise _is_deleted(f"{model.name}@{version.version} is deleted", version.purge_at)


def _is_deleted(what: str, until: datetime | None) -> Refused:
    return Refused("version_deleted", f"{what}. It can be restored until {_until(until)}.", ["restore"])


def _no_alias(model: RegisteredModel, alias: str) -> NotFound:
    return NotFound(f"{model.name!r} has no alias {alias!r}.")


def _heir(shelf: Shelf, number: str) -> str | None:
    """What ``latest`` means once the version that it means is gone; nothing, where that would lose too much."""
    highest = shelf.highest(but=number)
    return None if highest is None or drop_complaint(find_version(shelf, highest).notes.metrics) else highest


def _newest_of(one: str, other: str | None) -> str:
    """The one of two versions that ``latest`` means."""
    return str(newest(parse_version(text) for text in (one, other) if text is not None))


def _until(at: datetime | None) -> str:
    assert at is not None
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _place(number: str | None) -> str:
    return f"at {number}" if number else "nowhere"


def _users(uses: Iterable[Use]) -> list[str]:
    return sorted({use.model for use in uses})


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _these(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
