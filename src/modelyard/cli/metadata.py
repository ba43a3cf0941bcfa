"""What is said of a version on the command line, read and checked before anything is moved for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli.problems import CliError, ExitCode
from modelyard.cli.specs import pairs

PARTS = ("major", "minor", "patch")

BumpOption = Annotated[
    str | None, typer.Option("--bump", metavar="PART", help="major, minor or patch: the number after the latest.")
]
AliasOption = Annotated[
    list[str] | None, typer.Option("--alias", help="Have this alias point at it (stable, experimental, …).")
]
FrameworkOption = Annotated[
    str | None, typer.Option("--framework", metavar="NAME[:VERSION]", help="What it was made with.")
]
MetricOption = Annotated[list[str] | None, typer.Option("--metric", metavar="NAME=NUMBER", help="What it reaches.")]
LabelOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="To find it by.")]
ParentOption = Annotated[str, typer.Option("--parent", help="The version that it was made of.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="What it was trained on.")]
RunOption = Annotated[str, typer.Option("--run", help="The training run.")]
RevisionOption = Annotated[str, typer.Option("--revision", help="The revision of the code that trained it.")]
LicenceOption = Annotated[str, typer.Option("--licence", help="If not the model's; an SPDX expression.")]
CardOption = Annotated[
    Path | None, typer.Option("--card", help="The model card: a Markdown file.", exists=True, dir_okay=False)
]
DescriptionOption = Annotated[str, typer.Option("--description", help="A few words.")]
AllowCodeOption = Annotated[bool, typer.Option("--allow-code", help="Source code may be in it (model.py).")]
AllowPickleOption = Annotated[
    bool, typer.Option("--allow-pickle", help="Files that run code when they are loaded may be: you trust them.")
]
IncludeOption = Annotated[
    list[str] | None, typer.Option("--include", metavar="PATTERN", help="Only files whose path is like this.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="No files whose path is like this: *.bin.")
]


def check_names(model: str, number: str | None, bump: str | None, aliases: Sequence[str]) -> None:
    """Raises typer.BadParameter and, of what the server would refuse too, CliError."""
    from modelyard.domain.names import name_problem
    from modelyard.domain.registry import LATEST
    from modelyard.domain.registry_rules import alias_complaint, version_complaint

    if bump is not None and bump not in PARTS:
        raise typer.BadParameter(f"{bump} is none of {', '.join(PARTS)}.", param_hint="--bump")
    if number is None and bump is None:
        raise typer.BadParameter(f"Say which version this is: {model}@1.0.0, or --bump {', '.join(PARTS)}.")
    if number is not None and bump is not None:
        raise typer.BadParameter(f"The number is {number} already.", param_hint="--bump")
    problem = name_problem("name", model)
    complaints = [problem.message if problem else None, None if number is None else version_complaint(number)]
    for alias in aliases:
        kept = f"The alias {LATEST!r} is kept by the registry: it is the newest release."
        complaints.append(kept if alias == LATEST else alias_complaint(alias))
    if wrong := [complaint for complaint in complaints if complaint]:
        raise CliError("This makes no version.", log="\n".join(wrong), exit_code=ExitCode.INVALID)


def check_about(about: Mapping[str, Any]) -> None:
    """Raises CliError with what the server would refuse of what is to be said of a version."""
    from modelyard.domain import registry_rules as rules

    framework, lineage = about.get("framework") or {}, about.get("lineage") or {}
    checks: list[tuple[str, object, Callable[[str], str | None]]] = [
        ("framework", framework.get("name"), rules.framework_complaint),
        ("framework's version", framework.get("version"), rules.line_complaint),
        ("licence", about.get("licence"), rules.line_complaint),
        ("description", about.get("description"), rules.description_complaint),
        ("card", about.get("card"), rules.card_complaint),
        ("parent", lineage.get("parent"), rules.parent_complaint),
        *((key, lineage.get(key), rules.line_complaint) for key in ("dataset", "training_run", "code_revision")),
    ]
    # What is no text the server says.
    wrong = [f"{what}: {said}" for what, text, rule in checks if isinstance(text, str) and (said := rule(text))]
    if wrong:
        raise CliError("This cannot be said of a version.", log="\n".join(wrong), exit_code=ExitCode.INVALID)


def numbers_of(texts: Sequence[str]) -> dict[str, float]:
    from modelyard.domain.registry_rules import metric_complaint

    numbers = {}
    for name, text in pairs(texts, "--metric").items():
        try:
            numbers[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{name} is {text!r}: a metric is a number.", param_hint="--metric") from None
        if wrong := metric_complaint(numbers[name]):
            raise typer.BadParameter(f"{name} is {text!r}: {wrong}", param_hint="--metric")
    return numbers


def text_of(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"{card} is not text in UTF-8: byte {error.start} cannot be read."
        raise CliError(
            message, hint="A model card is Markdown: save it as UTF-8.", exit_code=ExitCode.INVALID
        ) from None


def framework_of(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    name, _, version = text.partition(":")
    return {"name": name, "version": version}
