"""The gateway's counts of arms, as evidence for a canary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from modelyard.control.ports import ArmLoad, CanaryShare, Load, Loads
from modelyard.control.traffic import TrafficBook, canary_share
from modelyard.domain.model import CanaryProgress, Rollout, Target

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ROLLOUT = Rollout(
    before=Target(1), after=Target(2), began_at=NOW, progressed_at=NOW,
    canary=CanaryProgress(wanted=25, percent=5, since=NOW, mark=3),
)  # fmt: skip


def arm(name: str, requests: int, mark: int = 3, kind: str = "revision") -> ArmLoad:
    return ArmLoad(kind=kind, name=name, mark=mark, requests=requests, errors=1, seconds=2.0, buckets=(requests,))


def report(book: TrafficBook, *arms: ArmLoad, gateway: str = "g1") -> None:
    load = Load(uid="m", requests=9, busy=0.0, in_flight=0, waiting=0, quiet=0.0, arms=arms)
    book.take(Loads(gateway=gateway, at=1.0, models=(load,)))


def test_both_revisions_of_one_step_are_evidence() -> None:
    book = TrafficBook()
    assert book.evidence("m", ROLLOUT) is None
    report(book, arm("1", 95), arm("2", 5), arm("other", 7, kind="model"))
    found = book.evidence("m", ROLLOUT)
    assert found is not None
    assert (found.mark, found.old.requests, found.new.requests, found.new.failed) == (3, 95, 5, 1)
    assert book.evidence("other", ROLLOUT) is None


def test_half_of_the_evidence_and_that_of_two_steps_is_none() -> None:
    book = TrafficBook()
    report(book, arm("1", 95))
    assert book.evidence("m", ROLLOUT) is None
    report(book, arm("1", 95), arm("2", 5, mark=2))
    assert book.evidence("m", ROLLOUT) is None


def test_a_new_gateways_counts_are_not_added_to_the_old_ones() -> None:
    book = TrafficBook()
    report(book, arm("1", 95), arm("2", 5))
    book.take(Loads(gateway="g2", at=0.0, models=()))
    assert book.arms("m") == ()


def test_without_a_canary_there_is_neither_evidence_nor_a_share() -> None:
    book = TrafficBook()
    report(book, arm("1", 95), arm("2", 5))
    assert ROLLOUT.canary is not None
    for over in (
        replace(ROLLOUT, canary=None), replace(ROLLOUT, forced=True),
        replace(ROLLOUT, canary=replace(ROLLOUT.canary, promoted=True)), None,
    ):  # fmt: skip
        assert book.evidence("m", over) is None
        assert canary_share(over) is None
    assert canary_share(ROLLOUT) == CanaryShare(before=1, after=2, percent=5, mark=3)
    book.forget("m")
    assert book.arms("m") == ()
