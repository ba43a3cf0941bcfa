"""Specs as they are written on the command line and in YAML files. What they mean is the API's to say."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from modelyard.cli.problems import CliError, ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One document of a file for ``apply``: a model by name, and all that is wanted of it."""

    name: str
    namespace: str | None
    spec: dict[str, Any]
    desired: str | None


def absolute_source(source: str, folder: Path) -> str:
    """A path of this machine made absolute, from ``folder``; a reference or URL as it is."""
    if "://" in source:
        return source
    path = Path(source).expanduser()
    looks_like_path = source.startswith((".", "~", "/")) or os.sep in source or path.suffix in _SUFFIXES
    if looks_like_path or (folder / path).exists():
        return os.path.normpath(folder / path)
    return source


_SUFFIXES = (".onnx", ".skops", ".pkl", ".pickle", ".joblib")
_USUAL = ("model.onnx", "model.skops")


def in_folder(source: str) -> tuple[str, str | None]:
    """What is to be loaded of a source that is a folder here, and its engine where the file's suffix does not tell:
    the folder with a ``model.py``, else its one model file, or the one of the usual name. Other sources as they are.

    Raises:
        CliError: it has several model files.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source, None
    if (folder / "model.py").is_file():
        return source, "python"
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    chosen = names if len(names) < 2 else [name for name in _USUAL if name in names]
    if len(chosen) > 1 or (names and not chosen):
        raise CliError(
            f"{source} has several models: {', '.join(names[:8])}.", hint="Name the file.", exit_code=ExitCode.INVALID
        )
    return (str(folder / chosen[0]) if chosen else source), None


def pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """``KEY=VALUE`` items as a mapping.

    Raises:
        typer.BadParameter: for one without ``=``.
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{item!r} is not KEY=VALUE.", param_hint=option)
        found[key] = value
    return found


def secrets(items: Iterable[str], option: str) -> dict[str, str]:
    """The values of ``NAME`` (from this environment) and ``NAME=@FILE`` items: a command line is for others to see.

    Raises:
        typer.BadParameter: for one whose value stands in it, or is not there.
    """
    found = {}
    for item in items:
        name, equals, place = item.partition("=")
        if equals and not place.startswith("@"):
            raise typer.BadParameter(
                f"The value of {name!r} stands in the command line, where others see it. Write {name} for the variable "
                f"of your environment, or {name}=@FILE.",
                param_hint=option,
            )
        if not equals and name not in os.environ:
            raise typer.BadParameter(f"There is no variable {name!r} in your environment.", param_hint=option)
        try:
            found[name] = Path(place[1:]).read_text().removesuffix("\n") if equals else os.environ[name]
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{place[1:]} cannot be read: {error}", param_hint=option) from None
    return found


def options(items: Iterable[str], command: str | None, port: int | None) -> dict[str, Any]:
    """The engine's options; values are read as YAML, so that numbers and lists are what they look like."""
    found = {key: _yaml(text) for key, text in pairs(items, "--option").items()}
    if command is not None:
        found["command"] = shlex.split(command)
    if port is not None:
        found["port"] = port
    return found


def pruned(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given: None, and mappings and lists that are empty."""
    kept = {}
    for key, value in tree.items():
        inner = pruned(value) if isinstance(value, Mapping) else value
        if inner is not None and inner != {} and inner != []:
            kept[key] = inner
    return kept


# Below these a name is one name, whatever dots it holds, and what it stands for is text.
_NAMED = (("container", "environment"), ("labels",))


def patch(settings: Iterable[str], removals: Iterable[str]) -> dict[str, Any]:
    """A merge patch from ``PATH=VALUE`` items and paths to remove. Values are read as YAML, except where only
    text can stand.

    Raises:
        typer.BadParameter: for one without ``=``, or a path that is given twice.
    """
    tree: dict[str, Any] = {}
    for path, text in pairs(settings, "--set").items():
        parts = _parts(path)
        _place(tree, parts, text if _is_text(parts) else _yaml(text), path)
    for path in removals:
        _place(tree, _parts(path), None, path)
    return tree


def _parts(path: str) -> list[str]:
    parts = path.split(".")
    for prefix in _NAMED:
        depth = len(prefix)
        if tuple(parts[:depth]) == prefix and len(parts) > depth:
            return [*prefix, ".".join(parts[depth:])]
    return parts


def _is_text(parts: Sequence[str]) -> bool:
    return parts in (["description"], ["source"]) or any(tuple(parts[:-1]) == prefix for prefix in _NAMED)


def _place(tree: dict[str, Any], parts: Sequence[str], value: Any, path: str) -> None:
    for part in parts[:-1]:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"{path!r} is within another path that is given too.")
        tree = inner
    if parts[-1] in tree:
        raise typer.BadParameter(f"{path!r} is given twice, or is around another path that is given too.")
    tree[parts[-1]] = value


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def target(text: str | None) -> dict[str, Any]:
    """``concurrency=4`` or ``rps=50`` as an autoscaling's metric and target; ``none`` removes the target.

    Raises:
        typer.BadParameter: if it is none of these.
    """
    if text is None:
        return {}
    if text == "none":
        return {"target": None}
    metric, _, number = text.partition("=")
    try:
        return {"metric": metric, "target": float(number)}
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no target: write concurrency=4, rps=50 or none.", param_hint="--target"
        ) from None


def read_manifests(file: str) -> list[Manifest]:
    """All models of a YAML file (``-``: standard input). Relative sources start at the file's folder.

    Raises:
        CliError: naming every document that is none.
    """
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        documents = [d for d in yaml.safe_load_all(text) if d is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"Cannot read {file}: {error}", exit_code=ExitCode.USAGE) from error
    except yaml.YAMLError as error:
        raise CliError(f"{file} is not YAML: {error}", exit_code=ExitCode.INVALID) from error
    if not documents:
        raise CliError(f"{file} holds no model.", exit_code=ExitCode.INVALID)
    folder = Path.cwd() if file == "-" else Path(file).absolute().parent
    problems: list[str] = []
    manifests = [_manifest(document, number, folder, problems) for number, document in enumerate(documents, 1)]
    if problems:
        raise CliError(
            f"{file} is not valid.", log="\n".join(problems), exit_code=ExitCode.INVALID,
            hint="A document has name, spec, and if you like namespace and desired (running or stopped).",
        )  # fmt: skip
    return manifests


def _manifest(document: object, number: int, folder: Path, problems: list[str]) -> Manifest:
    where = f"document {number}"
    if not isinstance(document, dict):
        problems.append(f"{where}: it is no mapping")
        document = {}
    else:
        if unknown := sorted(str(key) for key in set(document) - {"name", "namespace", "spec", "desired"}):
            problems.append(f"{where}: unknown {', '.join(unknown)}")
        if not isinstance(document.get("name"), str):
            problems.append(f"{where}: name is missing or no text")
        if not isinstance(document.get("spec"), dict):
            problems.append(f"{where}: spec is missing or no mapping")
        if document.get("desired") not in (None, "running", "stopped"):
            problems.append(f"{where}: desired is running or stopped")
    spec = document.get("spec")
    spec = dict(spec) if isinstance(spec, dict) else {}
    if isinstance(spec.get("source"), str):
        spec["source"] = absolute_source(spec["source"], folder)
    return Manifest(
        name=str(document.get("name")), namespace=document.get("namespace"), spec=spec, desired=document.get("desired")
    )
