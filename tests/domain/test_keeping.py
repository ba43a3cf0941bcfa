"""What makes room: never what is pinned, in use or young, and no more than must."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.keeping import Choice, Stays, Thing, Use, choose

BEFORE = 100.0

uses = st.builds(
    Use, used_at=st.none() | st.integers(0, 120).map(float), pinned=st.booleans(), wanted=st.booleans(),
    rank=st.integers(0, 2),
)  # fmt: skip
# Pieces have the same size wherever they are: five that may be shared, of which one costs nothing.
SIZES = {"a": 1, "b": 10, "c": 100, "d": 1000, "free": 0}


def thing(name: str, used_at: float | None, size: int = 10, **use: object) -> Thing[None]:
    return Thing(what=None, name=name, use=Use(used_at=used_at, **use), pieces={name: size})  # type: ignore[arg-type]


@st.composite
def many(draw: st.DrawFn) -> list[Thing[None]]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        pieces = {p: SIZES[p] for p in draw(st.sets(st.sampled_from(sorted(SIZES))))}
        own = draw(st.integers(0, 50))
        found.append(Thing(what=None, name=f"t{number}", use=draw(uses), pieces={**pieces, f"own {number}": own}))
    return found


def taken(things: Sequence[Thing[None]]) -> int:
    return sum({piece: size for one in things for piece, size in one.pieces.items()}.values())


def rest(things: Sequence[Thing[None]], choice: Choice[None]) -> list[Thing[None]]:
    gone = {one.name for one in choice.going}
    return [one for one in things if one.name not in gone]


@given(many(), st.none() | st.integers(0, 1500))
def test_what_is_pinned_in_use_or_young_never_goes_and_what_nobody_wants_always(
    things: list[Thing[None]], budget: int | None
) -> None:
    choice = choose(things, budget, BEFORE)
    assert all(one.use.stays(BEFORE) is None for one in choice.going)
    assert not [one for one in rest(things, choice) if not one.use.wanted and one.use.stays(BEFORE) is None]
    assert len({one.name for one in choice.going}) == len(choice.going)


@given(many(), st.none() | st.integers(0, 1500))
def test_what_is_left_is_what_the_others_take_and_fits_unless_it_is_said_why_not(
    things: list[Thing[None]], budget: int | None
) -> None:
    choice = choose(things, budget, BEFORE)
    left = rest(things, choice)
    assert choice.left == taken(left)
    assert choice.over == (0 if budget is None else max(choice.left - budget, 0))
    if choice.over:
        assert {one.name for one, _ in choice.kept} == {one.name for one in left if taken([one])}
        assert all(one.use.stays(BEFORE) is why for one, why in choice.kept)
    else:
        assert choice.kept == ()


@given(many(), st.integers(0, 1500))
def test_no_more_goes_than_must_and_in_the_order_of_its_turn(things: list[Thing[None]], budget: int) -> None:
    choice = choose(things, budget, BEFORE)
    turns = [(one.use.turn, one.name) for one in choice.going]
    assert turns == sorted(turns)
    wanted = [one for one in choice.going if one.use.wanted]
    if wanted:
        assert taken([*rest(things, choice), wanted[-1]]) > budget, "without the last one it would not have fitted"
    latest = max(((one.use.turn, one.name) for one in wanted), default=None)
    for one in rest(things, choice):
        if latest is not None and one.use.stays(BEFORE) is None and taken([one]):
            assert (one.use.turn, one.name) > latest, "nobody is passed over"


@given(many(), st.none() | st.integers(0, 1500), st.integers(0, 1500), st.randoms())
def test_a_smaller_budget_never_keeps_more_and_the_order_of_asking_makes_no_difference(
    things: list[Thing[None]], budget: int | None, less: int, random: object
) -> None:
    choice = choose(things, budget, BEFORE)
    shuffled = list(things)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(shuffled, budget, BEFORE) == choice
    smaller = choose(things, less if budget is None else min(budget, less), BEFORE)
    assert {one.name for one in choice.going} <= {one.name for one in smaller.going}


def test_what_nobody_wants_goes_before_what_was_not_used_for_longer() -> None:
    things = [thing("old", 1), thing("unwanted", 50, wanted=False), thing("new", 60)]
    assert [one.name for one in choose(things, 10, BEFORE).going] == ["unwanted", "old"]
    assert [one.name for one in choose(things, None, BEFORE).going] == ["unwanted"]


def test_rank_goes_before_age() -> None:
    things = [thing("important", 1, rank=1), thing("other", 50)]
    assert [one.name for one in choose(things, 10, BEFORE).going] == ["other"]


def test_it_says_what_takes_the_room_and_why() -> None:
    things = [thing("served", None), thing("pinned", 1, pinned=True), thing("young", 101), thing("old", 1)]
    choice = choose(things, 5, BEFORE)
    assert [one.name for one in choice.going] == ["old"]
    assert (choice.left, choice.over) == (30, 25)
    assert [(one.name, why) for one, why in choice.kept] == [
        ("pinned", Stays.PINNED), ("young", Stays.YOUNG), ("served", Stays.IN_USE),
    ]  # fmt: skip


def test_what_takes_nothing_does_not_go_for_the_rooms_sake() -> None:
    things = [thing("linked", 1, size=0), thing("copied", 2)]
    assert [one.name for one in choose(things, 0, BEFORE).going] == ["copied"]
