"""Schedules of many models at once, and what comes of one that is not saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.conftest import Api

API = "/api/v1"
# A Monday.
FROM = "2030-01-07T00:00:00Z"
OFFICE = {
    "type": "daily",
    "timezone": "Europe/Berlin",
    "daily": {"monday": {"start": "08:00", "stop": "20:00"}, "friday": {"start": "20:00", "stop": "24:00"},
              "saturday": {"start": "00:00", "stop": "12:00"}},
    "exceptions": [{"date": "2030-01-14", "note": "Closed"}],
}  # fmt: skip


async def listed(api: Api, **params: Any) -> dict[str, Any]:
    answer = await api.http.get(f"{API}/schedules", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def scheduled(api: Api, name: str, body: dict[str, Any]) -> None:
    await api.deploy(name, desired="stopped")
    answer = await api.http.put(f"{API}/models/{name}/schedule", json=body)
    assert answer.status_code == 200, answer.text


async def test_models_that_run_by_themselves_are_listed_with_the_times_at_which_they_do(api: Api) -> None:
    await scheduled(api, "digits", OFFICE)
    await api.deploy("by-hand", desired="stopped")
    found = await listed(api, **{"from": FROM, "days": 8})
    assert [one["name"] for one in found["items"]] == ["digits"]
    digits = found["items"][0]
    assert (digits["status"], digits["state"], digits["timezone"]) == ("active", "stopped", "Europe/Berlin")
    assert digits["next_action"]["action"] == "start"
    # Over midnight it is one; on the 14th it is off.
    assert [(run["start"], run["stop"]) for run in digits["runs"]] == [
        ("2030-01-07T07:00:00Z", "2030-01-07T19:00:00Z"), ("2030-01-11T19:00:00Z", "2030-01-12T11:00:00Z"),
    ]  # fmt: skip


async def test_a_run_that_has_begun_before_or_ends_after_is_told_of_whole(api: Api) -> None:
    await scheduled(api, "digits", OFFICE)
    begun = await listed(api, **{"from": "2030-01-12T06:00:00Z", "days": 1})
    assert begun["items"][0]["runs"] == [
        {"start": "2030-01-11T19:00:00Z", "stop": "2030-01-12T11:00:00Z", "note": ""}
    ]  # fmt: skip
    ends = await listed(api, **{"from": "2030-01-11T06:00:00Z", "days": 1})
    assert ends["items"] == [{**begun["items"][0], "runs": begun["items"][0]["runs"]}]


async def test_windows_of_policies_are_told_of_beside_the_runs_that_they_are_in_the_way_of(api: Api) -> None:
    await scheduled(api, "digits", OFFICE)
    weekend = {"timezone": "UTC", "windows": [{"from": "friday 20:00", "to": "monday 06:00"}]}
    await api.http.put(f"{API}/policies/weekend", json={"rules": {"shutdown": weekend}})
    warning = {"rules": {"shutdown": {**weekend, "windows": [{"days": ["monday"]}]}}, "mode": "warn"}
    await api.http.put(f"{API}/policies/only-warns", json=warning)
    (digits,) = (await listed(api, **{"from": FROM, "days": 7}))["items"]
    assert digits["shut"] == [
        {"policy": "weekend", "namespace": "", "start": "2030-01-04T20:00:00Z", "stop": "2030-01-07T06:00:00Z"},
        {"policy": "weekend", "namespace": "", "start": "2030-01-11T20:00:00Z", "stop": "2030-01-14T06:00:00Z"},
    ]
    await api.http.put(f"{API}/models/digits/overrides/weekend", json={"reason": "a fair", "expires": "4h"})
    assert (await listed(api, **{"from": FROM}))["items"][0]["shut"] == []


async def test_a_schedule_that_does_nothing_has_no_runs(api: Api) -> None:
    await scheduled(api, "digits", {**OFFICE, "enabled": False})
    (digits,) = (await listed(api))["items"]
    assert (digits["status"], digits["runs"], digits["next_action"]) == ("disabled", [], None)


async def test_who_asks_for_no_days_is_told_what_is_next_and_no_more(api: Api) -> None:
    always_on = {**OFFICE, "daily": {"monday": {"start": "00:00", "stop": "24:00"}}}
    await scheduled(api, "digits", always_on)
    (digits,) = (await listed(api, **{"from": "2030-01-07T12:00:00Z", "days": 0}))["items"]
    assert (digits["runs"], digits["shut"], digits["next_action"]["action"]) == ([], [], "start")


async def test_the_list_comes_in_pages_and_shows_only_what_its_reader_may_see(api: Api) -> None:
    for name in ("a", "b", "c"):
        await scheduled(api, name, OFFICE)
    names, token = list[str](), ""
    while True:
        page = await listed(api, page_size=1, page_token=token)
        names += [one["name"] for one in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert names == ["a", "b", "c"]
    assert (await listed(api, namespace="elsewhere"))["items"] == []
    made = await api.post("/namespaces/default/keys", {"name": "k", "role": "viewer", "models": ["b*"]})
    assert made.status_code == 201, made.text
    api.http.headers["Authorization"] = f"Bearer {made.json()['secret']}"
    assert [one["name"] for one in (await listed(api))["items"]] == ["b"]


@pytest.mark.parametrize("sent", ["2030-01-07T00:00:00", "1960-01-07T00:00:00Z", "soon"])
async def test_a_stretch_begins_at_a_moment_with_its_zone(api: Api, sent: str) -> None:
    answer = await api.http.get(f"{API}/schedules", params={"from": sent})
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == ["query.from"]


async def test_what_would_come_is_told_of_a_schedule_that_is_not_saved(api: Api) -> None:
    every_day = {"type": "recurring", "timezone": "UTC", "recurring": {"start": "00:00", "stop": "02:00"}}
    answer = await api.post("/schedules/preview?days=3", every_day)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["days"], found["timezone"]) == (3, "UTC")
    assert [a["action"] for a in found["actions"] if a["action"] == "start"] == ["start"] * 3
    assert all(datetime.fromisoformat(a["at"]) > datetime.now(UTC) for a in found["actions"])
    wrong = await api.post("/schedules/preview", {**every_day, "recurring": {"start": "08:00", "stop": "09:00"}})
    assert [e["path"] for e in wrong.json()["errors"]] == ["recurring.stop"]
    assert (await listed(api))["items"] == []
