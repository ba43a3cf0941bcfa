"""``list``, ``status``, ``operations``, ``version``: what can be looked at, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import Cli, ModelArgument, command
from modelyard.cli.specs import pairs

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import Model, Operation, Status

_PANEL = "Look"
STATE_STYLE = {
    "running": "green", "stopped": "dim", "queued": "yellow", "starting": "cyan", "updating": "cyan",
    "stopping": "yellow", "idle": "blue", "error": "bold red", "deleting": "yellow", "succeeded": "green",
    "failed": "bold red", "cancelled": "yellow",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    command(app, "list", rich_help_panel=_PANEL)(list_models)
    command(app, "status", rich_help_panel=_PANEL)(status)
    command(app, "operations", rich_help_panel=_PANEL)(operations)
    command(app, "version", rich_help_panel=_PANEL)(version)


def list_models(
    cli: Cli,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")] = False,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only in this state.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Only of this engine.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with this label.")
    ] = None,
    search: Annotated[str | None, typer.Option("--search", help="Only with this in the name.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="name, state, created_at or updated_at; -name descends.")
    ] = None,
) -> None:
    """List models."""
    found = list(
        cli.client.models.list(
            namespace="*" if everywhere else None, state=state or (), engine=engine,
            label=pairs(label or [], "--label"), search=search, sort=sort,
        )
    )  # fmt: skip
    if not found and not cli.is_plain:
        cli.say("No models here. Serve one: modelyard deploy NAME SOURCE")
        return
    cli.show([model.raw for model in found], lambda: model_table(found, namespaces=everywhere))


def status(cli: Cli, name: ModelArgument) -> None:
    """State, reason, instances and endpoints of a model."""
    found = cli.client.models.status(name)
    cli.show(found.raw, lambda: status_view(found, cli.client.url))


def operations(
    cli: Cli,
    operation_id: Annotated[
        str | None, typer.Argument(metavar="[OPERATION]", help="Only this one, with its steps.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    running: Annotated[bool, typer.Option("--running", help="Only those that are not done.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
) -> None:
    """What was asked for lately, and what came of it."""
    if operation_id is not None:
        one = cli.client.operations.get(operation_id)
        cli.show(one.raw, lambda: _operation_view(one))
        return
    found: list[Operation] = []
    wanted = cli.client.operations.list(namespace=cli.namespace, model=model, done=False if running else None)
    for operation in wanted:
        found.append(operation)
        if len(found) >= limit:
            break
    cli.show([operation.raw for operation in found], lambda: _operation_table(found))


def version(cli: Cli) -> None:
    """The versions of this command and of the Modelyard that it talks to."""
    from modelyard import __version__
    from modelyard.client import ModelyardError

    try:
        server = str(cli.client.version().get("version"))
    except ModelyardError as error:
        server, why = None, error.code
    else:
        why = ""
    data = {"client": __version__, "server": server, "url": cli.client.url}
    cli.show(data, lambda: f"modelyard {__version__}, server {server or why} at {cli.client.url}")


# ------------------------------------------------------------------------------------------- rendering


def table(*columns: str) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        made.add_column(column, no_wrap=column != "MESSAGE")
    return made


def styled(state: str) -> str:
    style = STATE_STYLE.get(state)
    return f"[{style}]{state}[/]" if style else state


def ago(moment: datetime | None) -> str:
    """How long ago: ``3s``, ``12m``, ``5h``, ``2d``."""
    if moment is None:
        return "-"
    gone = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if gone >= size:
            return f"{gone // size}{unit}"
    return f"{gone}s"


def model_table(models: Iterable[Model], *, namespaces: bool = False) -> Table:

    made = table(
        *(["NAMESPACE"] if namespaces else []), "NAME", "STATE", "READY", "ENGINE", "MEMORY", "SINCE", "MESSAGE"
    )
    for model in models:
        now = model.status
        message = _remark(now)
        row = [
            model.name, styled(now.state), f"{now.instances_ready}/{now.instances_desired}",
            str(model.spec.get("engine", "")), size(now.resource_allocation.get("memory_resident")),
            ago(now.last_transition.at if now.last_transition else None), message,
        ]  # fmt: skip
        made.add_row(*([model.namespace] if namespaces else []), *row)
    return made


def _remark(now: Status) -> str:
    """What there is to say of a model beyond its state."""
    from rich.markup import escape

    if now.state == "running":
        return ""
    if now.state == "stopped":
        return released_text(now.released) if now.released else ""
    return escape(now.message)


def size(text: object) -> str:
    """A size of the API, rounded for a table: ``47304Ki`` becomes ``46 MiB``."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    value = str(text or "0")
    number = float(value[:-2]) * units[value[-2:]] if value[-2:] in units else float(value)
    if not number:
        return "-"
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def status_view(now: Status, url: str) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows: list[tuple[str, str]] = [
        ("Model", f"[bold]{now.namespace}/{now.name}[/]"),
        ("State", styled(now.state) + (f"  {escape(now.message)}" if now.state != "stopped" else "")),
        ("Revision", _revision(now)),
    ]
    if (last := now.last_transition) is not None:
        rows.append(("Since", f"{last.at:%Y-%m-%d %H:%M:%S} UTC ({ago(last.at)} ago), by {escape(last.actor)}"))
    held = now.resource_allocation
    if now.instances:
        limit = f" of {held['memory_limit']}" if held.get("memory_limit") else ""
        rows.append(("Holds", f"{held.get('cpu', 0):g} cpu, {size(held.get('memory_resident'))}{limit} memory"))
    if now.released and now.state == "stopped":
        rows.append(("Stop", released_text(now.released)))
    if now.failure is not None:
        rows.append(("Failure", f"[red]{escape(now.failure.code)}[/]  {escape(now.failure.message)}"))
    rows += [("Endpoint", f"{url}{path}") for key in ("infer", "proxy") if (path := now.endpoints.get(key))]
    rows.append(("Allowed", ", ".join(now.allowed_commands) or "nothing now"))
    parts: list[RenderableType] = [pairs_table(rows)]
    if now.conditions:
        made = table("CONDITION", "STATUS", "REASON", "MESSAGE")
        for condition in now.conditions:
            made.add_row(condition.type, str(condition.status), condition.reason, escape(condition.message))
        parts += ["", made]
    if now.instances:
        made = table("INSTANCE", "PHASE", "REVISION", "PID", "MEMORY", "SINCE", "MESSAGE")
        for i in now.instances:
            made.add_row(
                i.id, i.phase, str(i.generation), str(i.pid or "-"), size(i.memory), ago(i.since), escape(i.message)
            )
        parts += ["", made]
    if now.failure is not None and now.failure.log:
        parts += ["", "[bold]Last lines of its log[/]", *(f"[dim]│[/] {escape(line)}" for line in now.failure.log)]
    return Group(*parts)


def _revision(now: Status) -> str:
    # Instances of an earlier revision serve a later one too where nothing of them has changed.
    if now.rolled_back_from is None:
        return str(now.generation)
    return f"{now.rolled_back_from} (failed), serving {now.target_generation}"


def released_text(released: Mapping[str, Any]) -> str:
    """What a verified stop gave back: ``1 instance, 67 MiB released in 32 ms``."""
    count = released.get("instances", 0)
    if not count:
        return "nothing was left to release"
    memory = f", {held}" if (held := size(released.get("memory"))) != "-" else ""
    took = released.get("took_seconds")
    return f"{count} {'instance' if count == 1 else 'instances'}{memory} released" + (
        f" in {duration(took)}" if took is not None else ""
    )


def duration(seconds: float) -> str:
    """``32 ms``, ``4.1 s``, ``2.5 min``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def pairs_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values, one pair a line."""
    from rich.table import Table

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column()
    for key, value in rows:
        made.add_row(key, value)
    return made


def _operation_table(found: Sequence[Operation]) -> RenderableType:
    from rich.markup import escape

    made = table("OPERATION", "KIND", "MODEL", "STATE", "BY", "AGE", "MESSAGE")
    for one in found:
        message = one.error.message if one.error else one.reason
        model = f"{one.namespace}/{one.model}"
        made.add_row(one.id, one.kind, model, styled(one.state), one.actor, ago(one.created_at), escape(message))
    return made


def _operation_view(one: Operation) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows = [
        ("Operation", f"[bold]{one.id}[/]"),
        ("What", f"{one.kind} of {one.namespace}/{one.model}, by {escape(one.actor)}"),
        ("State", styled(one.state)),
    ]
    if one.reason:
        rows.append(("Reason", escape(one.reason)))
    if one.error is not None:
        rows.append(("Error", f"[red]{escape(one.error.code)}[/]  {escape(one.error.message)}"))
    steps = table("STEP", "AT", "MESSAGE")
    for step in one.steps:
        steps.add_row(step.name, f"{step.at:%H:%M:%S.%f}"[:-3], escape(step.message))
    return Group(pairs_table(rows), "", steps)
