"""Schedules, as the blocking client has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelyard.client import schedule_calls as requests
from modelyard.client import schedule_types

if TYPE_CHECKING:
    from modelyard.client.sync import Modelyard


class Schedules:
    """When models run by themselves; ``namespace`` defaults to the client's."""

    def __init__(self, client: Modelyard) -> None:
        self._client = client

    def _ns(self, namespace: str | None) -> str:
        return namespace or self._client.namespace

    def get(self, name: str, *, namespace: str | None = None) -> schedule_types.Schedule:
        """Raises NotFound: the model has none."""
        return self._client.send(requests.get_schedule(self._ns(namespace), name))

    def save(
        self, name: str, schedule: Mapping[str, Any], *, namespace: str | None = None, reason: str = "",
        version: int | None = None,
    ) -> schedule_types.Schedule:  # fmt: skip
        """Make ``schedule`` the model's, for example ``{"type": "recurring", "timezone": "Europe/Berlin", "recurring":
        {"start": "08:00", "stop": "20:00"}}``; with ``version`` only if it still is at that one. It starts and stops
        nothing by itself."""
        return self._client.send(requests.save_schedule(self._ns(namespace), name, schedule, reason, version))

    def remove(self, name: str, *, namespace: str | None = None, reason: str = "") -> None:
        """The model stays as it is."""
        self._client.send(requests.remove_schedule(self._ns(namespace), name, reason))

    def enable(self, name: str, *, namespace: str | None = None, reason: str = "") -> schedule_types.Schedule:
        """Have it act again, from its next time on."""
        return self._client.send(requests.switch_schedule(self._ns(namespace), name, reason, on=True))

    def disable(self, name: str, *, namespace: str | None = None, reason: str = "") -> schedule_types.Schedule:
        """Keep it and have it do nothing."""
        return self._client.send(requests.switch_schedule(self._ns(namespace), name, reason, on=False))

    def extend(
        self, name: str, until: str, *, namespace: str | None = None, reason: str = ""
    ) -> schedule_types.Schedule:  # fmt: skip
        """Leave the model running until ``22:00`` today (in the schedule's zone) or until an instant, once."""
        return self._client.send(requests.extend_schedule(self._ns(namespace), name, until, reason))

    def end_extension(self, name: str, *, namespace: str | None = None, reason: str = "") -> schedule_types.Schedule:
        """A stop that it has put off already does not happen after all: the next one does."""
        return self._client.send(requests.end_extension(self._ns(namespace), name, reason))

    def status(self, name: str, *, namespace: str | None = None) -> schedule_types.ScheduleStatus:
        """What came of it and what is next; ``none`` where the model has no schedule."""
        return self._client.send(requests.schedule_status(self._ns(namespace), name))

    def preview(self, name: str, days: int = 14, *, namespace: str | None = None) -> schedule_types.SchedulePreview:
        """All that comes."""
        return self._client.send(requests.preview_schedule(self._ns(namespace), name, days))

    def export(self, name: str, *, namespace: str | None = None) -> str:
        """A year of its windows as iCalendar."""
        return self._client.send(requests.export_schedule(self._ns(namespace), name))
