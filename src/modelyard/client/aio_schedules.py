"""Schedules, as the asynchronous client has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelyard.client import schedule_calls as requests
from modelyard.client import schedule_types

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard


class AsyncSchedules:
    """When models run by themselves; ``namespace`` defaults to the client's."""

    def __init__(self, client: AsyncModelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    async def get(self, name: str, *, namespace: str | None = None) -> schedule_types.Schedule:
        """Raises NotFound: the model has none."""
        return await self._client.send(requests.get_schedule(self._ns(namespace), name))

    async def save(
        self, name: str, schedule: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        version: int | None = None,
    ) -> schedule_types.Schedule:  # fmt: skip
        """Make ``schedule`` the model's, for example ``{"type": "recurring", "timezone": "Europe/Berlin", "recurring":
        {"start": "08:00", "stop": "20:00"}}``; with ``version`` only if it still is at that one. It starts and stops
        nothing by itself."""
        return await self._client.send(requests.save_schedule(self._ns(namespace), name, schedule, reason, version))

    async def remove(self, name: str, *, namespace: str | None = None, reason: str = "") -> None:
        """The model stays as it is."""
        await self._client.send(requests.remove_schedule(self._ns(namespace), name, reason))

    async def enable(self, name: str, *, namespace: str | None = None, reason: str = "") -> schedule_types.Schedule:
        """Have it act again, from its next time on."""
        return await self._client.send(requests.switch_schedule(self._ns(namespace), name, reason, on=True))

    async def disable(self, name: str, *, namespace: str | None = None, reason: str = "") -> schedule_types.Schedule:
        """Keep it and have it do nothing."""
        return await self._client.send(requests.switch_schedule(self._ns(namespace), name, reason, on=False))

    async def extend(
        self, name: str, until: str, *, namespace: str | None = None, reason: str = ""
    ) -> schedule_types.Schedule:  # fmt: skip
        """Leave the model running until ``22:00`` today (in the schedule's zone) or until an instant, once."""
        return await self._client.send(requests.extend_schedule(self._ns(namespace), name, until, reason))

    async def end_extension(
        self, name: str, *, namespace: str | None = None, reason: str = ""
    ) -> schedule_types.Schedule:  # fmt: skip
        """A stop that it has put off already does not happen after all: the next one does."""
        return await self._client.send(requests.end_extension(self._ns(namespace), name, reason))

    async def status(self, name: str, *, namespace: str | None = None) -> schedule_types.ScheduleStatus:
        """What came of it and what is next; ``none`` where the model has no schedule."""
        return await self._client.send(requests.schedule_status(self._ns(namespace), name))

    async def preview(
        self, name: str, days: int = 14, *, namespace: str | None = None
    ) -> schedule_types.SchedulePreview:  # fmt: skip
        """All that comes."""
        return await self._client.send(requests.preview_schedule(self._ns(namespace), name, days))

    async def export(self, name: str, *, namespace: str | None = None) -> str:
        """A year of its windows as iCalendar."""
        return await self._client.send(requests.export_schedule(self._ns(namespace), name))
