"""The transition table is whole: every state answers every command."""

from __future__ import annotations

import itertools

import pytest

from modelyard.domain.errors import Refused
from modelyard.domain.states import TRANSITIONS, Command, Move, Refusal, State, allowed_commands, decide


@pytest.mark.parametrize(("state", "command"), list(itertools.product(State, Command)))
def test_every_state_answers_every_command(state: State, command: Command) -> None:
    assert (state, command) in TRANSITIONS


@pytest.mark.parametrize("state", [s for s in State if s is not State.DELETING])
def test_stop_is_taken_in_every_state(state: State) -> None:
    assert decide(state, Command.STOP) in (State.STOPPING, State.STOPPED)


@pytest.mark.parametrize("state", list(State))
def test_delete_is_taken_in_every_state(state: State) -> None:
    assert decide(state, Command.DELETE) is State.DELETING


@pytest.mark.parametrize(("pair", "outcome"), list(TRANSITIONS.items()))
def test_a_refusal_says_what_to_do_and_what_is_allowed(pair: tuple[State, Command], outcome: Move | Refusal) -> None:
    state, command = pair
    if isinstance(outcome, Move):
        assert command in allowed_commands(state)
        return
    with pytest.raises(Refused) as refusal:
        decide(state, command)
    assert refusal.value.code == outcome.code
    assert outcome.message.endswith(".")
    assert refusal.value.allowed == tuple(str(c) for c in allowed_commands(state))
    assert command not in refusal.value.allowed
