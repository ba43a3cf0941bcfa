"""What schedules need of a store and of calendars. Writes of them are part of the changes of their models
(:attr:`modelyard.domain.commands.Change.schedule`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from modelyard.control.ports import Idempotency
from modelyard.domain.model import ModelRef
from modelyard.domain.scheduling import ModelSchedule


class ScheduleStore(Protocol):
    async def get(self, uid: str) -> ModelSchedule | None:
        """That of the model ``uid``."""

    async def of(self, uids: Collection[str]) -> Mapping[str, ModelSchedule]:
        """Those of the models that have one."""

    async def chunk(self, site: str, after: str, size: int) -> Sequence[ModelSchedule]:
        """The ``size`` enabled ones of the site's models that follow the uid ``after``."""

    async def edits(self, site: str) -> Mapping[str, int]:
        """How often each enabled one of the site's models was changed by users: cheap, so that whoever keeps
        schedules at hand can find out which are others now."""

    async def commanded_since(self, model: ModelRef, at: datetime) -> bool:
        """Whether anybody but its schedule has had the model started or stopped at that time or later."""

    async def recall(self, idempotency: Idempotency) -> bool:
        """Whether a request with this key has changed a schedule before. Raises IdempotencyMismatch."""
