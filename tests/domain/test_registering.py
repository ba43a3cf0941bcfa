"""Random histories of a registered model: what holds after each command, whatever came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.domain import registering
from modelyard.domain.errors import NotFound, Refused
from modelyard.domain.names import parse_pick
from modelyard.domain.registering import GRACE
from modelyard.domain.registry import (
    LATEST,
    About,
    Alias,
    AliasMove,
    Content,
    Identity,
    Notes,
    RegisteredModel,
    Use,
    Version,
    placed,
)
from modelyard.domain.shelf import Asked, Change
from modelyard.domain.versions import Range, newest, parse_range, parse_version

# Few, so that what happens to one of them happens often.
NUMBERS = ("1.0.0-rc.1", "1.0.0", "1.1.0", "2.0.0-a")
SOURCES = ("latest", "stable", "^1", "1.0.0")
START = datetime(2030, 1, 1, tzinfo=UTC)

numbers = st.sampled_from(NUMBERS)
aliases = st.sampled_from(("stable", "golden"))


@dataclass
class Memory:
    """A shelf that is a few dictionaries."""

    model: RegisteredModel
    versions: dict[str, Version] = field(default_factory=dict)
    graves: dict[str, str] = field(default_factory=dict)
    moves: dict[str, list[AliasMove]] = field(default_factory=dict)
    served: dict[str, str] = field(default_factory=dict)

    def version(self, number: str) -> Version | None:
        return self.versions.get(number)

    def highest(self, within: Range | None = None, *, but: str = "") -> str | None:
        live = [parse_version(n) for n, v in self.versions.items() if v.deleted_at is None and n != but]
        found = newest(live) if within is None else max(filter(within.allows, live), default=None)
        return None if found is None else str(found)

    def buried(self, number: str) -> str | None:
        return self.graves.get(number)

    def alias(self, alias: str) -> Alias | None:
        last = self.last_move(alias)
        return None if last is None or last.after is None else placed(last)

    def aliases_of(self, number: str) -> Sequence[str]:
        return sorted(a for a in self.moves if (there := self.alias(a)) is not None and there.version == number)

    def last_move(self, alias: str) -> AliasMove | None:
        return self.moves[alias][-1] if self.moves.get(alias) else None

    def uses(self) -> Sequence[Use]:
        return [Use(model=name, reference=parse_pick("pat", pick)) for name, pick in self.served.items()]

    def keep(self, change: Change) -> None:
        if not change.events:
            return
        self.model = change.model
        self.versions |= {version.version: version for version in change.versions}
        for move in change.moves:
            self.moves.setdefault(move.alias, []).append(move)


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        made = registering.register("u", "default", "pat", About(), self.asked())
        self.shelf = Memory(made.model)
        self.first_bytes: dict[str, str] = {}

    def asked(self) -> Asked:
        self.now += timedelta(minutes=1)
        return Asked(actor="tester", reason="", at=self.now)

    def command(self, decide: Callable[[Memory], Change]) -> None:
        """Carry it out, or have it refused."""
        served = {registering.resolve(self.shelf, use.reference) for use in self.shelf.uses()}
        try:
            change = decide(self.shelf)
        except (Refused, NotFound):
            return
        self.shelf.keep(change)
        for number in served - {None}:
            assert number is not None
            assert self.shelf.versions[number].deleted_at is None, "what was served when it came is there still"

    @initialize()
    def begin(self) -> None:
        self.publish("1.0.0", "a")
        self.publish("1.1.0", "b")

    @rule(number=numbers, manifest=st.sampled_from("ab"))
    def publish(self, number: str, manifest: str) -> None:
        identity = Identity(content=Content(manifest=manifest, size=1, files=1))
        self.command(lambda shelf: registering.publish(shelf, number, identity, Notes(), self.asked()))

    @rule(number=numbers)
    def delete_version(self, number: str) -> None:
        self.command(lambda shelf: registering.delete_version(shelf, number, GRACE, self.asked()))

    @rule(number=numbers)
    def restore_version(self, number: str) -> None:
        self.command(lambda shelf: registering.restore_version(shelf, number, self.asked()))

    @rule(number=numbers)
    def purge_version(self, number: str) -> None:
        self.delete_version(number)
        version = self.shelf.versions.get(number)
        if version is not None and version.deleted_at is not None:
            self.shelf.graves[number] = self.shelf.versions.pop(number).identity.content.manifest

    @rule(alias=aliases, number=numbers)
    def move_alias(self, alias: str, number: str) -> None:
        self.command(lambda shelf: registering.move_alias(shelf, alias, number, self.asked()))

    @rule(alias=aliases)
    def roll_back_alias(self, alias: str) -> None:
        last = self.shelf.last_move(alias)
        self.command(lambda shelf: registering.roll_back_alias(shelf, alias, self.asked()))
        now = self.shelf.last_move(alias)
        if now is not last:
            assert last is not None
            assert now is not None
            assert (now.after, now.before, now.kind) == (last.before, last.after, "rollback")

    @rule(alias=aliases)
    def remove_alias(self, alias: str) -> None:
        self.command(lambda shelf: registering.remove_alias(shelf, alias, self.asked()))

    @rule(number=numbers)
    def delete_and_restore(self, number: str) -> None:
        """Nothing is done in between, so a history does not end with it."""
        self.command(lambda shelf: registering.delete(shelf, GRACE, self.asked()))
        gone = self.shelf.model
        if gone.deleted_at is None:
            return
        assert not self.shelf.served
        self.publish(number, "a")
        self.delete_version(number)
        self.restore_version(number)
        assert self.shelf.model is gone
        self.command(lambda shelf: registering.restore(shelf, self.asked()))

    @rule(name=st.sampled_from("xy"), source=st.sampled_from((*SOURCES, None)))
    def serve(self, name: str, source: str | None) -> None:
        if source is None:
            self.shelf.served.pop(name, None)
        else:
            self.shelf.served[name] = source

    @invariant()
    def latest_is_the_newest_version_there_is(self) -> None:
        latest = self.shelf.alias(LATEST)
        assert self.shelf.model.latest == (latest.version if latest else None) == self.shelf.highest()

    @invariant()
    def aliases_point_at_what_is_there(self) -> None:
        for alias in self.shelf.moves:
            there = self.shelf.alias(alias)
            assert there is None or self.shelf.versions[there.version].deleted_at is None

    @invariant()
    def each_move_follows_the_one_before(self) -> None:
        for moves in self.shelf.moves.values():
            assert [move.number for move in moves] == list(range(1, len(moves) + 1))
            assert [move.before for move in moves] == [None, *(move.after for move in moves[:-1])]
            assert all(move.before != move.after for move in moves)

    @invariant()
    def a_number_means_the_same_bytes_for_good(self) -> None:
        for number, version in self.shelf.versions.items():
            manifest = version.identity.content.manifest
            assert self.first_bytes.setdefault(number, manifest) == manifest


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


class Counting(Memory):
    """Of which it is counted how often a range is looked up."""

    looks = 0

    def highest(self, within: Range | None = None, *, but: str = "") -> str | None:
        self.looks += within is not None
        return super().highest(within, but=but)


def test_many_served_models_with_one_source_are_one_look_for_what_it_means() -> None:
    asked = Asked(actor="", reason="", at=START)
    shelf = Counting(registering.register("u", "default", "pat", About(), asked).model)
    for number in ("1.0.0", "1.1.0", "2.0.0"):
        identity = Identity(content=Content(manifest=number, size=1, files=1))
        shelf.keep(registering.publish(shelf, number, identity, Notes(), asked))
    shelf.served = {f"model-{i}": ("^1", "^2")[i % 2] for i in range(100)}
    with pytest.raises(Refused, match=r"pat@1\.1\.0 is served by model-0, model-10, .* and 45 more"):
        registering.delete_version(shelf, "1.1.0", GRACE, asked)
    assert shelf.looks == 2
    assert registering.delete_version(shelf, "1.0.0", GRACE, asked).events


def test_a_range_picks_the_highest_of_what_it_allows() -> None:
    shelf = Memory(registering.register("u", "default", "pat", About(), Asked(actor="", reason="", at=START)).model)
    identity = Identity(content=Content(manifest="a", size=1, files=1))
    for number in ("0.1.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0-a", "2.0.0-b", "2.0.0-b.1"):
        shelf.keep(registering.publish(shelf, number, identity, Notes(), Asked(actor="", reason="", at=START)))
    for pick, found in (
        ("^1", "1.10.0"),
        ("~1.0", "1.0.1"),
        (">=2.0.0-a", "2.0.0-b.1"),
        ("3", None),
        ("1.0.1", "1.0.1"),
    ):
        assert registering.resolve(shelf, parse_pick("pat", pick)) == found
        assert shelf.highest(parse_range(pick)) == found
