"""The requests on schedules as values: no I/O, shared by both clients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from modelyard.client import schedule_types, types
from modelyard.client.calls import READ, Call, get, model_path, post, query, write

_schedule = partial(types.parse, schedule_types.Schedule)


def get_schedule(namespace: str, name: str) -> Call[schedule_types.Schedule]:
    return get(model_path(namespace, name, "schedule"), _schedule)


def save_schedule(
    namespace: str, name: str, schedule: Mapping[str, Any], reason: str, version: int | None
) -> Call[schedule_types.Schedule]:
    body = {**schedule, "reason": reason} if reason else dict(schedule)
    return write("PUT", model_path(namespace, name, "schedule"), _schedule, body, version)


def remove_schedule(namespace: str, name: str, reason: str) -> Call[None]:
    path = model_path(namespace, name, "schedule")
    return Call(method="DELETE", path=path, read=lambda _: None, params=query({"reason": reason}), repeatable=False)


def switch_schedule(namespace: str, name: str, reason: str, *, on: bool) -> Call[schedule_types.Schedule]:
    verb = "enable" if on else "disable"
    return post(model_path(namespace, name, "schedule", verb), _schedule, {"reason": reason})


def extend_schedule(namespace: str, name: str, until: str, reason: str) -> Call[schedule_types.Schedule]:
    body = {"until": until, "reason": reason}
    return post(model_path(namespace, name, "schedule", "extend"), _schedule, body)


def end_extension(namespace: str, name: str, reason: str) -> Call[schedule_types.Schedule]:
    path = model_path(namespace, name, "schedule", "extend")
    return Call(method="DELETE", path=path, read=_schedule, params=query({"reason": reason}), repeatable=False)


def schedule_status(namespace: str, name: str) -> Call[schedule_types.ScheduleStatus]:
    parse = partial(types.parse, schedule_types.ScheduleStatus)
    return get(model_path(namespace, name, "schedule", "status"), parse)


def preview_schedule(namespace: str, name: str, days: int) -> Call[schedule_types.SchedulePreview]:
    parse = partial(types.parse, schedule_types.SchedulePreview)
    return get(model_path(namespace, name, "schedule", "preview"), parse, READ, days=days)


def export_schedule(namespace: str, name: str) -> Call[str]:
    return Call(method="GET", path=model_path(namespace, name, "schedule.ics"), read=str, decode=bytes.decode)
