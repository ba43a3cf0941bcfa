"""Who may launch next: two models must not both be promised the same free memory."""

from __future__ import annotations

import asyncio

from modelyard.domain.model import Model
from modelyard.domain.observation import Capacity
from modelyard.domain.states import RunState

# What the plan of a model that reserves nothing may count on: it fits everywhere.
UNLIMITED = Capacity(memory=0)


class Admission:
    """One pass at a time through the ``door`` among the models that reserve something.

    The backend counts an instance as soon as ``converge`` has returned, so holding the door from the
    look at the capacity until then suffices.
    """

    def __init__(self) -> None:
        self.door = asyncio.Lock()


def reserves(model: Model) -> bool:
    return model.desired is RunState.RUNNING and model.target_spec.resources.memory is not None
