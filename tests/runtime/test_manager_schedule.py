"""Who is loaded next and who makes room, and how far a start has come: the pure rules."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.keeping import Thing, Use
from modelyard.runtime.manager.phases import NEXT, Facts, Phase, goal, path
from modelyard.runtime.manager.schedule import Evict, Leave, Load, Memory, Refuse, Start, decide, overflow


def thing(name: str, size: int, used_at: float | None = 1.0, *, pinned: bool = False, rank: int = 0) -> Thing[Any]:
    return Thing(what=name, name=name, use=Use(used_at=used_at, pinned=pinned, rank=rank), pieces={name: size})


def load(name: str, number: int = 0, **how: Any) -> Load:
    return Load(name=name, number=number, **how)


FREE = Memory()


def test_critical_models_come_first_and_alone() -> None:
    waiting = [load("asked", 0, asked=True), load("critical", 1, critical=True), load("ahead", 2, priority=9)]
    assert decide(waiting, [], FREE, 4) == Start("critical")
    assert decide([waiting[0], waiting[2]], [waiting[1]], FREE, 4) is None
    # Several critical ones share the slots that there are.
    assert decide([load("other", 3, critical=True)], [waiting[1]], FREE, 2) == Start("other")


def test_a_critical_load_that_takes_too_long_holds_nobody_up() -> None:
    hung = load("critical", 1, critical=True, overdue=True)
    assert decide([load("ahead")], [hung], FREE, 1) == Start("ahead")


def test_what_is_asked_for_does_not_wait_for_what_is_loaded_ahead() -> None:
    waiting = [load("ahead", 0, priority=5), load("asked", 1, asked=True)]
    assert decide(waiting, [], FREE, 1) == Start("asked")
    assert decide(waiting, [load("other")], FREE, 1) == Start("asked")
    assert decide(waiting, [load("other", asked=True)], FREE, 1) is None


def test_while_critical_models_give_their_first_answers_nothing_is_loaded_ahead() -> None:
    waiting = [load("ahead", 0, priority=5), load("asked", 1, asked=True)]
    assert decide(waiting, [], FREE, 1, calm=True) == Start("asked")
    assert decide(waiting[:1], [], FREE, 1, calm=True) is None


def test_of_what_is_loaded_ahead_the_priority_decides() -> None:
    waiting = [load("first", 0), load("second", 1), load("important", 2, priority=1)]
    assert decide(waiting, [], FREE, 1) == Start("important")
    assert decide(waiting[:2], [], FREE, 1) == Start("first")


def test_the_least_recently_used_goes_and_what_is_pinned_or_in_use_stays() -> None:
    held = [thing("pinned", 3, 0.0, pinned=True), thing("used", 3, None), thing("old", 3, 1.0), thing("new", 3, 2.0)]
    step = decide([load("m", asked=True, need=3)], [], Memory(budget=12, held=held), 1)
    assert isinstance(step, Evict)
    assert [gone.name for gone in step.things] == ["old"]


def test_what_is_loaded_ahead_drives_nobody_out() -> None:
    memory = Memory(budget=4, held=[thing("old", 3)])
    assert decide([load("m", need=3)], [], memory, 1) == Leave("m")


def test_one_that_cannot_fit_is_refused_and_one_that_has_to_wait_waits() -> None:
    pinned = thing("pinned", 3, pinned=True)
    assert decide([load("m", asked=True, need=8)], [], Memory(budget=10, held=[pinned]), 1) == Refuse("m", 8, 3)
    assert decide([load("m", asked=True, need=8)], [], Memory(budget=10, held=[thing("used", 3, None)]), 1) is None
    # Its own old one serves until the new one is there.
    assert decide([load("m", asked=True, need=6)], [], Memory(budget=10, held=[thing("m", 6)]), 1) == Refuse("m", 6, 6)


def test_room_that_is_about_to_be_free_is_left_to_whom_it_was_made_for() -> None:
    memory = Memory(budget=10, held=[], closing=8)
    waiting = [load("large", 0, asked=True, need=8), load("small", 1, asked=True, need=2)]
    assert decide(waiting, [], memory, 2) == Start("small")
    waiting = [load("large", 0, asked=True, need=9), load("small", 1, asked=True, need=2)]
    assert decide(waiting, [], memory, 2) is None


def test_what_nobody_knows_the_size_of_is_loaded_alone() -> None:
    memory = Memory(budget=10)
    unknown = load("unknown", asked=True)
    assert decide([unknown], [load("other", need=1)], memory, 4) is None
    assert decide([load("other", asked=True, need=1)], [unknown], memory, 4) is None
    assert decide([unknown], [], memory, 4) == Start("unknown")


sizes = st.integers(0, 6)
uses = st.one_of(st.none(), st.floats(0, 9))


@given(
    held=st.lists(st.tuples(sizes, uses, st.booleans(), st.integers(0, 2)), max_size=5),
    waiting=st.lists(st.tuples(sizes, st.booleans(), st.booleans(), st.integers(0, 2)), min_size=1, max_size=5),
    loading=st.lists(sizes, max_size=2),
    budget=st.integers(0, 20),
    closing=sizes,
)
def test_a_decision_keeps_the_budget_and_touches_nothing_that_stays(
    held: list[Any], waiting: list[Any], loading: list[int], budget: int, closing: int
) -> None:
    things = [thing(f"h{n}", size, at, pinned=pin, rank=rank) for n, (size, at, pin, rank) in enumerate(held)]
    wanted = [
        load(f"w{n}", n, need=need, asked=asked, critical=critical, priority=priority)
        for n, (need, asked, critical, priority) in enumerate(waiting)
    ]
    under_way = [load(f"l{n}", need=need) for n, need in enumerate(loading)]
    memory = Memory(budget=budget, held=things, closing=closing)
    step = decide(wanted, under_way, memory, 3)
    by_name = {one.name: one for one in wanted}
    taken = sum(size for size, *_ in held) + closing + sum(loading)
    match step:
        case Start(name):
            assert taken + by_name[name].need <= budget
        case Evict(name, going):
            assert all(one.use.used_at is not None and not one.use.pinned for one in going)
            assert by_name[name].asked or by_name[name].critical
            assert by_name[name].need <= budget - sum(loading)
        case Refuse(name, need, _):
            assert need > budget - sum(size for size, _, pin, _ in held if pin)
        case Leave(name):
            assert not by_name[name].asked
    gone = overflow(memory, under_way)
    assert all(one.use.used_at is not None and not one.use.pinned for one in gone)


def test_a_start_passes_through_every_phase_and_goes_back_only_to_what_is_missing() -> None:
    assert path(Phase.INIT, Phase.FULLY_READY) == (
        Phase.CORE_READY, Phase.MODELS_LOADING, Phase.MODELS_READY, Phase.FULLY_READY,
    )  # fmt: skip
    assert path(Phase.FULLY_READY, Phase.MODELS_LOADING) == (Phase.MODELS_LOADING,)
    assert path(Phase.FULLY_READY, Phase.INIT) == ()
    assert path(Phase.STOPPED, Phase.CORE_READY) == ()


@pytest.mark.parametrize(("here", "there"), list(itertools.product(Phase, Phase)))
def test_every_step_of_a_path_is_one_of_the_table(here: Phase, there: Phase) -> None:
    passed = path(here, there)
    for before, after in itertools.pairwise((here, *passed)):
        assert after in NEXT[before]
    assert not passed or passed[-1] is there


@pytest.mark.parametrize(
    ("serving", "begun", "critical", "everything", "expected"),
    [
        (None, False, True, True, Phase.INIT),
        (True, False, True, True, Phase.CORE_READY),
        (True, True, False, False, Phase.MODELS_LOADING),
        (True, True, True, False, Phase.MODELS_READY),
        (True, True, True, True, Phase.FULLY_READY),
        (False, True, True, True, Phase.STOPPED),
    ],
)
def test_facts_come_to_a_phase(
    serving: bool | None, begun: bool, critical: bool, everything: bool, expected: Phase
) -> None:
    facts = Facts(serving=serving, begun=begun, critical_ready=critical, all_ready=everything)
    assert goal(facts) is expected
