"""``apply``, ``deploy``, ``start``, ``stop``, ``restart``, ``delete``: what changes models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli import specs
from modelyard.cli.context import (
    Cli,
    ModelArgument,
    ReasonOption,
    WaitOption,
    WaitTimeoutOption,
    command,
    seconds,
)
from modelyard.cli.problems import print_error
from modelyard.cli.progress import finish

if TYPE_CHECKING:
    from modelyard.client import Modelyard, Operation

_PANEL = "Change models"
_HOW = "How it runs"


def register(app: typer.Typer) -> None:
    command(app, "deploy", rich_help_panel=_PANEL)(deploy)
    command(app, "apply", rich_help_panel=_PANEL)(apply)
    command(app, "start", rich_help_panel=_PANEL)(start)
    command(app, "stop", rich_help_panel=_PANEL)(stop)
    command(app, "restart", rich_help_panel=_PANEL)(restart)
    command(app, "delete", rich_help_panel=_PANEL)(delete)


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
            "--engine", help="onnx, sklearn, python, command or mock (default: by the source's suffix).",
            rich_help_panel=_HOW,
        ),
    ] = None,
    cpu: Annotated[float | None, typer.Option("--cpu", help="Cores.", rich_help_panel=_HOW)] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="For example 512Mi.", rich_help_panel=_HOW)] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", help="Instances.", rich_help_panel=_HOW)] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="Environment.", rich_help_panel=_HOW)
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
    public: Annotated[bool, typer.Option("--public", help="Inference needs no token.")] = False,
    trusted: Annotated[bool, typer.Option("--trusted", help="You vouch for the code that loading it runs.")] = False,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="A few words.")] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Create it, but do not start it.")] = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:  # fmt: skip
    """Serve a model: create it and start it."""
    spec = {
        "engine": engine or ("command" if command_line else None),
        "source": specs.absolute_source(source, Path.cwd()) if source else None,
        "options": specs.options(option or [], command_line, port),
        "resources": {"cpu": cpu, "memory": memory},
        "replicas": {"min": replicas, "max": replicas},
        "container": {
            "environment": specs.pairs(env or [], "--env"),
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
    operation = cli.client.models.create(name, specs.pruned(spec), desired=desired, reason=reason)
    operation = finish(cli, operation, wait=wait, timeout=limit)
    if wait and not stopped:
        _say_endpoint(cli, operation)


def apply(
    cli: Cli,
    file: Annotated[
        str, typer.Option("--file", "-f", help="YAML with name, spec, and if you like namespace; - is standard input.")
    ],
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
            for operation in _apply_one(cli.client, manifest, reason):
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
    codes = [print_error(cli.err, error, of=name) for name, error in failed]
    if codes:
        raise typer.Exit(codes[0])


def _apply_one(client: Modelyard, manifest: specs.Manifest, reason: str) -> Iterator[Operation]:
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
    yield client.models.replace(name, manifest.spec, namespace=namespace, reason=reason)
    if manifest.desired == "stopped" and model.desired != "stopped":
        yield client.models.stop(name, namespace=namespace, reason=reason)
    elif manifest.desired == "running" and model.desired != "running":
        yield client.models.start(name, namespace=namespace, reason=reason)


def start(
    cli: Cli,
    name: ModelArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Start a stopped model."""
    limit = seconds(wait_timeout, "--wait-timeout")
    finish(cli, cli.client.models.start(name, reason=reason), wait=wait, timeout=limit)


def stop(
    cli: Cli,
    name: ModelArgument,
    drain: Annotated[bool, typer.Option("--drain", help="Finish what is in flight first (the default).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Kill at once.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Kill what is not done after this (default: 30s).")
    ] = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Stop a model, and see that everything it held is free. Its configuration stays."""
    if force and (drain or timeout is not None):
        raise typer.BadParameter("--force kills at once: it goes with neither --drain nor --timeout.")
    grace, limit = seconds(timeout, "--timeout"), seconds(wait_timeout, "--wait-timeout")
    finish(cli, cli.client.models.stop(name, force=force, timeout=grace, reason=reason), wait=wait, timeout=limit)


def restart(
    cli: Cli,
    name: ModelArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """New instances of the same configuration; the model goes on serving meanwhile."""
    limit = seconds(wait_timeout, "--wait-timeout")
    finish(cli, cli.client.models.restart(name, reason=reason), wait=wait, timeout=limit)


def delete(
    cli: Cli,
    name: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Kill at once instead of draining.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Kill what is not done after this.")] = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Stop a model and forget it, with its revisions. Its events stay."""
    grace, limit = seconds(timeout, "--timeout"), seconds(wait_timeout, "--wait-timeout")
    if not yes:
        import sys

        if not sys.stdin.isatty():
            raise typer.BadParameter("Nobody is here to be asked: give --yes.", param_hint="--yes")
        model = cli.client.models.get(name)
        if not typer.confirm(f"Delete {name} ({model.status.state}) in namespace {model.namespace}?", err=True):
            raise typer.Exit(1)
    finish(cli, cli.client.models.delete(name, force=force, timeout=grace, reason=reason), wait=wait, timeout=limit)


def _say_endpoint(cli: Cli, operation: Operation) -> None:
    endpoints: dict[str, Any] = cli.client.models.status(operation.model, namespace=operation.namespace).endpoints
    path = endpoints.get("infer") or endpoints.get("proxy")
    if path:
        cli.say(f"  {cli.client.url}{path}")
