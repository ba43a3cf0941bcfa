"""``deploy`` and ``apply``: models from a command line or a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli import specs
from modelyard.cli.context import (
    CHANGES,
    AcknowledgeOption,
    Cli,
    DryRunOption,
    ReasonOption,
    WaitOption,
    WaitTimeoutOption,
    command,
    seconds,
)
from modelyard.cli.forecasts import show_forecast
from modelyard.cli.problems import print_error
from modelyard.cli.progress import finish

if TYPE_CHECKING:
    from modelyard.client import Forecast, Modelyard, Operation

_HOW = "How it runs"
_MANY = "How many run, and who comes first"
_WHAT = "What it is, and for whom"


def register(app: typer.Typer) -> None:
    command(app, "deploy", rich_help_panel=CHANGES)(deploy)
    command(app, "apply", rich_help_panel=CHANGES)(apply)


def deploy(
    cli: Cli,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the model.", show_default=False)],
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="The model's file or folder, or a reference.", show_default=False),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", help="onnx, sklearn, python, command or mock (default: by the source's suffix or files).",
            rich_help_panel=_HOW,
        ),
    ] = None,
    cpu: Annotated[float | None, typer.Option("--cpu", help="Cores.", rich_help_panel=_HOW)] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="For example 512Mi.", rich_help_panel=_HOW)] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", help="Devices for each instance.", rich_help_panel=_HOW)] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="Environment.", rich_help_panel=_HOW)
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret", metavar="NAME[=@FILE]", rich_help_panel=_HOW,
            help="A variable that is kept sealed: NAME of your own environment, or what is in FILE.",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the engine.", rich_help_panel=_HOW),
    ] = None,
    command_line: Annotated[
        str | None,
        typer.Option(
            "--command", help="The server that the command engine runs; {port} becomes its port.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="That server's port.", rich_help_panel=_HOW)] = None,
    health_path: Annotated[
        str | None, typer.Option("--health-path", help="What to ask that server for.", rich_help_panel=_HOW)
    ] = None,
    working_dir: Annotated[
        str | None, typer.Option("--working-dir", help="The process's folder.", rich_help_panel=_HOW)
    ] = None,
    shared_memory: Annotated[
        str | None, typer.Option("--shared-memory", help="Size of /dev/shm.", rich_help_panel=_HOW)
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="Of updates: auto, surge or replace.", rich_help_panel=_HOW)
    ] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", help="Instances.", rich_help_panel=_MANY)] = None,
    follow: Annotated[
        str | None,
        typer.Option(
            "--follow", help="Once its alias means another version: offer (default) or auto.", rich_help_panel=_HOW
        ),
    ] = None,
    least: Annotated[int | None, typer.Option("--min", help="At least so many.", rich_help_panel=_MANY)] = None,
    most: Annotated[int | None, typer.Option("--max", help="At most so many.", rich_help_panel=_MANY)] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="For each instance: concurrency=4 or rps=50.", rich_help_panel=_MANY),
    ] = None,
    idle_after: Annotated[
        str | None,
        typer.Option("--idle-after", help="Without requests for so long, hold nothing.", rich_help_panel=_MANY),
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", help="The highest starts first.", rich_help_panel=_MANY)
    ] = None,
    preempt: Annotated[
        str | None,
        typer.Option(
            "--preempt", help="Whose place it may take: never, idle or lower-priority.", rich_help_panel=_MANY
        ),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Nobody takes its place.", rich_help_panel=_MANY)] = False,
    kind: Annotated[
        str | None, typer.Option("--type", help="textgen, embedding, imagegen or videogen.", rich_help_panel=_WHAT)
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature", help="streaming, tool-calls, image-input or summarization.", rich_help_panel=_WHAT
        ),
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Who may see and call it.", rich_help_panel=_WHAT)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Inference needs no token.", rich_help_panel=_WHAT)] = False,
    trusted: Annotated[bool, typer.Option("--trusted", help="You vouch for the code that loading it runs.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label.", rich_help_panel=_WHAT)
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="A few words.", rich_help_panel=_WHAT)
    ] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Create it, but do not start it.")] = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Serve a model: create it and start it."""
    engine = engine or ("command" if command_line else None)
    whole = specs.absolute_source(source, Path.cwd()) if source else None
    if whole is not None and engine is None:
        whole, engine = specs.in_folder(whole)
    spec = {
        "engine": engine,
        "source": whole,
        "follow": follow,
        "options": specs.options(option or [], command_line, port),
        "resources": {"cpu": cpu, "memory": memory, "gpus": gpus},
        "replicas": _replicas(replicas, least, most),
        "autoscaling": {**specs.target(target), "idle_after": idle_after},
        "rollout": {"strategy": strategy},
        "priority": priority,
        "preempt": preempt,
        "pin": pin or None,
        "type": kind,
        "features": {name.replace("-", "_"): True for name in feature or []},
        "groups": group or [],
        "container": {
            "environment": specs.pairs(env or [], "--env"),
            "secrets": specs.secrets(secret or [], "--secret"),
            "working_dir": working_dir,
            "shared_memory": shared_memory,
            "health_check": {"path": health_path},
        },
        "public": public or None,
        "trusted": trusted or None,
        "description": description,
        "labels": specs.pairs(label or [], "--label"),
    }
    limit = seconds(wait_timeout, "--wait-timeout")
    desired = "stopped" if stopped else "running"
    if dry_run:
        show_forecast(cli, name, cli.client.models.forecast_create(name, specs.pruned(spec), desired=desired))
        return
    operation = cli.client.models.create(name, specs.pruned(spec), desired=desired, reason=reason)
    operation = finish(cli, operation, wait=wait, timeout=limit)
    if wait and not stopped:
        _say_endpoint(cli, operation)


def _replicas(replicas: int | None, least: int | None, most: int | None) -> dict[str, int | None]:
    if replicas is None:
        # Of a least number alone follows that no more are wanted.
        return {"min": least, "max": least if most is None else most}
    if least is not None or most is not None:
        raise typer.BadParameter("--replicas is both the least and the most: it goes with neither --min nor --max.")
    return {"min": replicas, "max": replicas}


def apply(
    cli: Cli,
    file: Annotated[
        str, typer.Option("--file", "-f", help="YAML with name, spec, and if you like namespace; - is standard input.")
    ],
    acknowledge_restart: AcknowledgeOption = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Create or update the models of a file. It may hold many, separated by ---."""
    from modelyard.client import ApiError, ModelyardError, Unauthorized

    limit = seconds(wait_timeout, "--wait-timeout")
    started: list[Operation] = []
    failed: list[tuple[str, ModelyardError]] = []
    # One document that is refused stops neither the others nor the wait for what has begun.
    for manifest in specs.read_manifests(file):
        try:
            if dry_run:
                show_forecast(cli, manifest.name, _forecast_one(cli.client, manifest))
                continue
            for operation in _apply_one(cli.client, manifest, reason, acknowledge_restart):
                started.append(operation)
        except ModelyardError as error:
            failed.append((manifest.name, error))
            if not isinstance(error, ApiError) or isinstance(error, Unauthorized):
                break
    for operation in started:
        try:
            finish(cli, operation, wait=wait, timeout=limit)
        except ModelyardError as error:
            failed.append((operation.model, error))
    codes = [print_error(cli, error, of=name) for name, error in failed]
    if codes:
        raise typer.Exit(codes[0])


def _forecast_one(client: Modelyard, manifest: specs.Manifest) -> Forecast:
    from modelyard.client import NotFound

    name, namespace = manifest.name, manifest.namespace or client.namespace
    try:
        return client.models.forecast_replace(name, manifest.spec, namespace=namespace)
    except NotFound:
        desired = manifest.desired or "running"
        return client.models.forecast_create(name, manifest.spec, namespace=namespace, desired=desired)


def _apply_one(
    client: Modelyard, manifest: specs.Manifest, reason: str, acknowledge_restart: bool
) -> Iterator[Operation]:
    """Create or update one model; gives each operation as soon as it has begun."""
    from modelyard.client import NotFound

    name, namespace = manifest.name, manifest.namespace or client.namespace
    try:
        model = client.models.get(name, namespace=namespace)
    except NotFound:
        desired = manifest.desired or "running"
        yield client.models.create(name, manifest.spec, namespace=namespace, desired=desired, reason=reason)
        return
    # The file is the whole of what is wanted, whatever it was before: there is no version to insist on.
    yield client.models.replace(
        name, manifest.spec, namespace=namespace, reason=reason, acknowledge_restart=acknowledge_restart
    )
    if manifest.desired == "stopped" and model.desired != "stopped":
        yield client.models.stop(name, namespace=namespace, reason=reason)
    elif manifest.desired == "running" and model.desired != "running":
        yield client.models.start(name, namespace=namespace, reason=reason)


def _say_endpoint(cli: Cli, operation: Operation) -> None:
    endpoints: dict[str, Any] = cli.client.models.status(operation.model, namespace=operation.namespace).endpoints
    path = endpoints.get("infer") or endpoints.get("proxy")
    if path:
        cli.say(f"  {cli.client.url}{path}")
