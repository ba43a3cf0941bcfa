"""Schedules through the API: what is saved, what is refused, what is told of what comes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
import sqlalchemy as sa

from modelyard.control import holidays
from modelyard.domain.commands import Change
from modelyard.domain.schedules import ScheduledAction
from modelyard.domain.scheduling import ScheduleChange
from modelyard.store import SqlStore
from modelyard.store.tables import operations
from tests.api.conftest import Api

OFFICE = {"type": "recurring", "timezone": "Europe/Berlin", "recurring": {"start": "08:00", "stop": "20:00"}}
SCHEDULE = "/models/m/schedule"
LONG = timedelta(days=30)


async def put(api: Api, body: dict[str, Any], path: str = SCHEDULE, **headers: str) -> httpx2.Response:
    return await api.http.put(f"/api/v1{path}", json=body, headers=headers)


def errors(answer: httpx2.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {error["path"]: error["code"] for error in answer.json()["errors"]}


async def test_a_schedule_is_saved_shown_guarded_and_removed(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    assert (await api.get(f"{SCHEDULE}/status"))["status"] == "none"
    missing = await api.http.get(f"/api/v1{SCHEDULE}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert missing.json()["detail"] == "Model 'm' has no schedule. Save one with PUT."
    saved = await put(api, OFFICE)
    first = saved.json()["version"]
    assert (saved.status_code, saved.headers["etag"]) == (200, f'"{first}"')
    again = await put(api, {**OFFICE, "enabled": False}, **{"If-Match": f'"{first}"'})
    assert (again.json()["version"], again.json()["enabled"]) == (first + 1, False)
    stale = await put(api, OFFICE, **{"If-Match": f'"{first}"'})
    assert stale.status_code == 412
    enabled = await api.post(f"{SCHEDULE}/enable", **{"Idempotency-Key": "once"})
    repeated = await api.post(f"{SCHEDULE}/enable", **{"Idempotency-Key": "once"})
    assert (enabled.json()["version"], repeated.json()["version"]) == (first + 2, first + 2)
    shown = await api.get("/namespaces/default/models/m/schedule")
    assert (shown["recurring"], shown["daily"], shown["last_update"]["by"]) == (OFFICE["recurring"], {}, "admin")
    assert await api.state("m") == "stopped"
    assert (await api.http.delete(f"/api/v1{SCHEDULE}")).status_code == 204
    assert (await api.http.get(f"/api/v1{SCHEDULE}")).status_code == 404
    assert (await api.get(f"{SCHEDULE}/status"))["next_action"] is None
    changes = [entry["change"].get("fields", {}) for entry in (await api.get("/audit"))["items"]]
    assert [fields["schedule.enabled"] for fields in changes if "schedule.enabled" in fields] == [
        {"before": False, "after": True}, {"before": True, "after": False},
    ]  # fmt: skip
    told = [e["type"] for e in (await api.get("/models/m/events"))["items"] if e["type"].startswith("Schedule")]
    assert told == ["ScheduleRemoved", "ScheduleEnabled", "ScheduleSaved", "ScheduleSaved"]


async def test_what_was_answered_can_be_saved_again_with_all_that_is_special(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    body = {
        "type": "daily",
        "timezone": "America/New_York",
        "daily": {"monday": {"start": "00:00", "stop": "24:00"}, "friday": {"start": "09:30", "stop": "11:30"}},
        "exceptions": [
            {"date": "2030-01-04", "window": {"start": "10:00", "stop": "12:00"}, "note": "Late"},
            {"from": "2030-12-24", "to": "2030-12-31", "note": "Closed"},
        ],
        "holidays": {"country": "US", "subdivision": "NY"},
    }
    shown = (await put(api, body)).json()
    assert shown["exceptions"][1] == {
        "date": None, "from": "2030-12-24", "to": "2030-12-31", "window": None, "note": "Closed"
    }  # fmt: skip
    sent = {key: shown[key] for key in (*body, "enabled")}
    again = (await put(api, sent)).json()
    assert {**again, "version": shown["version"], "last_update": None} == {**shown, "last_update": None}


async def test_everything_that_is_wrong_is_said_at_once(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    refused = await put(
        api,
        {
            "type": "daily",
            "timezone": "Europe/Berln",
            "daily": {
                "monday": {"start": "8", "stop": "20:00"},
                "tuesday": {"start": "08:00", "stop": "09:00"},
                "friday": {"start": "20:00", "stop": "06:00"},
            },
            "exceptions": [{"note": "when?"}, {"date": "2030-02-30"}],
            "holidays": {"country": "XX"},
        },
    )
    assert errors(refused) == {
        "timezone": "unknown_timezone", "daily.monday.start": "invalid_value", "daily.tuesday.stop": "too_short",
        "daily.friday.stop": "over_midnight", "exceptions[0]": "required", "exceptions[1].date": "invalid_value",
        "holidays.country": "unknown_country",
    }  # fmt: skip
    hint = next(e["message"] for e in refused.json()["errors"] if e["path"] == "daily.friday.stop")
    assert "friday 20:00 to 24:00 and saturday 00:00 to 06:00" in hint
    night = {"type": "daily", "timezone": "UTC", "daily": {"friday": {"start": "20:00", "stop": "06:00"}}}
    split = (await put(api, {**night, "split": True})).json()
    assert split["daily"] == {
        "friday": {"start": "20:00", "stop": "24:00"}, "saturday": {"start": "00:00", "stop": "06:00"}
    }  # fmt: skip
    assert errors(await put(api, {"type": "recurring", "timezone": "UTC"})) == {"recurring": "required"}
    assert errors(await api.post(f"{SCHEDULE}/extend", {"until": "later"})) == {"until": "invalid_value"}
    assert (await put(api, OFFICE, "/models/absent/schedule")).status_code == 404


async def test_what_comes_is_told_in_local_time_and_utc_with_what_is_special(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    berlin = ZoneInfo("Europe/Berlin")
    tomorrow = datetime.now(berlin).date() + timedelta(days=1)
    off = {"date": tomorrow.isoformat(), "note": "Inventory"}
    await put(api, {**OFFICE, "exceptions": [off]})
    coming = await api.get(f"{SCHEDULE}/preview?days=366")
    assert {"date": off["date"], "note": "Inventory"} in coming["days_off"]
    assert len(coming["clock_changes"]) == 2
    assert all(datetime.fromisoformat(one["local"]).date() != tomorrow for one in coming["actions"])
    for one in coming["actions"]:
        local = datetime.fromisoformat(one["local"])
        assert f"{local:%H:%M}" == {"start": "08:00", "stop": "20:00"}[one["action"]]
        assert local.utcoffset() == local.replace(tzinfo=berlin).utcoffset()
        assert datetime.fromisoformat(one["at"]) == local
    status = await api.get(f"{SCHEDULE}/status")
    assert (status["status"], status["next_action"]["at"]) == ("active", coming["actions"][0]["at"])
    calendar = await api.http.get(f"/api/v1{SCHEDULE}.ics")
    assert calendar.headers["content-type"].startswith("text/calendar")
    assert calendar.text.startswith("BEGIN:VCALENDAR\r\n")
    assert "default/m runs" in calendar.text


async def test_a_year_of_a_schedule_is_worked_out_beside_the_event_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.deploy("m", desired="stopped")
    first = datetime.now(UTC).date()
    special = {"window": {"start": "09:00", "stop": "12:00"}, "note": "Special"}
    days = [{"date": (first + timedelta(days=2 * number)).isoformat(), **special} for number in range(366)]
    saved = await put(api, {**OFFICE, "exceptions": days, "holidays": {"country": "DE", "subdivision": "BE"}})
    assert saved.status_code == 200, saved.text
    asked, year = set[int](), holidays._year

    def noted(country: str, subdivision: str, number: int) -> Mapping[date, str]:
        asked.add(threading.get_ident())
        return year(country, subdivision, number)

    monkeypatch.setattr(holidays, "_year", noted)
    coming = await api.get(f"{SCHEDULE}/preview?days=366")
    noon = [one for one in coming["actions"] if one["local"][11:16] == "12:00"]
    assert len(noon) in (183, 184), "every other day is special"
    calendar = (await api.http.get(f"/api/v1{SCHEDULE}.ics")).text
    assert calendar.count("DESCRIPTION:Special") >= 182
    assert asked
    assert threading.get_ident() not in asked


async def test_an_extension_is_taken_shown_and_taken_back(api: Api) -> None:
    await api.deploy("m", desired="stopped")
    now = datetime.now(UTC)
    # A zone in which it is about noon, so that the window holds it whenever this runs.
    zone = f"Etc/GMT{(now.hour - 12):+d}" if now.hour != 12 else "UTC"
    await put(api, {**OFFICE, "timezone": zone})
    noon = now.astimezone(ZoneInfo(zone))
    answer = await api.post(f"{SCHEDULE}/extend", {"until": "22:00", "reason": "Demo"})
    assert answer.status_code == 200, answer.text
    until = noon.replace(hour=22, minute=0, second=0, microsecond=0)
    assert datetime.fromisoformat(answer.json()["extension"]["until"]) == until
    status = await api.get(f"{SCHEDULE}/status")
    assert datetime.fromisoformat(status["next_action"]["at"]) == until
    ended = await api.http.delete(f"/api/v1{SCHEDULE}/extend")
    assert ended.json()["extension"] is None
    eight = until.replace(hour=20)
    assert datetime.fromisoformat((await api.get(f"{SCHEDULE}/status"))["next_action"]["at"]) == eight
    assert (await api.http.delete(f"/api/v1{SCHEDULE}/extend")).status_code == 404
    assert errors(await api.post(f"{SCHEDULE}/extend", {"until": "19:00"})) == {"until": "out_of_range"}


async def test_the_running_control_plane_carries_a_schedule_out_and_its_health_is_a_condition(api: Api) -> None:
    await api.deploy("m")
    await put(api, OFFICE)
    # As if it had been deployed long ago and nobody had looked for two days: the latest time is caught up with.
    store, feed = api.services.store, api.services.feed
    assert isinstance(store, SqlStore)
    model = await api.services.models.get("default", "m", None)
    kept = await store.schedules.get(model.uid)
    assert kept is not None
    await store._database.write(lambda c: c.execute(sa.update(operations).values(created_at=kept.updated_at - LONG)))
    rewound = replace(kept, handled_until=kept.handled_until - timedelta(days=2), edits=kept.edits + 1)
    await feed.commit(Change(before=model, after=model, schedule=ScheduleChange(before=kept, after=rewound)))
    deadline = time.monotonic() + 20
    while True:
        status = await api.get(f"{SCHEDULE}/status")
        if status["last_action"] is not None and status["last_action"]["outcome"] != "pending":
            break
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.02)
    last = status["last_action"]
    assert last["outcome"] == "succeeded", status
    assert status["missed"] == last["missed"] >= 4
    wanted = "running" if last["action"] == ScheduledAction.START else "stopped"
    assert await api.state("m") == wanted
    conditions = {c["type"]: c["status"] for c in (await api.get("/models/m/status"))["conditions"]}
    assert conditions["ScheduleHealthy"] is True
