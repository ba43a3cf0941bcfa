"""What the counts of the gateway say of the time that has just passed."""

from __future__ import annotations

import asyncio
import time

import pytest

from modelyard.control.answers import AnswerBook
from modelyard.control.pace import Pace
from modelyard.control.ports import Answered, Load, Loads
from modelyard.control.traffic import TrafficBook

WINDOW = 300.0


class Told:
    """A book, a clock, and a gateway that tells."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.traffic = TrafficBook()
        self.book = AnswerBook(self.traffic, lambda: self.now)

    async def after(self, seconds: float, answers: int | None = None, errors: int = 0, gateway: str = "g") -> None:
        """Look then; ``answers`` and ``errors`` since the gateway began (None: nothing has changed)."""
        self.now += seconds
        loads = []
        if answers is not None:
            answered = Answered(answers=answers, errors=errors, buckets=(answers, *[0] * 16))
            loads = [Load(uid="u", requests=0, busy=0.0, in_flight=0, waiting=0, quiet=0.0, answered=answered)]
        self.traffic.take(Loads(gateway=gateway, at=self.now, models=tuple(loads)))
        await self.book.look(WINDOW)

    def within(self, window: float = WINDOW) -> tuple[int, int, bool]:
        found, whole = self.book.within("u", window)
        return found.answers, found.errors, whole


@pytest.fixture
async def told() -> Told:
    """Of 500 answers before anybody looked."""
    made = Told()
    await made.after(0, 500, 400)
    return made


async def test_only_what_was_answered_within_the_window_counts_and_it_is_said_when_not_all_is_known(told: Told) -> None:
    assert told.within() == (0, 0, False)
    await told.after(15, 520, 410)
    assert told.within() == (20, 10, False)
    await told.after(285, 530, 410)
    assert told.within() == (30, 10, True)
    await told.after(15)
    assert told.within() == (10, 0, True)
    assert list(told.book.active()) == ["u"]
    await told.after(300)
    assert told.within() == (0, 0, True)
    assert list(told.book.active()) == []
    await told.after(15, 531, 411)
    assert told.within() == (1, 1, True)


async def test_what_was_answered_before_a_stop_says_nothing_of_the_model_that_starts_again(told: Told) -> None:
    await told.after(15, 600, 500)
    told.book.begin_anew("u")
    await told.after(15, 605, 501)
    assert told.within()[:2] == (5, 1)


async def test_another_gateway_counts_from_nought_and_what_it_has_counted_is_of_no_known_time(told: Told) -> None:
    await told.after(400, 600, 500)
    await told.after(15, 7, 7, gateway="next")
    assert told.within() == (0, 0, False)
    await told.after(15, 9, 8, gateway="next")
    assert told.within() == (2, 1, False)


async def test_while_no_rule_asks_nothing_is_kept(told: Told) -> None:
    await told.after(15, 600, 500)
    await told.book.look(0.0)
    assert list(told.book.active()) == []
    assert told.within() == (0, 0, False)


async def test_long_work_leaves_others_their_turns() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await asyncio.sleep(0)
    pace = Pace()
    for _ in range(20):
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass
        await pace.step()
    beside.cancel()
    assert turns >= 10
