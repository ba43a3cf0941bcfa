"""``list``, ``status``, ``operations``, ``version``: what can be looked at, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import LOOK, Cli, EverywhereOption, ModelArgument, command
from modelyard.cli.specs import pairs
from modelyard.domain.quantities import parse_bytes, rounded_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import Model, ModelRef, Operation, Status
    from modelyard.client.types import Amount, Canary, Step, Waiting

STATE_STYLE = {
    "running": "green", "stopped": "dim", "queued": "yellow", "starting": "cyan", "updating": "cyan",
    "stopping": "yellow", "idle": "blue", "error": "bold red", "deleting": "yellow", "succeeded": "green",
    "failed": "bold red", "cancelled": "yellow",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    command(app, "list", rich_help_panel=LOOK)(list_models)
    command(app, "status", rich_help_panel=LOOK)(status)
    command(app, "show", rich_help_panel=LOOK)(show)
    command(app, "operations", rich_help_panel=LOOK)(operations)
    command(app, "version", rich_help_panel=LOOK)(version)


def list_models(
    cli: Cli,
    everywhere: EverywhereOption = False,
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


def show(cli: Cli, name: ModelArgument) -> None:
    """A model's whole spec, as YAML that `apply` takes and whose paths `update --set` takes."""
    found = cli.client.models.get(name)
    manifest = {"name": found.name, "namespace": found.namespace, "desired": found.desired, "spec": found.spec}
    cli.show(manifest, lambda: _as_yaml(manifest))


def _as_yaml(data: Mapping[str, Any]) -> RenderableType:
    import yaml
    from rich.text import Text

    return Text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())


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


def table(*columns: str, wrap: Sequence[str] = ("MESSAGE",)) -> Table:
    """An empty table; the columns named in ``wrap`` take as many lines as they need, the others one."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        made.add_column(column, no_wrap=column not in wrap)
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
    shown = list(models)
    devices = any(instance.devices for model in shown for instance in model.status.instances)
    made = table(
        *(["NAMESPACE"] if namespaces else []), "NAME", "STATE", "READY", "ENGINE", *(["DEVICES"] if devices else []),
        "MEMORY", "SINCE", "MESSAGE",
    )  # fmt: skip
    for model in shown:
        now = model.status
        row = [
            model.name, styled(now.state), f"{now.instances_ready}/{now.instances_desired}",
            str(model.spec.get("engine", "")), *([_devices(now) or "-"] if devices else []),
            size(now.resource_allocation.get("memory_resident")),
            ago(now.last_transition.at if now.last_transition else None), _remark(now),
        ]  # fmt: skip
        made.add_row(*([model.namespace] if namespaces else []), *row)
    return made


def _remark(now: Status) -> str:
    """What there is to say of a model beyond its state."""
    from rich.markup import escape

    if now.waiting is not None:
        return escape(_waiting_text(now.waiting))
    if now.rollout is not None:
        return rollout_text(now)
    if now.state == "running":
        return ""
    if now.state == "stopped":
        return released_text(now.released) if now.released else ""
    return escape(now.message)


def _devices(now: Status) -> str:
    return ", ".join(device for instance in now.instances for device in instance.devices)


def _waiting_text(waiting: Waiting) -> str:
    return waiting.message if waiting.place is None else f"place {waiting.place}: {waiting.message}"


def rollout_text(now: Status) -> str:
    """``revision 2 to 3 by surge, 1 of 2 ready, paused``; empty without a rollout."""
    rollout = now.rollout
    if rollout is None:
        return ""
    what = f"revision {rollout.before} to {rollout.after}"
    if rollout.before == rollout.after:
        what = f"revision {rollout.after} anew"
    words = [f"{what} by {rollout.strategy}" if rollout.strategy else what]
    words.append(f"{rollout.ready} of {max(now.instances_desired, rollout.ready)} ready")
    if rollout.canary is not None:
        words.append(f"canary at {rollout.canary.percent} %")
    words += [word for word, is_so in (("paused", rollout.paused), ("forced", rollout.forced)) if is_so]
    return ", ".join(words)


def canary_text(canary: Canary) -> str:
    """``25 % of the requests since 30s; 50 % not before 12:01:05 UTC``."""
    what = f"{canary.percent} % of the requests, since {ago(canary.since)}"
    if canary.percent != canary.wanted:
        return f"{what}; {canary.wanted} % once the instances for it are ready"
    if canary.next_at is None:
        return what
    following = "all" if canary.next_percent is None else f"{canary.next_percent} %"
    return f"{what}; {following} not before {canary.next_at:%H:%M:%S} UTC"


def refs_text(refs: Iterable[ModelRef]) -> str:
    """Models by name, with the namespace of those in another than the default one."""
    return ", ".join(ref.name if ref.namespace == "default" else str(ref) for ref in refs)


def amount_text(amount: Amount, *, every: bool = False) -> str:
    """``2 GPUs, 8 GiB memory, 4 cpu``; with ``every`` also what there is none of."""
    words = []
    if amount.gpus or every:
        words.append(f"{amount.gpus} {'GPU' if amount.gpus == 1 else 'GPUs'}")
    if size(amount.memory) != "-" or every:
        words.append(f"{size(amount.memory)} memory")
    if amount.cpu or every:
        words.append(f"{amount.cpu:g} cpu")
    return ", ".join(words) or "nothing that is counted"


def size(text: object) -> str:
    """A size of the API, rounded for a table: ``47304Ki`` becomes ``46.2 MiB``; a dash for none."""
    count = parse_bytes(str(text or 0).removeprefix("-"))
    return f"{'-' if str(text).startswith('-') else ''}{rounded_bytes(count)}" if count else "-"


def status_view(now: Status, url: str) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    rows: list[tuple[str, str]] = [
        ("Model", f"[bold]{now.namespace}/{now.name}[/]"),
        ("State", styled(now.state) + (f"  {escape(now.message)}" if now.state != "stopped" else "")),
        ("Revision", _revision(now)),
    ]
    if now.artifact is not None:
        newer = f"; its source means {now.artifact.newer} by now" if now.artifact.newer else ""
        rows.append(("Version", escape(f"{now.artifact.version}{newer}")))
    if (last := now.last_transition) is not None:
        rows.append(("Since", f"{last.at:%Y-%m-%d %H:%M:%S} UTC ({ago(last.at)} ago), by {escape(last.actor)}"))
    rows += [(key, escape(text)) for key, text in _progress(now)]
    if now.instances:
        rows.append(("Holds", _holds(now)))
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
        devices = ["DEVICES"] if _devices(now) else []
        made = table("INSTANCE", "PHASE", "REVISION", "PID", *devices, "MEMORY", "SINCE", "MESSAGE")
        for i in now.instances:
            own = [", ".join(i.devices) or "-"] if devices else []
            made.add_row(
                i.id, i.phase, str(i.generation), str(i.pid or "-"), *own, size(i.memory), ago(i.since),
                escape(i.message),
            )  # fmt: skip
        parts += ["", made]
    if now.failure is not None and now.failure.log:
        parts += ["", "[bold]Last lines of its log[/]", *(f"[dim]│[/] {escape(line)}" for line in now.failure.log)]
    return Group(*parts)


def _progress(now: Status) -> Iterator[tuple[str, str]]:
    """What is on its way: the queue, a rollout, the number of instances."""
    if now.waiting is not None:
        place = f"place {now.waiting.place} in the queue, " if now.waiting.place is not None else ""
        # While nothing of it runs the state says why already.
        why = "" if now.waiting.message in now.message else f": {now.waiting.message}"
        yield "Waiting", f"{place}since {ago(now.waiting.since)}{why}"
    if now.preempted is not None:
        by = refs_text([now.preempted.by]) if now.preempted.by else "another model"
        yield "Preempted", f"by {by}, {ago(now.preempted.at)} ago; it comes back when there is room"
    if now.rollout is not None:
        yield "Rollout", rollout_text(now)
    scale = now.scale
    if scale is not None and (scale.max > 1 or scale.suspended):
        why = "fixed until the next start" if scale.suspended else scale.reason
        yield "Scale", f"{scale.desired} of {scale.min} to {scale.max}" + (f": {why}" if why else "")


def _holds(now: Status) -> str:
    held = now.resource_allocation
    limit = f" of {size(held['memory_limit'])}" if held.get("memory_limit") else ""
    words = [f"{size(held.get('memory_resident'))}{limit} memory"]
    if held.get("cpu"):
        words.insert(0, f"{held['cpu']:g} cpu")
    if devices := _devices(now):
        words.insert(0, f"{'GPU' if held.get('gpus') == 1 else 'GPUs'} {devices}")
    return ", ".join(words)


def _revision(now: Status) -> str:
    # Instances of an earlier revision serve a later one too where nothing of them has changed.
    if now.serving_generation == now.generation:
        return str(now.generation)
    what = "failed" if now.rolled_back_from is not None else "given up"
    return f"{now.generation} ({what}), serving {now.serving_generation}"


def released_text(released: Mapping[str, Any]) -> str:
    """What a verified stop gave back: ``1 instance, 67.3 MiB released in 32 ms``."""
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
    return Group(pairs_table(rows), "", step_table(one.steps))


def step_table(steps: Iterable[Step]) -> Table:
    from rich.markup import escape

    made = table("STEP", "AT", "MESSAGE")
    for step in steps:
        made.add_row(step.name.replace("_", " "), f"{step.at:%H:%M:%S.%f}"[:-3], escape(step.message))
    return made
