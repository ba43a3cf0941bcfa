"""``webhooks``: who is told of alerts, and what became of what they were sent."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.alerts import WholeOption, alerts, scope
from modelyard.cli.alerts import register as register_alerts
from modelyard.cli.context import SHARED, Cli, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.views import ago, table

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import Delivery, Webhook

webhooks = typer.Typer(help="Say who is told of alerts.", no_args_is_help=True)

HookArgument = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name.", show_default=False)]
DeliveryArgument = Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id.", show_default=False)]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]


def register(app: typer.Typer) -> None:
    for name, function in (
        ("set", set_webhook), ("list", list_webhooks), ("delete", delete), ("test", send_test),
        ("deliveries", deliveries), ("dead-letters", dead_letters), ("retry", retry), ("drop", drop),
    ):  # fmt: skip
        command(webhooks, name)(function)
    register_alerts(app)
    # Also where alerts are looked at.
    command(alerts, "test")(send_test)
    app.add_typer(webhooks, name="webhooks", rich_help_panel=SHARED)


def set_webhook(
    cli: Cli,
    name: HookArgument,
    target: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Where it is told; left out: as before.", show_default=False)
    ] = None,
    alertmanager: Annotated[
        bool, typer.Option("--alertmanager", help="URL is an Alertmanager's POST /api/v2/alerts.")
    ] = False,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Of these kinds of alerts only.")] = None,
    severities: Annotated[list[str] | None, typer.Option("--severity", help="Of these severities only.")] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="Sent with each request.")
    ] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Sign by a new secret; the old one holds for a day.")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Send nothing.")] = False,
    installation: WholeOption = False,
) -> None:
    """Have a URL told of alerts. The first time its secret is shown, by which it checks who tells it."""
    body: dict[str, Any] = {
        "format": "alertmanager" if alertmanager else "modelyard", "kinds": kinds or [],
        "severities": severities or [], "rotate_secret": rotate, "enabled": not off,
    }  # fmt: skip
    if target is not None:
        body["url"] = target
    if headers:
        body["headers"] = dict(_header(text) for text in headers)
    hook = cli.client.webhooks.set(name, body, namespace=scope(cli, installation))
    secret = f"\nIt signs by this secret, which is shown once: {hook.secret}" if hook.secret else ""
    cli.show(hook.raw, lambda: f"{name} is told of alerts at {hook.url}{secret}")


def list_webhooks(cli: Cli, installation: WholeOption = False) -> None:
    """List who is told."""
    found = cli.client.webhooks.list(namespace=scope(cli, installation))
    if not found and not cli.is_plain:
        cli.say("Nobody is told of alerts here. Add one: `modelyard webhooks set NAME URL`")
        return
    cli.show([hook.raw for hook in found], lambda: _hook_table(found))


def delete(cli: Cli, name: HookArgument, installation: WholeOption = False) -> None:
    """Tell it nothing more, and forget what it was still to be told."""
    cli.client.webhooks.delete(name, namespace=scope(cli, installation))
    cli.say(f"{name} is no longer told of alerts")


def send_test(cli: Cli, name: HookArgument, installation: WholeOption = False) -> None:
    """Send it a test, and say what came of it."""
    sent = cli.client.webhooks.test(name, namespace=scope(cli, installation))
    deadline = monotonic() + 30
    while sent.attempts == 0 and monotonic() < deadline:
        sleep(0.1)
        recent = cli.client.webhooks.deliveries(name, namespace=scope(cli, installation), page_size=20)
        sent = next((one for one in islice(recent, 20) if one.id == sent.id), sent)
    if sent.state != "delivered":
        raise CliError(
            f"The webhook {name} did not take it: {sent.error or 'it was not sent within 30 seconds'}.",
            hint=f"It is tried again for a day: `modelyard webhooks deliveries {name}` says what comes of it.",
            exit_code=ExitCode.FAILED,
        )
    cli.show(sent.raw, lambda: f"{name} has taken it (HTTP {sent.status})")


def deliveries(cli: Cli, name: HookArgument, limit: LimitOption = 20, installation: WholeOption = False) -> None:
    """What it was sent, newest first, and what came of it."""
    found = cli.client.webhooks.deliveries(name, namespace=scope(cli, installation), page_size=min(limit, 1000))
    _show(cli, list(islice(found, limit)), "It was sent nothing yet.")


def dead_letters(cli: Cli, limit: LimitOption = 20, installation: WholeOption = False) -> None:
    """What was sent in vain for a day."""
    found = cli.client.webhooks.dead_letters(namespace=scope(cli, installation), page_size=min(limit, 1000))
    _show(cli, list(islice(found, limit)), "There are none.")


def retry(cli: Cli, delivery: DeliveryArgument, installation: WholeOption = False) -> None:
    """Send a dead letter again, for another day."""
    again = cli.client.webhooks.retry(delivery, namespace=scope(cli, installation))
    cli.show(again.raw, lambda: f"{delivery} is sent again to {again.webhook}")


def drop(cli: Cli, delivery: DeliveryArgument, installation: WholeOption = False) -> None:
    """Drop a dead letter."""
    cli.client.webhooks.drop(delivery, namespace=scope(cli, installation))
    cli.say(f"{delivery} is dropped")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is no header: write 'Name: value'.", param_hint="--header")
    return name.strip(), value.strip()


def _show(cli: Cli, found: list[Delivery], nothing: str) -> None:
    if not found and not cli.is_plain:
        cli.say(nothing)
        return
    cli.show([one.raw for one in found], lambda: _delivery_table(found))


def _hook_table(found: Iterable[Webhook]) -> Table:
    from rich.markup import escape

    made = table("WEBHOOK", "FORMAT", "OF", "URL")
    for one in found:
        name = one.name if one.enabled else f"[dim]{one.name} (off)[/]"
        made.add_row(name, one.format, ", ".join([*one.kinds, *one.severities]) or "all", escape(one.url))
    return made


def _delivery_table(found: Iterable[Delivery]) -> Table:
    from rich.markup import escape

    made = table("DELIVERY", "WEBHOOK", "EVENT", "MODEL", "STATE", "TRIES", "WHEN", "HTTP", "MESSAGE")
    for one in found:
        model = f"{one.namespace}/{one.model}" if one.model else "-"
        http = str(one.status) if one.status else "-"
        made.add_row(
            one.id, one.webhook, one.event, model, one.state, str(one.attempts), ago(one.created_at), http,
            escape(one.error),
        )  # fmt: skip
    return made
