"""``policy``: rules over many models, what they come to for one, and exceptions from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelyard.cli.context import SHARED, Cli, ReasonOption, command
from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.views import table

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.client import ModelPolicies, Policy

policies = typer.Typer(
    help="Say when models are stopped and what they may take. Without --namespace the policies are the whole "
    "installation's.",
    no_args_is_help=True,
)

PolicyArgument = Annotated[str, typer.Argument(metavar="POLICY", help="The policy's name.", show_default=False)]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)]
FileOption = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="The policy, as YAML or JSON; - for standard input.")
]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; recorded with the override.")]


def register(app: typer.Typer) -> None:
    for name, function in (("set", set_policy), ("show", show), ("list", list_policies), ("delete", delete)):
        command(policies, name)(function)
    command(policies, "explain")(explain)
    command(policies, "preview")(preview)
    command(policies, "override")(override)
    app.add_typer(policies, name="policy", rich_help_panel=SHARED)


def set_policy(cli: Cli, file: FileOption, reason: ReasonOption = "") -> None:
    """Set a policy from a file: name, rules, and if you like selector, mode (enforce, warn) and description. It holds
    at once; see `preview` first."""
    document = _read(file)
    name = document.pop("name")
    policy = cli.client.policies.set(name, document, namespace=cli.namespace, reason=reason)
    cli.show(policy.raw, lambda: f"policy {policy.name} is set ({policy.mode})")


def show(cli: Cli, name: PolicyArgument) -> None:
    """Show a policy as a file that `set` takes."""
    import yaml

    policy = cli.client.policies.get(name, namespace=cli.namespace)
    cli.show(policy.raw, lambda: yaml.safe_dump(_document(policy), sort_keys=False, allow_unicode=True).rstrip())


def list_policies(cli: Cli) -> None:
    """List policies."""
    found = cli.client.policies.list(namespace=cli.namespace)
    if not found and not cli.is_plain:
        cli.say("No policies. Make one: modelyard policy set -f weekend.yaml")
        return
    cli.show([policy.raw for policy in found], lambda: _policy_table(found))


def delete(cli: Cli, name: PolicyArgument, reason: ReasonOption = "") -> None:
    """Delete a policy and its overrides. What it has stopped stays so."""
    cli.client.policies.delete(name, namespace=cli.namespace, reason=reason)
    cli.say(f"policy {name} is deleted")


def explain(cli: Cli, model: ModelArgument) -> None:
    """Every rule of every policy that is for a model: whether it holds, what it yields to, what comes."""
    found = cli.client.policies.explain(model)
    cli.show(found.raw, lambda: _explained([found]))
    if not cli.is_plain:
        if not found.rulings:
            cli.say("no policy is for it")
        for finding in found.findings:
            cli.say(finding.message)
        if found.closed_until is not None:
            cli.say(f"starts are refused until {found.closed_until:%Y-%m-%d %H:%M} UTC")
        if found.stops_at is not None:
            cli.say(f"next stop: {found.stops_at:%Y-%m-%d %H:%M} UTC. {found.stops_because}")


def preview(cli: Cli, file: FileOption) -> None:
    """What a policy would come to for each model that it selects, and when. Nothing is changed."""
    found = cli.client.policies.preview(_read(file), namespace=cli.namespace)
    cli.show([one.raw for one in found], lambda: _explained(found))
    if not cli.is_plain:
        for one in found:
            for finding in one.findings:
                cli.say(f"{one.namespace}/{one.name}: {finding.message}")
        stops = sorted((one.stops_at, one.namespace, one.name, one.stops_because) for one in found if one.stops_at)
        for at, namespace, name, because in stops:
            cli.say(f"{namespace}/{name} would be stopped at {at:%Y-%m-%d %H:%M} UTC: {because}")
        cli.say(f"{len(found)} model(s) selected, {len(stops)} with a stop to come by the clock; nothing is changed")


def override(
    cli: Cli,
    model: ModelArgument,
    policy: PolicyArgument,
    reason: WhyOption = "",
    lasts: Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long, from now.")] = "",
    end: Annotated[bool, typer.Option("--end", help="End the override that there is.")] = False,
) -> None:
    """Make an exception from a policy for a model, with a reason and an end."""
    if end:
        cli.client.policies.end_override(model, policy, reason=reason)
        cli.say(f"policy {policy} holds for {model} again")
        return
    if not reason or not lasts:
        raise typer.BadParameter("Say why and for how long: --reason … --for 4h.", param_hint="--for")
    made = cli.client.policies.override(model, policy, reason=reason, expires=lasts)
    cli.show(
        made.raw, lambda: f"policy {policy} does not hold for {model} until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- files


def _read(file: str) -> dict[str, Any]:
    """Raises CliError."""
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"Cannot read {file}: {error}", exit_code=ExitCode.USAGE) from error
    except yaml.YAMLError as error:
        raise CliError(f"{file} is not YAML: {error}", exit_code=ExitCode.INVALID) from error
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise CliError(
            f"{file} is not a policy.", exit_code=ExitCode.INVALID,
            hint="A policy has name and rules, and if you like selector, mode and description.",
        )  # fmt: skip
    return document


def _document(policy: Policy) -> dict[str, Any]:
    from modelyard.domain.quantities import duration_in_words, parse_duration

    found: dict[str, Any] = {"name": policy.name}
    if policy.description:
        found["description"] = policy.description
    rules = said(policy.rules)
    for name in ("idle_after", "max_run_time"):
        if name in rules:
            rules[name] = duration_in_words(parse_duration(rules[name]))
    found |= {"mode": policy.mode, "selector": said(policy.selector), "rules": rules}
    return {key: value for key, value in found.items() if value}


def said(value: Any) -> Any:
    """Without what demands nothing."""
    if isinstance(value, dict):
        return {k: v for k, v in ((k, said(v)) for k, v in value.items()) if v not in (None, False, {}, [], "")}
    return [said(item) for item in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------- rendering


def _policy_table(found: Sequence[Policy]) -> Table:
    from rich.markup import escape

    made = table("POLICY", "MODE", "RULES", "FOR", "CHANGED BY")
    for one in found:
        chosen = said(one.selector)
        whom = "; ".join(f"{key} {_listed(value)}" for key, value in chosen.items()) or "all models"
        made.add_row(one.name, one.mode, _listed(list(said(one.rules))), escape(whom), escape(one.changed_by))
    return made


def _listed(value: Any) -> str:
    """``a, b`` or ``key=value, key=value``."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return ", ".join(str(one) for one in value)


def _explained(found: Sequence[ModelPolicies]) -> Table:
    from rich.markup import escape

    made = table("MODEL", "RULE", "POLICY", "OF", "VALUE", "STANDING", "WHY")
    for one in found:
        for ruling in one.rulings:
            whose = ruling.namespace or "installation"
            made.add_row(
                one.name, ruling.rule, ruling.policy, whose, escape(ruling.value), ruling.standing, escape(ruling.why)
            )
    return made
