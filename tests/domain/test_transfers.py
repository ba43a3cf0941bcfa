"""What becomes of transfers, whose turn it is, and how fast they are said to be."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.errors import Refused
from modelyard.domain.registry import Content, Identity, Notes
from modelyard.domain.transfers import (
    MAX_ATTEMPTS,
    WINDOW,
    Meter,
    Order,
    Phase,
    Transfer,
    TransferError,
    TransferKind,
    TransferState,
    advance,
    cancel,
    enter,
    fail,
    give_back,
    next_up,
    retry,
    succeed,
    take_up,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ORDER = Order(version="1.0.0", identity=Identity(content=Content(manifest="", size=0, files=0)), notes=Notes())
AWAY = TransferError(code="unavailable", message="The source is away.")


def transfer(number: int = 0, namespace: str = "default") -> Transfer:
    return Transfer(
        id=f"tr-{number:04}", kind=TransferKind.IMPORT, namespace=namespace, model="pat", source="https://host/file",
        order=ORDER, site="here", actor="admin", created_at=NOW + timedelta(seconds=number), updated_at=NOW,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- what becomes of one


def test_what_is_interrupted_five_times_is_given_up() -> None:
    one = transfer()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        # Killed each time: nobody has written that an attempt is over.
        one = take_up(one, f"claim-{attempt}", NOW)
        assert (one.state, one.attempt, one.phase) == (TransferState.RUNNING, attempt, Phase.FETCHING)
    over = take_up(one, "one more", NOW)
    assert over.state is TransferState.FAILED
    assert over.error is not None
    assert over.error.code == "too_many_attempts"
    assert over.ended_at == NOW


def test_what_fails_in_passing_is_tried_again_and_keeps_the_last_error() -> None:
    one = transfer()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        one = retry(take_up(one, "c", NOW), AWAY, NOW)
        assert one.error == AWAY
        assert one.state is (TransferState.FAILED if attempt == MAX_ATTEMPTS else TransferState.QUEUED)
    assert one.ended_at == NOW


def test_an_attempt_that_was_given_back_does_not_count() -> None:
    one = transfer()
    for _ in range(3 * MAX_ATTEMPTS):
        one = give_back(take_up(one, "c", NOW), NOW)
    assert (one.state, one.attempt, one.claim) == (TransferState.QUEUED, 0, "")


def test_what_is_stored_already_is_not_fetched_again() -> None:
    stored = replace(transfer(), manifest="sha256:" + "0" * 64)
    assert take_up(stored, "c", NOW).phase is Phase.PUBLISHING


def test_progress_never_goes_back_within_a_phase_and_begins_anew_with_the_next() -> None:
    one = advance(take_up(transfer(), "c", NOW), 50, 100, 10.0, NOW)
    assert advance(one, 30, 100, 10.0, NOW).done == 50
    assert one.seconds_left == 5.0
    after = enter(one, Phase.PUSHING, NOW)
    assert (after.done, after.total, after.seconds_left) == (0, None, None)


def test_one_that_has_succeeded_has_moved_all_of_the_version_and_is_in_no_phase() -> None:
    over = succeed(enter(take_up(transfer(), "c", NOW), Phase.PUBLISHING, NOW), NOW, 7)
    assert (over.phase, over.done, over.total, over.is_over) == (None, 7, 7, True)


def test_cancelling_says_no_to_what_is_over_and_to_what_is_as_good_as_done() -> None:
    running = take_up(transfer(), "c", NOW)
    cancelled = cancel(running, "admin", NOW)
    assert (cancelled.state, cancelled.claim) == (TransferState.CANCELLED, "")
    assert cancel(cancelled, "another", NOW) is cancelled
    for over in (succeed(running, NOW, 7), fail(running, AWAY, NOW)):
        with pytest.raises(Refused, match="already"):
            cancel(over, "admin", NOW)
    publishing = enter(running, Phase.PUBLISHING, NOW)
    with pytest.raises(Refused) as refused:
        cancel(publishing, "admin", NOW)
    assert refused.value.code == "publishing"
    assert cancel(retry(publishing, AWAY, NOW), "admin", NOW).is_over, "its bytes are gone, so it begins anew"
    stored = replace(publishing, manifest="sha256:" + "0" * 64)
    for waiting in (retry(stored, AWAY, NOW), give_back(stored, NOW)):
        with pytest.raises(Refused, match="or is already"):
            cancel(waiting, "admin", NOW)
    again = replace(retry(stored, AWAY, NOW), attempt=MAX_ATTEMPTS)
    error = take_up(again, "c", NOW).error
    assert error is not None
    assert "may be published already" in error.message


# ------------------------------------------------------------------------------------------- whose turn it is


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(1, 3))
def test_namespaces_take_turns_and_nobody_is_left_out(namespaces: list[str], room: int) -> None:
    waiting = [transfer(number, namespace) for number, namespace in enumerate(namespaces)]
    running: list[Transfer] = []
    began: dict[str, float] = {}
    order: list[Transfer] = []
    while waiting or running:
        while len(running) < room and (chosen := next_up(waiting, running, began)) is not None:
            waiting.remove(chosen)
            running.append(chosen)
            began[chosen.namespace] = len(order)
            order.append(chosen)
        running.pop(0)
    assert Counter(t.id for t in order) == Counter(t.id for t in map(transfer, range(len(namespaces))))
    for namespace in set(namespaces):
        own = [t.id for t in order if t.namespace == namespace]
        assert own == sorted(own), "of one namespace the oldest goes first"
        # While it waits, each other namespace begins at most two before its next.
        first = [t.namespace for t in order].index(namespace)
        assert first <= 2 * len(set(namespaces)), order


def test_one_that_asks_later_does_not_wait_for_all_of_another_namespace() -> None:
    many = [transfer(number, "many") for number in range(10)]
    late = transfer(99, "late")
    running = [many.pop(0), many.pop(0)]
    assert next_up([*many, late], running[:1], {"many": 2.0}) is late


# ------------------------------------------------------------------------------------------- how fast it is


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    assert meter.see(0.0, 0) == 0.0
    rates = [meter.see(float(second), 100 * second) for second in range(1, 20)]
    assert rates == [100.0] * 19
    faster = [meter.see(19.0 + second, 1900 + 1000 * second) for second in range(1, 8)]
    assert faster == sorted(faster)
    assert faster[-1] == 1000.0, "what was before the window counts no longer"


def test_a_stalled_transfer_soon_has_no_rate() -> None:
    meter = Meter()
    for second in range(10):
        meter.see(float(second), 100 * second)
    assert meter.see(9 + WINDOW / 2, 900) > 0
    assert meter.see(9 + 2 * WINDOW, 900) == 0.0


@given(st.lists(st.tuples(st.floats(0.01, 10), st.integers(0, 10**12)), min_size=1, max_size=50))
def test_a_rate_is_never_negative_nor_faster_than_the_fastest_piece(steps: list[tuple[float, int]]) -> None:
    meter, at, done, fastest = Meter(), 0.0, 0, 0.0
    meter.see(at, done)
    for seconds, size in steps:
        fastest = max(fastest, size / seconds)
        at, done = at + seconds, done + size
        assert 0 <= meter.see(at, done) <= fastest * (1 + 1e-6) + 1e-6
