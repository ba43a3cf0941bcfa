"""``modelyard schedule`` and the SDK's schedules against a real Modelyard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.client import AsyncModelyard, Modelyard, NotFound
from tests.cli.yard import Yard


def test_a_schedule_is_set_by_flags_looked_at_extended_and_exported(yard: Yard, tmp_path: Path) -> None:
    with Modelyard(yard.url, home=yard.home) as client:
        client.operations.wait(client.models.create("clocked", {"engine": "mock"}, desired="stopped"))
        said = yard.ok(
            "schedule", "set", "clocked", "-z", "Europe/Berlin", "--weekdays", "--start", "08:00", "--stop", "20:00",
            "--day", "saturday=22:00-06:00", "--split", "--holidays", "DE-BE", "--off", "2031-12-24..2031-12-31",
        )  # fmt: skip
        assert "clocked  Europe/Berlin, version 1" in said
        assert ["sunday", "00:00", "06:00"] in [line.split() for line in said.splitlines()]
        assert "Nothing happens on public holidays of DE-BE" in said
        saved = client.schedules.get("clocked")
        assert saved.daily["saturday"] == {"start": "22:00", "stop": "24:00"}
        coming = yard.ok("schedule", "preview", "clocked", "--days", "8")
        assert coming.splitlines()[0].split() == ["DAY", "Europe/Berlin", "UTC", "ACTION", "NOTE"]
        assert len(client.schedules.preview("clocked", 8).actions) >= 10
        status = json.loads(yard.ok("schedule", "status", "clocked", "-o", "json"))
        assert (status["status"], status["next_action"]["action"] in ("start", "stop")) == ("active", True)
        file = tmp_path / "clocked.yaml"
        file.write_text("type: recurring\ntimezone: UTC\nrecurring:\n  start: 08:00\n  stop: 20:00\nenabled: false\n")
        assert "UTC, disabled, version 2" in yard.ok("schedule", "set", "clocked", "-f", str(file))
        assert client.schedules.enable("clocked").enabled
        assert client.schedules.export("clocked").startswith("BEGIN:VCALENDAR")
        client.schedules.remove("clocked")
        with pytest.raises(NotFound):
            client.schedules.get("clocked")
        assert client.schedules.status("clocked").status == "none"


async def test_the_asynchronous_client_has_the_same(yard: Yard) -> None:
    window = {"type": "recurring", "timezone": "UTC", "recurring": {"start": "00:00", "stop": "22:00"}}
    async with AsyncModelyard(yard.url, home=yard.home) as client:
        await client.operations.wait(await client.models.create("timed", {"engine": "mock"}, desired="stopped"))
        assert (await client.schedules.save("timed", window)).version == 1
        assert (await client.schedules.disable("timed", reason="Holiday")).enabled is False
        assert (await client.schedules.get("timed")).type == "recurring"
        assert (await client.schedules.status("timed")).status == "disabled"
        assert (await client.schedules.preview("timed", 3)).actions == []
        assert "END:VCALENDAR" in await client.schedules.export("timed")
        await client.schedules.remove("timed")
