"""What a follower of changes is sent beside models and events, and the table of the life cycle."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelyard.domain.states import Command, State


class ModelGone(BaseModel):
    """A model that is no more, or not there any more for the caller."""

    uid: str
    namespace: str
    name: str


class CommandOutcome(BaseModel):
    """What comes of a command in a state."""

    to: State | None = Field(None, description="The state that it leads to; null: it is refused.")
    code: str | None = Field(None, description="Why it is refused.")
    message: str | None = None


class Lifecycle(BaseModel):
    states: dict[State, dict[Command, CommandOutcome]]
