"""``update``, ``scale``, ``redeploy``, ``rollback``, ``rollout``: what changes models that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli import specs
from modelyard.cli.context import (
    UPDATES,
    AcknowledgeOption,
    Cli,
    DryRunOption,
    ModelArgument,
    ReasonOption,
    WaitOption,
    WaitTimeoutOption,
    command,
    seconds,
)
from modelyard.cli.forecasts import change_table, show_forecast
from modelyard.cli.progress import finish
from modelyard.cli.splitting import arm_table
from modelyard.cli.views import ago, canary_text, pairs_table, rollout_text, step_table, styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.client import Diff, Operation, Revision, Status, Traffic

rollouts = typer.Typer(help="Look at a rollout and steer it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    for name, function in (("update", update), ("scale", scale), ("redeploy", redeploy), ("rollback", rollback)):
        command(app, name, rich_help_panel=UPDATES)(function)
    for verb, steer in (
        ("pause", pause), ("resume", resume), ("cancel", cancel), ("force", force), ("promote", promote),
        ("abort", abort), ("set-percent", set_percent),
    ):  # fmt: skip
        command(rollouts, verb)(steer)
    command(rollouts, "status")(rollout_status)
    app.add_typer(rollouts, name="rollout", rich_help_panel=UPDATES)
    command(app, "revisions", rich_help_panel=UPDATES)(revisions)
    command(app, "diff", rich_help_panel=UPDATES)(diff)


def update(
    cli: Cli,
    name: ModelArgument,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="For example container.environment.TZ=UTC."),
    ] = None,
    removals: Annotated[
        list[str] | None, typer.Option("--unset", metavar="PATH", help="Back to what it is when nobody sets it.")
    ] = None,
    acknowledge_restart: AcknowledgeOption = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Change parts of a model's spec."""
    patch = specs.patch(settings or (), removals or ())
    if not patch:
        raise typer.BadParameter("Say what to change: --set PATH=VALUE, --unset PATH.")
    _patch(cli, name, patch, acknowledge_restart, dry_run, reason, wait, wait_timeout)


def scale(
    cli: Cli,
    name: ModelArgument,
    least: Annotated[int | None, typer.Option("--min", help="At least so many instances.")] = None,
    most: Annotated[int | None, typer.Option("--max", help="At most so many.")] = None,
    desired: Annotated[int | None, typer.Option("--desired", help="So many as long as nothing scales them.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="For each instance: concurrency=4, rps=50, or none.")
    ] = None,
    idle_after: Annotated[
        str | None, typer.Option("--idle-after", help="Idle without requests for so long; or never.")
    ] = None,
    dry_run: DryRunOption = False,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Say how many instances run, and what that follows. None is restarted for it."""
    patch: dict[str, Any] = specs.pruned({"replicas": {"min": least, "max": most, "desired": desired}})
    scaling = specs.target(target)
    if idle_after is not None:
        scaling["idle_after"] = None if idle_after == "never" else idle_after
    if scaling:
        patch["autoscaling"] = scaling
    if not patch:
        raise typer.BadParameter("Say what to change: --min, --max, --desired, --target or --idle-after.")
    _patch(cli, name, patch, False, dry_run, reason, wait, wait_timeout)


def _patch(
    cli: Cli, name: str, patch: dict[str, Any], acknowledge_restart: bool, dry_run: bool, reason: str, wait: bool,
    wait_timeout: str | None,
) -> None:  # fmt: skip
    limit = seconds(wait_timeout, "--wait-timeout")
    models = cli.client.models
    if dry_run:
        show_forecast(cli, name, models.forecast_update(name, patch))
        return
    operation = models.update(name, patch, reason=reason, acknowledge_restart=acknowledge_restart)
    finish(cli, operation, wait=wait, timeout=limit)


def redeploy(
    cli: Cli,
    name: ModelArgument,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Build and launch every instance anew from the same spec."""
    limit = seconds(wait_timeout, "--wait-timeout")
    finish(cli, cli.client.models.redeploy(name, reason=reason), wait=wait, timeout=limit)


def rollback(
    cli: Cli,
    name: ModelArgument,
    to: Annotated[
        int | None, typer.Option("--to", metavar="REVISION", help="Else the newest before this one that did not fail.")
    ] = None,
    reason: ReasonOption = "",
    wait: WaitOption = True,
    wait_timeout: WaitTimeoutOption = None,
) -> None:
    """Go back to an earlier revision. Its spec becomes a new one, so nothing is lost."""
    limit = seconds(wait_timeout, "--wait-timeout")
    finish(cli, cli.client.models.rollback(name, to, reason=reason), wait=wait, timeout=limit)


def pause(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Launch and end nothing for it until it is resumed."""
    _steered(cli, cli.client.models.pause_rollout(name, reason=reason))


def resume(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Go on where it was paused."""
    _steered(cli, cli.client.models.resume_rollout(name, reason=reason))


def cancel(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Go back to the last good revision."""
    now = cli.client.models.cancel_rollout(name, reason=reason)
    cli.show(now.raw, lambda: f"{now.name}: cancelled; revision {now.serving_generation} serves")


def force(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """Go forward at once: old instances end whether or not new ones are ready, and nothing goes back by itself."""
    _steered(cli, cli.client.models.force_rollout(name, reason=reason))


def promote(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """The canary is good: skip the steps that are left and replace the rest."""
    _steered(cli, cli.client.models.promote_rollout(name, reason=reason))


def abort(cli: Cli, name: ModelArgument, reason: ReasonOption = "") -> None:
    """The canary is not: go back to the last good revision."""
    now = cli.client.models.abort_rollout(name, reason=reason)
    cli.show(now.raw, lambda: f"{now.name}: aborted; revision {now.serving_generation} serves")


def set_percent(
    cli: Cli,
    name: ModelArgument,
    percent: Annotated[int, typer.Argument(help="Per cent of the requests for the new revision, 1 to 99.")],
    reason: ReasonOption = "",
) -> None:
    """Set a canary's share by hand; the ramp goes on from there."""
    _steered(cli, cli.client.models.set_rollout_percent(name, percent, reason=reason))


def rollout_status(cli: Cli, name: ModelArgument) -> None:
    """How far the rollout of a model is."""
    now = cli.client.models.status(name)
    running = next(
        (o for o in cli.client.operations.list(namespace=now.namespace, model=name, done=False) if o.steps), None
    )
    traffic = cli.client.models.traffic(name) if now.rollout is not None and now.rollout.canary else None
    cli.show(now.raw["rollout"], lambda: _rollout_view(now, running, traffic))


def revisions(cli: Cli, name: ModelArgument) -> None:
    """What was wanted of a model over time; the newest first."""
    found = cli.client.models.revisions(name)
    cli.show([revision.raw for revision in found], lambda: _revision_table(found))


def diff(
    cli: Cli,
    name: ModelArgument,
    one: Annotated[
        str | None, typer.Argument(metavar="[A]", help="A revision; the newest if left out.", show_default=False)
    ] = None,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="Another one; else A against the one before.", show_default=False),
    ] = None,
) -> None:
    """What changes from revision A to B; of A alone, what it has changed. Versions too: diff pat@1.0.0 pat@1.1.0."""
    if "@" in name:
        _diff_versions(cli, name, one, other)
        return
    models, before, after = cli.client.models, _revision(one), _revision(other)
    before = models.get(name).generation if before is None else before
    found = models.diff(name, before) if after is None else models.diff(name, after, before)
    cli.show(found.raw, lambda: _diff_view(found))


def _revision(text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is not the number of a revision.")
    return None if text is None else int(text)


def _diff_versions(cli: Cli, name: str, one: str | None, other: str | None) -> None:
    """As `registry diff` does."""
    from modelyard.cli.registry import diff as diff_registered
    from modelyard.cli.registry import split_pick

    model, before = split_pick(name)
    of, _, after = (one or "latest").rpartition("@")
    if other is not None or of not in ("", model):
        raise typer.BadParameter(f"Give two versions of one model: {name} {model}@1.1.0.")
    diff_registered(cli, model, before or "latest", after)


# ------------------------------------------------------------------------------------------- rendering


def _steered(cli: Cli, now: Status) -> None:
    cli.show(now.raw, lambda: f"{now.name}: {rollout_text(now) or 'no rollout is under way'}")


def _rollout_view(now: Status, running: Operation | None, traffic: Traffic | None) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    if now.rollout is None:
        return f"{now.name}: no rollout is under way; it is {styled(now.state)}."
    rows = [
        ("Model", f"[bold]{now.namespace}/{now.name}[/]"),
        ("State", f"{styled(now.state)}  {escape(now.message)}"),
        ("Rollout", rollout_text(now)),
        ("Since", f"{ago(now.rollout.began_at)} ago"),
    ]
    if now.rollout.canary is not None:
        rows.append(("Canary", canary_text(now.rollout.canary)))
    if traffic is not None and traffic.judgement:
        rows.append(("Judgement", escape(traffic.judgement)))
    if running is not None:
        rows.append(("Operation", f"{running.id}: {running.kind}, by {escape(running.actor)}"))
    parts: list[RenderableType] = [pairs_table(rows)]
    if traffic is not None:
        parts += ["", arm_table(arm for arm in traffic.arms if arm.kind == "revision")]
    if running is not None:
        parts += ["", step_table(running.steps)]
    return Group(*parts)


def _revision_table(found: Sequence[Revision]) -> RenderableType:
    from rich.markup import escape

    made = table("REVISION", "IS", "BY", "AGE", "MESSAGE")
    for one in found:
        marks = [word for word, is_so in (("current", one.current), ("good", one.good)) if is_so]
        failed = f"[red]{escape(one.failure.code)}[/]  {escape(one.failure.message)}" if one.failure else ""
        cancelled = one.failure is not None and one.failure.code == "cancelled"
        given_up = ["cancelled" if cancelled else "[bold red]failed[/]"] if one.failure else []
        is_what = ", ".join([*given_up, *marks])
        made.add_row(str(one.generation), is_what, one.actor, ago(one.created_at), failed or escape(one.reason))
    return made


def _diff_view(found: Diff) -> RenderableType:
    from rich.console import Group

    head = f"From revision {found.before} to {found.after}"
    if not found.changes:
        return f"{head}: nothing changes."
    return Group(f"{head}:", "", change_table(found.changes))
