"""``init``, and the file ``model.yaml`` that it writes into a folder: what ``push`` says of the version that it makes
of the folder, so that it need not be given on the command line each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from modelyard.cli.context import REGISTRY, Cli, command
from modelyard.cli.problems import CliError, ExitCode

PROJECT: Final = "model.yaml"

_HEAD: Final = """\
# What `modelyard push` says of the version that it makes of this folder; what is given on its command line goes before
# it. This file itself is not in the version. Raise the number for each version, or leave it out and push with --bump.
"""
# What is in no version: it is not the model's, or no version may have it.
_LEAVE_OUT: Final = [".git/", "__pycache__/", "*.pyc", ".DS_Store"]
_CARDS: Final = ("README.md", "MODEL_CARD.md", "model_card.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A ``model.yaml`` as it was read. ``about`` is what is said of the version, as publishing takes it."""

    name: str
    version: str | None = None
    aliases: tuple[str, ...] = ()
    card: Path | None = None
    exclude: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    command(app, "init", rich_help_panel=REGISTRY)(init)


def init(
    cli: Cli,
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where the model's files are, or will be.", file_okay=False)
    ] = Path(),
    name: Annotated[str | None, typer.Option("--name", help="The model's (default: the folder's).")] = None,
) -> None:
    """Write a model.yaml into a folder: what `modelyard push` says of the versions that it makes of it."""
    import yaml

    from modelyard.domain.names import name_problem

    path = folder / PROJECT
    if path.exists() or path.is_symlink():
        raise CliError(f"{path} is there already.", hint="Edit it, or remove it first.", exit_code=ExitCode.REFUSED)
    called = name or _name_of(folder.resolve())
    if problem := name_problem("name", called):
        raise CliError(problem.message, hint="Give one: --name NAME.", exit_code=ExitCode.INVALID)
    made = {"name": called, "version": "0.1.0", **_found(folder)}
    folder.mkdir(parents=True, exist_ok=True)
    text = _HEAD + yaml.safe_dump(made, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    cli.say(f"{path} is written: look at it, then `modelyard push {folder}`")
    if cli.is_plain:
        cli.show({"path": str(path.resolve()), **made}, lambda: "")


def project_of(source: str) -> Project | None:
    """The project that a folder is, if it is one. Raises CliError for a ``model.yaml`` that is none."""
    path = Path(source).expanduser() / PROJECT
    if "://" in source or not path.is_file():
        return None
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CliError(f"{path} is no YAML.", log=str(error), exit_code=ExitCode.INVALID) from error
    problems = list(_problems(read))
    if problems:
        raise CliError(f"{path} cannot be used.", log="\n".join(problems), exit_code=ExitCode.INVALID)
    card = path.parent / read["card"] if read.get("card") else None
    if card is not None and not card.is_file():
        raise CliError(f"{path} names the card {read['card']}, which is not there.", exit_code=ExitCode.INVALID)
    about = {key: read[key] for key in _ABOUT if read.get(key)}
    return Project(
        name=read["name"], version=read.get("version"), aliases=tuple(read.get("aliases") or ()), card=card,
        exclude=(PROJECT, *(read.get("exclude") or ())), trust=tuple(read.get("trust") or ()), about=about,
    )  # fmt: skip


# What may be in the file, and of which type; the server looks at what is in it.
_ABOUT: Final[Mapping[str, type]] = {
    "framework": dict, "signature": dict, "lineage": dict, "dependencies": list, "licence": str, "description": str,
    "metrics": dict, "labels": dict,
}  # fmt: skip
_KEYS: Final[Mapping[str, type]] = {
    "name": str, "version": str, "aliases": list, "card": str, "exclude": list, "trust": list, **_ABOUT,
}  # fmt: skip
_TYPES: Final[Mapping[type, str]] = {
    str: "a text (in quotes, if it looks like a number)",
    list: "a list",
    dict: "a mapping",
}
_TEXTS: Final = ("aliases", "exclude", "trust", "dependencies")


def _problems(read: object) -> Iterator[str]:
    if not isinstance(read, dict):
        yield "It is a mapping: name: NAME, and what else there is to say."
        return
    if not read.get("name"):
        yield "name: it is missing."
    for key, value in read.items():
        if key not in _KEYS:
            yield f"{key}: there is no such key; there are {', '.join(_KEYS)}."
        elif value is not None and not isinstance(value, _KEYS[key]):
            yield f"{key}: it is {_TYPES[_KEYS[key]]}."
        elif key in _TEXTS and isinstance(value, list) and not all(isinstance(item, str) for item in value):
            yield f"{key}: each of it is {_TYPES[str]}."


def _name_of(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")


def _found(folder: Path) -> dict[str, Any]:
    """What the files tell of themselves."""
    found: dict[str, Any] = {"description": ""}
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    models = [name for name in names if name.endswith(".onnx")]
    if len(models) == 1:
        found |= said_by(folder / models[0])
    elif any(name.endswith(".skops") for name in names):
        found["framework"] = {"name": "sklearn"}
    elif any(name.endswith(".gguf") for name in names):
        found["framework"] = {"name": "gguf"}
    elif any(name.endswith(".safetensors") for name in names):
        found["framework"] = {"name": "safetensors"}
    found |= {"licence": "", "labels": {}, "metrics": {}, "lineage": {"dataset": "", "code_revision": ""}}
    if card := next((name for name in _CARDS if name in names), None):
        found["card"] = card
    return {**found, "exclude": _LEAVE_OUT, "trust": ["code"] if "model.py" in names else []}


def said_by(model: Path) -> dict[str, Any]:
    """The framework and the signature that an ONNX model has in its file."""
    from modelyard.domain.registry import Tensor
    from modelyard.registry.formats.interface import told_by

    framework, said = told_by(model)
    if framework is None:
        return {}

    def listed(tensors: tuple[Tensor, ...]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]

    signature = {"inputs": listed(said.inputs), "outputs": listed(said.outputs)}
    made_with = {"name": framework.name, "version": framework.version}
    return {"framework": made_with, **({"signature": signature} if any(signature.values()) else {})}
