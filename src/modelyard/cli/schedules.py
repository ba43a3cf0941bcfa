"""``schedule``: when models run by themselves."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import CHANGES, Cli, ModelArgument, ReasonOption, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.traffic import text_of
from modelyard.cli.views import ago, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Schedule, SchedulePreview, ScheduleStatus
    from modelyard.client.schedule_types import ComingAction

schedules = typer.Typer(help="Start and stop a model by the clock.", no_args_is_help=True)

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def register(app: typer.Typer) -> None:
    for name, function in (
        ("set", set_schedule), ("show", show), ("status", status), ("preview", preview), ("extend", extend),
        ("enable", enable), ("disable", disable), ("remove", remove), ("export", export),
    ):  # fmt: skip
        command(schedules, name)(function)
    app.add_typer(schedules, name="schedule", rich_help_panel=CHANGES)


def set_schedule(
    cli: Cli,
    name: ModelArgument,
    timezone: Annotated[
        str | None, typer.Option("--timezone", "-z", help="For example Europe/Berlin.", show_default=False)
    ] = None,
    start: Annotated[str | None, typer.Option("--start", help="HH:MM, of every day.", show_default=False)] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", help="HH:MM, of every day; 24:00 is its end.", show_default=False)
    ] = None,
    weekdays: Annotated[bool, typer.Option("--weekdays", help="--start and --stop of Monday to Friday only.")] = False,
    day: Annotated[
        list[str] | None,
        typer.Option(
            "--day", metavar="DAY=HH:MM-HH:MM", help="The window of a weekday; once for each.", show_default=False
        ),
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="Make a --day over midnight two days' entries.")] = False,
    holidays: Annotated[
        str | None,
        typer.Option(
            "--holidays", metavar="COUNTRY[-PART]", help="Nothing happens on them: DE, or DE-BE.", show_default=False
        ),
    ] = None,
    off: Annotated[
        list[str] | None,
        typer.Option(
            "--off",
            metavar="DATE[..DATE]",
            help="Nothing happens on these days; as often as needed.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f", help="All of it from a YAML or JSON file; - is standard input.", show_default=False
        ),
    ] = None,
    reason: ReasonOption = "",
) -> None:
    """Save when a model runs. It acts from its next time on, and never by being saved."""
    if file is not None:
        if timezone or start or stop or weekdays or day or split or holidays or off:
            raise typer.BadParameter("What is in the file is not given beside it.", param_hint="--file")
        wanted = _document(file)
    else:
        if timezone is None:
            raise typer.BadParameter(
                "Say whose clock counts, for example --timezone Europe/Berlin.", param_hint="--timezone"
            )
        wanted = {"timezone": timezone, **_windows(start, stop, weekdays, day or []), "split": split}
        if holidays is not None:
            country, _, part = holidays.partition("-")
            wanted["holidays"] = {"country": country.upper(), "subdivision": part.upper()}
        wanted["exceptions"] = [_day_off(text) for text in off or []]
    saved = cli.client.schedules.save(name, wanted, reason=reason)
    cli.show(saved.raw, lambda: _schedule_view(saved))


def show(cli: Cli, name: ModelArgument) -> None:
    """When a model runs."""
    found = cli.client.schedules.get(name)
    cli.show(found.raw, lambda: _schedule_view(found))


def status(cli: Cli, name: ModelArgument) -> None:
    """What came of a model's schedule, and what is next."""
    found = cli.client.schedules.status(name)
    cli.show(found.raw, lambda: _status_view(found))


def preview(
    cli: Cli,
    name: ModelArgument,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="How far to look ahead.")] = 14,
) -> None:
    """All that comes, by the schedule's clock and in UTC."""
    found = cli.client.schedules.preview(name, days)
    cli.show(found.raw, lambda: _preview_view(found))


def extend(
    cli: Cli,
    name: ModelArgument,
    until: Annotated[
        str | None,
        typer.Argument(
            metavar="[UNTIL]", help="22:00 (today, by the schedule's clock) or an instant.", show_default=False
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the extension back.")] = False,
    reason: ReasonOption = "",
) -> None:
    """Leave a model running for longer, once."""
    if clear == (until is not None):
        raise typer.BadParameter("Say until when, or --clear.")
    if until is None:
        now = cli.client.schedules.end_extension(name, reason=reason)
    else:
        now = cli.client.schedules.extend(name, until, reason=reason)
    cli.show(now.raw, lambda: _extended(now))


def enable(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Have a schedule act again, from its next time on."""
    now = cli.client.schedules.enable(name, reason=reason)
    cli.show(now.raw, lambda: f"The schedule of {name} is enabled")


def disable(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Keep a schedule and have it do nothing."""
    now = cli.client.schedules.disable(name, reason=reason)
    cli.show(now.raw, lambda: f"The schedule of {name} is disabled")


def remove(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Remove a schedule. The model stays as it is."""
    cli.client.schedules.remove(name, reason=reason)
    cli.say(f"{name} has no schedule any more")


def export(
    cli: Cli,
    name: ModelArgument,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Into this file.", show_default=False)] = None,
) -> None:
    """A year of a schedule's windows as iCalendar (.ics)."""
    text = cli.client.schedules.export(name)
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, newline="")
        cli.say(f"{file} is written")


# ------------------------------------------------------------------------------------------- reading


def _document(file: str) -> dict[str, Any]:
    import yaml

    text = text_of(file)
    try:
        # To YAML 20:00 without quotes is a number, 1200; to its base loader it is not.
        base = yaml.BaseLoader
        found = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, base)  # noqa: S506 - makes text
    except (ValueError, yaml.YAMLError) as error:
        raise CliError(f"{file} is neither YAML nor JSON: {error}", exit_code=ExitCode.INVALID) from error
    if not isinstance(found, dict):
        raise CliError(f"{file} holds no schedule.", exit_code=ExitCode.INVALID)
    for flag in ("enabled", "split"):
        if found.get(flag) in ("true", "false"):
            found[flag] = found[flag] == "true"
    return found


def _windows(start: str | None, stop: str | None, weekdays: bool, days: list[str]) -> dict[str, Any]:
    if (start is None) != (stop is None) or (start is None and not days) or (weekdays and start is None):
        raise typer.BadParameter("Give --start and --stop, or --day for each day.", param_hint="--start")
    if not weekdays and not days:
        return {"type": "recurring", "recurring": {"start": start, "stop": stop}}
    if not weekdays and start is not None:
        raise typer.BadParameter("Beside --day the others go with --weekdays.", param_hint="--start")
    daily: dict[str, Any] = {name: {"start": start, "stop": stop} for name in _DAYS[:5]} if weekdays else {}
    for text in days:
        name, _, window = text.partition("=")
        named = [known for known in _DAYS if len(name) >= 2 and known.startswith(name.lower())]
        first, _, last = window.partition("-")
        if len(named) != 1 or not first or not last:
            message = f"{text!r} is no day's window: write for example monday=08:00-20:00."
            raise typer.BadParameter(message, param_hint="--day")
        daily[named[0]] = {"start": first, "stop": last}
    return {"type": "daily", "daily": daily}


def _day_off(text: str) -> dict[str, Any]:
    first, _, last = text.partition("..")
    return {"from": first, "to": last} if last else {"date": first}


# ------------------------------------------------------------------------------------------- rendering


def _schedule_view(of: Schedule) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    state = "" if of.enabled else ", disabled"
    made = table("DAY", "START", "STOP")
    if of.recurring is not None:
        made.add_row("every day", of.recurring["start"], of.recurring["stop"])
    for day in _DAYS:
        if day in of.daily:
            made.add_row(day, of.daily[day]["start"], of.daily[day]["stop"])
    for one in of.exceptions:
        days = one["date"] or f"{one['from']}..{one['to']}"
        window = one["window"] or {"start": "-", "stop": "-"}
        made.add_row(f"{days} {escape(one['note'])}".rstrip(), window["start"], window["stop"])
    lines: list[RenderableType] = [f"[bold]{of.name}[/]  {of.timezone}{state}", made]
    if of.holidays is not None:
        place = "-".join(filter(None, (of.holidays["country"], of.holidays["subdivision"])))
        lines.append(f"Nothing happens on public holidays of {place}")
    if of.extension is not None:
        lines.append(_extended(of))
    return Group(*lines)


def _extended(of: Schedule) -> str:
    if of.extension is None:
        return f"The schedule of {of.name} is not extended"
    return f"{of.name} is left running until {of.extension.until:%Y-%m-%d %H:%M} UTC"


def _status_view(of: ScheduleStatus) -> RenderableType:
    from rich.markup import escape

    made = table("FIELD", "MESSAGE")
    made.add_row("status", of.status)
    if of.timezone is not None:
        made.add_row("schedule", f"{of.type}, {of.timezone}")
    if of.last_update is not None:
        made.add_row("saved", f"{ago(of.last_update.at)} ago by {escape(of.last_update.by)}")
    if (last := of.last_action) is not None:
        said = f": {escape(last.message)}" if last.message else ""
        made.add_row("last action", f"{last.action} of {last.local:%a %Y-%m-%d %H:%M}, {last.outcome}{said}")
        if last.missed:
            made.add_row("missed", f"{last.missed}, the latest of which was caught up")
    if (coming := of.next_action) is not None:
        made.add_row("next action", f"{coming.action} on {coming.local:%a %Y-%m-%d %H:%M}")
    if of.extension is not None:
        made.add_row("extended until", f"{of.extension.until:%Y-%m-%d %H:%M} UTC")
    if (failure := of.failure) is not None:
        made.add_row("failure", f"{escape(failure.message)} ({failure.code})")
        made.add_row("retries", f"{failure.retries}, the next at {failure.retry_at:%H:%M} UTC")
    return made


def _preview_view(of: SchedulePreview) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    zone = of.timezone + (f" (UTC{offset})" if (offset := _offset_now(of)) else "")
    head = f"[bold]{of.name}[/]  the next {of.days} days, LOCAL is {zone}"
    if not of.actions:
        head += "\nNothing comes" + ("" if of.enabled else ": the schedule is disabled")
    rows = [
        (f"{one.local:%Y-%m-%d}", one.at.timestamp(), f"{one.local:%H:%M}", _in_utc(one), one.action, escape(one.note))
        for one in of.actions
    ]
    rows += [(off.date, 0.0, "", "", "off", escape(off.note)) for off in of.days_off]
    for change in of.clock_changes:
        note = f"[yellow]The clock is set: UTC{change.before} becomes UTC{change.after}.[/]"
        rows.append((change.date, 0.0, "", "", "[yellow]clock[/]", note))
    made = table("DAY", "LOCAL", "UTC", "ACTION", "NOTE", wrap=("NOTE",))
    made.columns[2].justify = "right"
    shown = ""
    for day, _, *cells in sorted(rows):
        made.add_row("" if day == shown else f"{date.fromisoformat(day):%a} {day}", *cells)
        shown = day
    return Group(head, made) if rows else head


def _in_utc(one: ComingAction) -> str:
    """With its day where that is another one."""
    return f"{one.at:%H:%M}" if one.at.date() == one.local.date() else f"{one.at:%a %H:%M}"


def _offset_now(of: SchedulePreview) -> str:
    """That from UTC with which the preview begins."""
    if of.clock_changes:
        return of.clock_changes[0].before
    return of.actions[0].local.isoformat()[-6:] if of.actions else ""
