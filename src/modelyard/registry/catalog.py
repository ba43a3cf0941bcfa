"""What users ask of the registry's catalog: check, decide by the rules of the domain, write.

Every method is one transaction and is done when it returns; none has to do with a version's bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.control.ports import Page
from modelyard.domain import registering
from modelyard.domain.errors import EtagMismatch, InvalidRequest, NotFound, Problem
from modelyard.domain.names import InvalidReference, Registered, name_problem, parse_pick
from modelyard.domain.registering import GRACE, MAX_GRACE
from modelyard.domain.registry import About, Alias, AliasMove, Identity, Notes, RegisteredModel, Version, placed
from modelyard.domain.registry_rules import (
    about_problems,
    alias_problems,
    identity_problems,
    notes_problems,
    version_problems,
)
from modelyard.domain.shelf import Asked, Change, Shelf
from modelyard.domain.versions import InvalidRange, parse_range
from modelyard.registry.ports import CatalogStore, MoveQuery, RegisteredModelQuery, VersionQuery

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who asks, and why. ``if_match`` is the number of the state that the caller has seen: the version of a
    registered model, the edits of a version, the moves of an alias."""

    actor: str
    reason: str = ""
    if_match: int | None = None


@dataclass(frozen=True, slots=True)
class AnyPlace:
    """An alias may be moved from wherever it is."""


ANY_PLACE = AnyPlace()


class Catalog:
    """Registered models, their versions and aliases. ``told`` is called when events have been written."""

    def __init__(self, store: CatalogStore, clock: Clock, told: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._told = told

    # ------------------------------------------------------------------ models

    async def register(self, namespace: str, name: str, about: About, by: By) -> RegisteredModel:
        """Raises InvalidRequest, AlreadyExists, and NotFound for a namespace that there is none of."""
        problem = name_problem("name", name)
        _check([*([problem] if problem else []), *about_problems(about)])
        change = registering.register(secrets.token_hex(8), namespace, name, about, self._asked(by))
        written = await self._store.add(change)
        self._told()
        return written.model

    async def get(self, namespace: str, name: str) -> RegisteredModel:
        """Also one that is deleted and can be restored. Raises NotFound, naming what is missing."""
        return await self._store.look(namespace, name, lambda shelf: shelf.model)

    async def list(self, query: RegisteredModelQuery) -> Page[RegisteredModel]:
        return await self._store.list_registered(query)

    async def describe(self, namespace: str, name: str, revise: Callable[[About], About], by: By) -> RegisteredModel:
        """``revise`` makes what is to be said of the model from what is said now."""
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            _check_model(shelf, by)
            about = revise(shelf.model.about)
            _check(about_problems(about))
            return registering.describe(shelf, about, asked)

        return (await self._change(namespace, name, decide)).model

    async def delete(self, namespace: str, name: str, by: By, grace: timedelta = GRACE) -> RegisteredModel:
        """It can be restored until ``grace`` is over."""
        _check_grace(grace)
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            _check_model(shelf, by)
            return registering.delete(shelf, grace, asked)

        return (await self._change(namespace, name, decide)).model

    async def restore(self, namespace: str, name: str, by: By) -> RegisteredModel:
        asked = self._asked(by)
        return (await self._change(namespace, name, lambda shelf: registering.restore(shelf, asked))).model

    # ------------------------------------------------------------------ versions

    async def publish(
        self, namespace: str, name: str, number: str, identity: Identity, notes: Notes, by: By
    ) -> tuple[Version, bool]:
        """The version, and whether it is new: the same may be published again.

        Raises:
            Refused: ``version_exists``: the number stands for something else already.
        """
        _check([*version_problems(number), *identity_problems(identity), *notes_problems(notes)])
        asked = self._asked(by)
        written = await self._change(
            namespace, name, lambda shelf: registering.publish(shelf, number, identity, notes, asked)
        )
        return written.versions[0], bool(written.events)

    async def expect_free(self, namespace: str, name: str, number: str | None) -> None:
        """Raises Refused where no new version can be published under the number (None: under any), and NotFound."""
        await self._store.look(namespace, name, lambda shelf: registering.expect_free(shelf, number))

    async def version(self, namespace: str, name: str, number: str) -> Version:
        """Also one that is deleted and can be restored. Raises NotFound."""
        return await self._store.look(namespace, name, lambda shelf: registering.find_version(shelf, number))

    async def versions(
        self, namespace: str, name: str, *, within: str = "", framework: str = "", deleted: bool = False,
        page_size: int = 50, page_token: str = "",
    ) -> Page[Version]:  # fmt: skip
        """The highest first, without their cards; those in the range ``within``, if it is given."""
        try:
            spelled = parse_range(within).text if within else ""
        except InvalidRange as error:
            raise InvalidRequest([Problem("query.range", "invalid_range", str(error))]) from None
        model = await self.get(namespace, name)
        return await self._store.list_versions(
            VersionQuery(
                model_uid=model.uid, within=spelled, framework=framework, deleted=deleted, page_size=page_size,
                page_token=page_token,
            )
        )  # fmt: skip

    async def annotate(
        self, namespace: str, name: str, number: str, revise: Callable[[Notes], Notes], by: By
    ) -> Version:
        """``revise`` makes what is to be said of the version from what is said now."""
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            version = registering.find_version(shelf, number)
            _check_version(version, by)
            notes = revise(version.notes)
            _check(notes_problems(notes))
            return registering.annotate(shelf, number, notes, asked)

        return (await self._change(namespace, name, decide)).versions[0]

    async def delete_version(self, namespace: str, name: str, number: str, by: By, grace: timedelta = GRACE) -> Version:
        """It can be restored until ``grace`` is over; its number is never free again for other bytes."""
        _check_grace(grace)
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            _check_version(registering.find_version(shelf, number), by)
            return registering.delete_version(shelf, number, grace, asked)

        return (await self._change(namespace, name, decide)).versions[0]

    async def restore_version(self, namespace: str, name: str, number: str, by: By) -> Version:
        asked = self._asked(by)
        change = await self._change(namespace, name, lambda shelf: registering.restore_version(shelf, number, asked))
        return change.versions[0]

    async def resolve(self, namespace: str, name: str, pick: str, path: str = "pick") -> Version:
        """The version that ``pick`` (a version, a range or an alias) means now.

        Raises:
            InvalidRequest: ``pick`` is none of these; ``path`` is where it stood in the request.
            NotFound: it means nothing now.
        """
        try:
            reference = parse_pick(name, pick)
        except InvalidReference as error:
            raise InvalidRequest([Problem(path, "invalid_pick", str(error))]) from None
        return await self._store.look(namespace, name, lambda shelf: _resolved(shelf, reference))

    async def number(self, namespace: str, reference: Registered) -> str | None:
        """The number of the version that ``reference`` means now; None if it means nothing."""
        try:
            return await self._store.look(namespace, reference.name, lambda shelf: _number(shelf, reference))
        except NotFound:
            return None

    # ------------------------------------------------------------------ aliases

    async def aliases(self, namespace: str, name: str) -> Sequence[Alias]:
        return await self._store.list_aliases((await self.get(namespace, name)).uid)

    async def alias(self, namespace: str, name: str, alias: str) -> Alias:
        return await self._store.look(namespace, name, lambda shelf: registering.find_alias(shelf, alias))

    async def history(
        self, namespace: str, name: str, alias: str, *, page_size: int = 50, page_token: str = ""
    ) -> Page[AliasMove]:
        """The last move first; also of an alias that was removed."""
        model = await self.get(namespace, name)
        return await self._store.list_moves(
            MoveQuery(model_uid=model.uid, alias=alias, page_size=page_size, page_token=page_token)
        )

    async def move_alias(
        self, namespace: str, name: str, alias: str, number: str, by: By, expected: str | AnyPlace | None = ANY_PLACE,
        *, force: bool = False,
    ) -> Alias:  # fmt: skip
        """Have the alias point at the version ``number``; only if it is at ``expected`` (None: nowhere yet), where
        that is given. With ``force``, which needs a reason, also at one that loses more accuracy than it may.

        Raises:
            EtagMismatch: it is elsewhere.
            Refused: ``accuracy_drop``
        """
        problems = [*alias_problems(alias), *version_problems(number)]
        if force and not by.reason.strip():
            problems.append(Problem("reason", "required", "Say why it is forced: the alias's history keeps it."))
        _check(problems)
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            registering.refuse_reserved(alias)
            _check_alias(shelf, alias, by)
            if not isinstance(expected, AnyPlace):
                registering.expect_alias_at(alias, shelf.alias(alias), expected)
            return registering.move_alias(shelf, alias, number, asked, force=force)

        return placed((await self._change(namespace, name, decide)).moves[-1])

    async def remove_alias(self, namespace: str, name: str, alias: str, by: By) -> None:
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            _check_alias(shelf, alias, by)
            return registering.remove_alias(shelf, alias, asked)

        await self._change(namespace, name, decide)

    async def roll_back_alias(self, namespace: str, name: str, alias: str, by: By) -> Alias:
        """To where it was before its last move."""
        asked = self._asked(by)

        def decide(shelf: Shelf) -> Change:
            _check_alias(shelf, alias, by)
            return registering.roll_back_alias(shelf, alias, asked)

        return placed((await self._change(namespace, name, decide)).moves[-1])

    # ------------------------------------------------------------------ upkeep

    async def purge(self) -> Sequence[str]:
        """See :meth:`modelyard.registry.ports.CatalogStore.purge`."""
        return await self._store.purge(self._clock())

    async def _change(self, namespace: str, name: str, decide: Callable[[Shelf], Change]) -> Change:
        written = await self._store.change(namespace, name, decide)
        if written.events:
            self._told()
        return written

    def _asked(self, by: By) -> Asked:
        return Asked(actor=by.actor, reason=by.reason, at=self._clock())


def _number(shelf: Shelf, reference: Registered) -> str | None:
    return None if shelf.model.deleted_at is not None else registering.resolve(shelf, reference)


def _resolved(shelf: Shelf, reference: Registered) -> Version:
    if shelf.model.deleted_at is not None:
        raise NotFound(f"{shelf.model.name!r} is deleted: restore it to use its versions.")
    number = registering.resolve(shelf, reference)
    if number is not None:
        return registering.find_version(shelf, number)
    latest = f"the latest version is {shelf.model.latest}" if shelf.model.latest else "no version is published yet"
    raise NotFound(f"There is no {reference}: {latest}.")


def _check(problems: Sequence[Problem]) -> None:
    if problems:
        raise InvalidRequest(problems)


def _check_grace(grace: timedelta) -> None:
    if not timedelta(0) <= grace <= MAX_GRACE:
        raise InvalidRequest([Problem("query.grace", "out_of_range", f"grace is from 0 to {MAX_GRACE.days}d.")])


def _check_model(shelf: Shelf, by: By) -> None:
    _check_etag(by, shelf.model.version, "registered model")


def _check_version(version: Version, by: By) -> None:
    _check_etag(by, version.edits, "version")


def _check_alias(shelf: Shelf, alias: str, by: By) -> None:
    if by.if_match is not None:
        there = shelf.alias(alias)
        _check_etag(by, there.moves if there else 0, "alias")


def _check_etag(by: By, now: int, what: str) -> None:
    if by.if_match is not None and by.if_match != now:
        raise EtagMismatch(
            f'The {what} is at "{now}", If-Match names "{by.if_match}": get it again and repeat the change on what it '
            "is now."
        )
