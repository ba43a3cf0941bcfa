"""Which models a path stands for: a file, a folder that is one model, or a folder of models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from modelyard.domain.spec import ENGINE_OF_SUFFIX

_CODE: Final = "model.py"
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Found(NamedTuple):
    """A model: ``path`` is what its engine loads, ``watched`` the file or folder that is all of it."""

    name: str
    path: Path
    watched: Path


class NothingFound(Exception):
    """There is no model at a path; its text says what was looked for."""


def find(path: Path, name: str = "") -> list[Found]:
    """The models at ``path``: one of ``name`` (else told by the path), or those in a folder of models.

    A folder is one model if it has a ``model.py``, a ``model.onnx`` or the like, a single file of a known kind, or
    numbered folders of which the highest is one (as in Triton's repositories). In any other each file and folder is a
    model by its name; what is none, or hidden, is passed over.

    Raises:
        NothingFound: there is none
    """
    path = path.absolute()
    if not path.exists():
        raise NothingFound(f"There is no {path}.")
    one = model_in(path)
    if one is not None:
        told = (
            path.parent.name if path.is_file() and path.stem == "model" else path.stem if path.is_file() else path.name
        )
        return [Found(name or _named(told), one, path)]
    if path.is_file():
        raise NothingFound(f"{path} is none of {', '.join(ENGINE_OF_SUFFIX)}.")
    found: dict[str, Found] = {}
    for child in sorted(path.iterdir()):
        inner = None if child.name.startswith((".", "_")) else model_in(child)
        if inner is not None:
            called = _named(child.stem if child.is_file() else child.name)
            found.setdefault(called, Found(called, inner, child))
    if not found:
        known = ", ".join(ENGINE_OF_SUFFIX)
        raise NothingFound(f"There is no model in {path}: a file of {known}, or a folder with such a file or {_CODE}.")
    if name:
        raise NothingFound(f"{path} holds {len(found)} models, which have names of their own: leave {name}= out.")
    return list(found.values())


def model_in(path: Path) -> Path | None:
    """What an engine loads of the one model that is at ``path``, as :func:`find` says; None: there is no one model."""
    if path.is_file():
        return path if path.suffix.lower() in ENGINE_OF_SUFFIX else None
    if (path / _CODE).is_file():
        return path
    files = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix.lower() in ENGINE_OF_SUFFIX]
    named = [file for file in files if file.stem == "model"]
    if named or (len(files) == 1 and not any(child.is_dir() for child in path.iterdir())):
        return (named or files)[0]
    numbered = [child for child in path.iterdir() if child.is_dir() and child.name.isdecimal()]
    return model_in(max(numbered, key=lambda child: int(child.name))) if numbered else None


def _named(name: str) -> str:
    return _UNFIT.sub("-", name).strip("-._") or "model"
