"""``modelyard schedule`` and the SDK's schedules against a real Modelyard."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from modelyard.cli import schedules
from modelyard.client import AsyncModelyard, Modelyard, NotFound
from modelyard.client.schedule_types import ClockChange, ComingAction, DayOff, SchedulePreview
from tests.cli.yard import Yard


def test_a_preview_fits_into_80_columns_with_each_day_said_once_and_changes_of_the_clock_marked() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    def action(what: str, at: str, **more: str) -> ComingAction:
        instant = datetime.fromisoformat(at).replace(tzinfo=UTC)
        return ComingAction(action=what, at=instant, local=instant.astimezone(berlin), **more)

    twice = "The clock shows 02:30 twice on this day: at the first time."
    preview = SchedulePreview(
        namespace="default", name="clocked", timezone="Europe/Berlin", days=3,
        actions=[
            action("stop", "2026-10-24 22:00"),
            action("start", "2026-10-25 00:30", clock_change="fold", note=twice),
            action("stop", "2026-10-25 04:00"),
        ],
        days_off=[DayOff(date="2026-10-26", note="Inventory")],
        clock_changes=[ClockChange(date="2026-10-25", before="+02:00", after="+01:00")],
    )  # fmt: skip
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(schedules._preview_view(preview))
    assert [line.rstrip() for line in capture.get().splitlines()] == [
        "clocked  the next 3 days, LOCAL is Europe/Berlin (UTC+02:00)",
        "DAY              LOCAL         UTC   ACTION   NOTE",
        "Sun 2026-10-25                       clock    The clock is set: UTC+02:00",
        "                                              becomes UTC+01:00.",
        "                 00:00   Sat 22:00   stop",
        "                 02:30       00:30   start    The clock shows 02:30 twice on",
        "                                              this day: at the first time.",
        "                 05:00       04:00   stop",
        "Mon 2026-10-26                       off      Inventory",
    ]
    disabled = SchedulePreview(namespace="default", name="clocked", timezone="UTC", days=3, enabled=False)
    with console.capture() as capture:
        console.print(schedules._preview_view(disabled))
    assert "Nothing comes: the schedule is disabled" in capture.get()


def test_a_schedule_is_set_by_flags_looked_at_extended_and_exported(yard: Yard, tmp_path: Path) -> None:
    with Modelyard(yard.url, home=yard.home) as client:
        client.operations.wait(client.models.create("clocked", {"engine": "mock"}, desired="stopped"))
        said = yard.ok(
            "schedule", "set", "clocked", "-z", "Europe/Berlin", "--weekdays", "--start", "08:00", "--stop", "20:00",
            "--day", "saturday=22:00-06:00", "--split", "--holidays", "DE-BE", "--off", "2031-12-24..2031-12-31",
        )  # fmt: skip
        assert said.startswith("clocked  Europe/Berlin\n")
        assert ["sunday", "00:00", "06:00"] in [line.split() for line in said.splitlines()]
        assert "Nothing happens on public holidays of DE-BE" in said
        saved = client.schedules.get("clocked")
        assert saved.daily["saturday"] == {"start": "22:00", "stop": "24:00"}
        coming = yard.ok("schedule", "preview", "clocked", "--days", "8").splitlines()
        assert coming[0].startswith("clocked  the next 8 days, LOCAL is Europe/Berlin (UTC+0")
        assert coming[1].split() == ["DAY", "LOCAL", "UTC", "ACTION", "NOTE"]
        assert len(client.schedules.preview("clocked", 8).actions) >= 10
        status = json.loads(yard.ok("schedule", "status", "clocked", "-o", "json"))
        assert (status["status"], status["next_action"]["action"] in ("start", "stop")) == ("active", True)
        file = tmp_path / "clocked.yaml"
        file.write_text("type: recurring\ntimezone: UTC\nrecurring:\n  start: 08:00\n  stop: 20:00\nenabled: false\n")
        assert "UTC, disabled" in yard.ok("schedule", "set", "clocked", "-f", str(file))
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
        saved = await client.schedules.save("timed", window)
        disabled = await client.schedules.disable("timed", reason="Holiday")
        assert (disabled.enabled, disabled.version > saved.version) == (False, True)
        assert (await client.schedules.get("timed")).type == "recurring"
        assert (await client.schedules.status("timed")).status == "disabled"
        assert (await client.schedules.preview("timed", 3)).actions == []
        assert "END:VCALENDAR" in await client.schedules.export("timed")
        await client.schedules.remove("timed")
