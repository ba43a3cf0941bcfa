"""``alerts``: what fires, what is watched for, and what nobody is to be told of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import SHARED, Cli, EverywhereOption, ReasonOption, command, seconds
from modelyard.cli.views import ago, pairs_table, table

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import Alert, AlertRule

alerts = typer.Typer(help="See what fires, say what is watched for, and silence alerts.", no_args_is_help=True)
rules = typer.Typer(help="What is watched for.", no_args_is_help=True)

FingerprintArgument = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="Of the alert: see `alerts list`.", show_default=False)
]
RuleArgument = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name.", show_default=False)]
WholeOption = Annotated[bool, typer.Option("--installation", help="Of the whole installation, not of the namespace.")]


def register(app: typer.Typer) -> None:
    for name, function in (
        ("list", list_alerts), ("show", show), ("silence", silence), ("unsilence", unsilence),
    ):  # fmt: skip
        command(alerts, name)(function)
    for name, of_rules in (("list", list_rules), ("set", set_rule), ("delete", delete_rule)):
        command(rules, name)(of_rules)
    alerts.add_typer(rules, name="rules")
    app.add_typer(alerts, name="alerts", rich_help_panel=SHARED)


def list_alerts(
    cli: Cli,
    everywhere: EverywhereOption = False,
    past: Annotated[bool, typer.Option("--past", help="Also what is over.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
) -> None:
    """List what fires."""
    found = cli.client.alerts.list(
        namespace=None if everywhere else cli.client.namespace, state=None if past else "firing",
        page_size=min(limit, 1000),
    )  # fmt: skip
    shown = list(islice(found, limit))
    if not shown and not cli.is_plain:
        where = "" if everywhere else f" in namespace {cli.client.namespace}; everywhere: modelyard alerts list -A"
        cli.say(("Nothing fires or has fired" if past else "Nothing fires") + where)
        return
    cli.show([alert.raw for alert in shown], lambda: _alert_table(shown))


def show(cli: Cli, fingerprint: FingerprintArgument) -> None:
    """What is wrong, since when, why, and what to do first."""
    alert = cli.client.alerts.get(fingerprint)
    cli.show(alert.raw, lambda: pairs_table(_rows(alert)))


def silence(
    cli: Cli,
    fingerprint: FingerprintArgument,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="For so long, for example 2h.")] = "1h",
    reason: ReasonOption = "",
) -> None:
    """Tell nobody of an alert for a while."""
    length = seconds(lasting, "--for")
    assert length is not None
    until = datetime.now(UTC) + timedelta(seconds=length)
    alert = cli.client.alerts.silence(fingerprint, until, reason=reason)
    cli.show(alert.raw, lambda: f"{fingerprint} is silenced until {_moment(until)}")


def unsilence(cli: Cli, fingerprint: FingerprintArgument) -> None:
    """End a silence."""
    cli.client.alerts.end_silence(fingerprint)
    cli.say(f"{fingerprint} is no longer silenced")


def list_rules(cli: Cli, installation: WholeOption = False) -> None:
    """List the rules of the namespace, or of the installation with those that are built in."""
    found = cli.client.alerts.rules(namespace=scope(cli, installation))
    if not found and not cli.is_plain:
        cli.say("This namespace has no rules of its own. Those for all: modelyard alerts rules list --installation")
        return
    cli.show([rule.raw for rule in found], lambda: _rule_table(found))


def set_rule(
    cli: Cli,
    name: RuleArgument,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", show_default=False,
            help="start_failed, schedule_failed, crash_loop, error_rate, latency, memory, queue_time or policy_action.",
        ),
    ],
    threshold: Annotated[float | None, typer.Option("--threshold", help="It fires from here on.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="info, warning or critical.")] = None,
    window: Annotated[str | None, typer.Option("--window", help="Measured over so long, for example 5m.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="Only once it has been so for so long.")] = None,
    keep: Annotated[str | None, typer.Option("--keep", help="Over once it has been well for so long.")] = None,
    names: Annotated[list[str] | None, typer.Option("--model", help="Of models of these names or patterns.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Do not watch for it.")] = False,
    installation: WholeOption = False,
) -> None:  # fmt: skip
    """Set a rule: what is left out is what is usual for its kind."""
    given: dict[str, Any] = {
        "kind": kind, "threshold": threshold, "severity": severity, "window": window, "lasting": lasting,
        "keep": keep, "names": names or None, "enabled": not off,
    }  # fmt: skip
    body = {key: value for key, value in given.items() if value is not None}
    rule = cli.client.alerts.set_rule(name, body, namespace=scope(cli, installation))
    cli.show(rule.raw, lambda: _rule_table([rule]))


def delete_rule(cli: Cli, name: RuleArgument, installation: WholeOption = False) -> None:
    """Delete a rule; in the place of a built-in one is the built-in one again."""
    cli.client.alerts.delete_rule(name, namespace=scope(cli, installation))
    cli.say(f"The rule {name} is deleted")


def scope(cli: Cli, installation: bool) -> str | None:
    """Whose rules and webhooks are meant: the namespace's, or (None) the installation's."""
    return None if installation else cli.client.namespace


# ------------------------------------------------------------------------------------------- rendering

_COLOURS = {"critical": "red", "warning": "yellow"}


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _state(one: Alert) -> str:
    return f"silenced until {_moment(one.silence.until)}" if one.silence and one.state == "firing" else one.state


def _rows(one: Alert) -> list[tuple[str, str]]:
    from rich.markup import escape

    scope, _, rule = one.rule.partition("/")
    ended = f" until {_moment(one.ends_at)}" if one.ends_at else f", for {ago(one.starts_at)}"
    rows = [
        ("Alert", escape(one.annotations.get("summary", one.kind))),
        ("Severity", one.severity),
        ("State", _state(one)),
        ("Since", _moment(one.starts_at) + ended),
        ("Why", escape(one.annotations.get("description", ""))),
        ("Number", "" if one.value is None else f"{one.value:.4g}; it fires from {one.threshold:g}"),
        ("Rule", f"{rule} of {f'namespace {scope}' if scope else 'the installation'}"),
        ("Do first", escape(one.annotations.get("action", "")) if one.state == "firing" else ""),
        ("Silenced", escape(f"by {one.silence.by}: {one.silence.reason}") if one.silence else ""),
        ("Fingerprint", one.fingerprint),
    ]
    return [(name, text) for name, text in rows if text]


def _alert_table(found: Iterable[Alert]) -> Table:
    from rich.markup import escape

    made = table("MODEL", "ALERT", "SEVERITY", "STATE", "SINCE", "FINGERPRINT", "MESSAGE")
    for one in found:
        colour = _COLOURS.get(one.severity) if one.state == "firing" else None
        severity = f"[{colour}]{one.severity}[/]" if colour else one.severity
        said = one.annotations.get("description") or one.annotations.get("summary", "")
        made.add_row(
            f"{one.namespace}/{one.model}",
            one.kind,
            severity,
            _state(one),
            ago(one.starts_at),
            one.fingerprint,
            escape(said),
        )
    return made


def _rule_table(found: Iterable[AlertRule]) -> Table:
    from rich.markup import escape

    made = table("RULE", "KIND", "FROM", "WINDOW", "FOR", "SEVERITY", "MODELS", "MESSAGE")
    for one in found:
        models = ", ".join([*one.namespaces, *one.names, *(f"{k}={v}" for k, v in one.labels.items())]) or "all"
        kind = one.kind if one.enabled else f"[dim]{one.kind} (off)[/]"
        said = one.description + (" (built in)" if one.built_in else "")
        made.add_row(
            one.name, kind, f"{one.threshold:g}", one.window, one.lasting, one.severity, escape(models), escape(said)
        )
    return made
