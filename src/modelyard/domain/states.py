"""The states a model can be in and what each command means in each of them.

The table is data: every (state, command) pair is either a transition or a refusal with a stable
code, a sentence that says what to do instead, and the commands that are allowed now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelyard.domain.errors import Refused


class RunState(StrEnum):
    """What start and stop set. Never part of the spec, so neither makes a generation."""

    RUNNING = "running"
    STOPPED = "stopped"


class State(StrEnum):
    """What users see."""

    STOPPED = "stopped"  # verified: no instance is left, what it held is free
    QUEUED = "queued"  # wants to run, does not fit yet
    STARTING = "starting"  # instances are being launched or loaded, none serves yet
    RUNNING = "running"  # serves
    UPDATING = "updating"  # serves, while instances are being replaced
    STOPPING = "stopping"  # refuses new requests; instances are still there
    IDLE = "idle"  # scaled to zero, wakes on request
    ERROR = "error"  # wants to run and cannot; the reason stands beside it
    DELETING = "deleting"  # as stopping, and then forgotten


# How the message of a model begins to say that the window of a policy keeps it stopped, and until when.
SHUT_DOWN: Final = "Shut down by policy"


class Command(StrEnum):
    """What users ask of a model."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    UPDATE = "update"
    REDEPLOY = "redeploy"
    TERMINATE = "terminate"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Move:
    """The command is taken; the model goes to ``to``. A move to the same state repeats nothing."""

    to: State


@dataclass(frozen=True, slots=True)
class Refusal:
    """The command is not taken (HTTP 409)."""

    code: str
    message: str


_STOP, _DELETE = Move(State.STOPPING), Move(State.DELETING)
_NOTHING_RUNS = Refusal("not_running", "The model has no instance now.")
_UPDATING = Refusal(
    "update_in_progress",
    "Instances are being replaced already. Wait for that to finish, cancel or force the rollout, or stop the model.",
)
_DELETING = Refusal("deleting", "The model is being deleted. Create it again once it is gone.")
_STOP_IN_PROGRESS = Refusal(
    "stop_in_progress",
    "A stop is under way and always finishes. Wait until the model is stopped, then start it.",
)

TRANSITIONS: Mapping[tuple[State, Command], Move | Refusal] = {
    (State.STOPPED, Command.START): Move(State.STARTING),
    (State.STOPPED, Command.STOP): Move(State.STOPPED),
    (State.STOPPED, Command.RESTART): Refusal("not_running", "The model is stopped. Use start."),
    (State.STOPPED, Command.UPDATE): Move(State.STOPPED),
    (State.STOPPED, Command.REDEPLOY): Move(State.STOPPED),
    (State.STOPPED, Command.TERMINATE): _NOTHING_RUNS,
    (State.STOPPED, Command.DELETE): _DELETE,
    (State.QUEUED, Command.START): Refusal(
        "already_queued", "The model already waits for capacity. Free some, or stop it to give up its place."
    ),
    (State.QUEUED, Command.STOP): _STOP,
    (State.QUEUED, Command.RESTART): Refusal("not_running", "The model waits for capacity: nothing runs yet."),
    (State.QUEUED, Command.UPDATE): Move(State.STARTING),
    (State.QUEUED, Command.REDEPLOY): Move(State.STARTING),
    (State.QUEUED, Command.TERMINATE): _NOTHING_RUNS,
    (State.QUEUED, Command.DELETE): _DELETE,
    (State.STARTING, Command.START): Refusal("already_starting", "The model is starting. Wait for it, or stop it."),
    (State.STARTING, Command.STOP): _STOP,
    (State.STARTING, Command.RESTART): Move(State.STARTING),
    (State.STARTING, Command.UPDATE): Move(State.STARTING),
    (State.STARTING, Command.REDEPLOY): Move(State.STARTING),
    (State.STARTING, Command.TERMINATE): Move(State.STARTING),
    (State.STARTING, Command.DELETE): _DELETE,
    (State.RUNNING, Command.START): Refusal("already_running", "The model is running. Use restart for new instances."),
    (State.RUNNING, Command.STOP): _STOP,
    (State.RUNNING, Command.RESTART): Move(State.UPDATING),
    (State.RUNNING, Command.UPDATE): Move(State.UPDATING),
    (State.RUNNING, Command.REDEPLOY): Move(State.UPDATING),
    (State.RUNNING, Command.TERMINATE): Move(State.RUNNING),
    (State.RUNNING, Command.DELETE): _DELETE,
    (State.UPDATING, Command.START): Refusal("already_running", "The model is running; an update of it is under way."),
    (State.UPDATING, Command.STOP): _STOP,
    (State.UPDATING, Command.RESTART): Refusal(
        "update_in_progress", "Instances are being replaced already. Wait for the update to finish, or stop the model."
    ),
    (State.UPDATING, Command.UPDATE): Refusal(
        "update_in_progress", "An update is under way. Wait for it to finish, or cancel its operation first."
    ),
    (State.UPDATING, Command.REDEPLOY): _UPDATING,
    (State.UPDATING, Command.TERMINATE): Move(State.UPDATING),
    (State.UPDATING, Command.DELETE): _DELETE,
    (State.STOPPING, Command.START): _STOP_IN_PROGRESS,
    (State.STOPPING, Command.STOP): _STOP,
    (State.STOPPING, Command.RESTART): _STOP_IN_PROGRESS,
    (State.STOPPING, Command.UPDATE): Move(State.STOPPING),
    (State.STOPPING, Command.REDEPLOY): Move(State.STOPPING),
    (State.STOPPING, Command.TERMINATE): _STOP_IN_PROGRESS,
    (State.STOPPING, Command.DELETE): _DELETE,
    (State.IDLE, Command.START): Move(State.STARTING),
    (State.IDLE, Command.STOP): _STOP,
    (State.IDLE, Command.RESTART): Refusal("not_running", "The model is idle: nothing runs. Use start."),
    (State.IDLE, Command.UPDATE): Move(State.IDLE),
    (State.IDLE, Command.REDEPLOY): Move(State.IDLE),
    (State.IDLE, Command.TERMINATE): _NOTHING_RUNS,
    (State.IDLE, Command.DELETE): _DELETE,
    (State.ERROR, Command.START): Move(State.STARTING),
    (State.ERROR, Command.STOP): _STOP,
    (State.ERROR, Command.RESTART): Move(State.STARTING),
    (State.ERROR, Command.UPDATE): Move(State.STARTING),
    (State.ERROR, Command.REDEPLOY): Move(State.STARTING),
    (State.ERROR, Command.TERMINATE): Move(State.ERROR),
    (State.ERROR, Command.DELETE): _DELETE,
    (State.DELETING, Command.START): _DELETING,
    (State.DELETING, Command.STOP): _DELETING,
    (State.DELETING, Command.RESTART): _DELETING,
    (State.DELETING, Command.UPDATE): _DELETING,
    (State.DELETING, Command.REDEPLOY): _DELETING,
    (State.DELETING, Command.TERMINATE): _DELETING,
    (State.DELETING, Command.DELETE): _DELETE,
}  # fmt: skip


def allowed_commands(state: State) -> tuple[Command, ...]:
    """The commands that are taken in ``state``, in the order of :class:`Command`."""
    return tuple(c for c in Command if isinstance(TRANSITIONS[state, c], Move))


def decide(state: State, command: Command) -> State:
    """The state that ``command`` leads to.

    Raises:
        Refused: with the table's code and sentence, and the commands that are allowed now.
    """
    outcome = TRANSITIONS[state, command]
    if isinstance(outcome, Refusal):
        raise Refused(outcome.code, outcome.message, [str(c) for c in allowed_commands(state)])
    return outcome.to
