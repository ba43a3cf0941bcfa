"""``start``, ``stop``, ``restart``, ``delete``, ``terminate``: whether models run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.cli import specs
from modelyard.cli.context import (
    CHANGES,
    Cli,
    DryRunOption,
    EverywhereOption,
    ModelArgument,
    ReasonOption,
    WaitOption,
    WaitTimeoutOption,
    command,
    complete_model,
    seconds,
)
from modelyard.cli.forecasts import show_forecast
from modelyard.cli.problems import print_error
from modelyard.cli.progress import finish

if TYPE_CHECKING:
    from modelyard.client import Stopped
OverrideOption = Annotated[
    bool, typer.Option("--override", help="Though a policy protects it: if you may, with a --reason.")
]


def register(app: typer.Typer) -> None:
    for name, function in (("start", start), ("stop", stop), ("restart", restart), ("delete", delete)):
        command(app, name, rich_help_panel=CHANGES)(function)
    command(app, "terminate", rich_help_panel=CHANGES)(terminate)


def start(
    cli: Cli,
    name: ModelArgument,
    fixed: Annotated[
        bool,
        typer.Option("--fixed", help="As many instances as its spec says: nothing scales it until the next start."),
    ] = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Start a stopped model. Where it does not fit it waits in the queue."""
    limit = seconds(wait_timeout, "--wait-timeout")
    models = cli.client.models
    if dry_run:
        show_forecast(cli, name, models.forecast_start(name))
        return
    finish(cli, models.start(name, restore_autoscaling=not fixed, reason=reason), wait=wait, timeout=limit)


def stop(
    cli: Cli,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="The models' names.", autocompletion=complete_model, show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All models of the namespace.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="All models with this label.")
    ] = None,
    everywhere: EverywhereOption = False,
    drain: Annotated[bool, typer.Option("--drain", help="Finish what is in flight first (the default).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Kill at once.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Kill what is not done after this (default: 30s).")
    ] = None,
    override: OverrideOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Stop models, and see that everything they held is free. Their configuration stays."""
    if force and (drain or timeout is not None):
        raise typer.BadParameter("--force kills at once: it goes with neither --drain nor --timeout.")
    if bool(names) + every + bool(label) != 1:
        raise typer.BadParameter("Say which models: by NAME, --label or --all, and only one of these.")
    grace, limit = seconds(timeout, "--timeout"), seconds(wait_timeout, "--wait-timeout")
    models = cli.client.models
    if names and len(names) == 1 and not everywhere:
        operation = models.stop(names[0], force=force, timeout=grace, reason=reason, override=override)
        finish(cli, operation, wait=wait, timeout=limit)
        return
    stopped = models.stop_many(
        names or (), label=specs.pairs(label or [], "--label"), all=every, namespace="*" if everywhere else None,
        force=force, timeout=grace, reason=reason, override=override,
    )  # fmt: skip
    _finish_all(cli, stopped, wait, limit)


def _finish_all(cli: Cli, stopped: Sequence[Stopped], wait: bool, limit: float | None) -> None:
    """What came of each; the exit code is that of the first that failed."""
    from modelyard.client import ModelyardError
    from modelyard.client.errors import item_error

    if not stopped:
        cli.say("There is no such model: nothing to stop.")
    codes, answers = [], []
    for one in stopped:
        answers.append(one.raw)
        try:
            if one.operation is None:
                raise item_error(one.error)
            operation = finish(cli, one.operation, wait=wait, timeout=limit, show=False)
            answers[-1] = {**one.raw, "operation": operation.raw or one.raw["operation"]}
        except ModelyardError as error:
            codes.append(print_error(cli, error, of=one.name))
    if cli.is_plain:
        cli.show(answers, lambda: "")
    if codes:
        raise typer.Exit(codes[0])


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
    override: OverrideOption = False,
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
    operation = cli.client.models.delete(name, force=force, timeout=grace, reason=reason, override=override)
    finish(cli, operation, wait=wait, timeout=limit)


def terminate(
    cli: Cli,
    name: ModelArgument,
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Kill at once instead of draining.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Kill what is not done after this.")] = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """End one instance of a model; another takes its place."""
    grace, limit = seconds(timeout, "--timeout"), seconds(wait_timeout, "--wait-timeout")
    operation = cli.client.models.terminate(name, instance, force=force, timeout=grace, reason=reason)
    finish(cli, operation, wait=wait, timeout=limit)
