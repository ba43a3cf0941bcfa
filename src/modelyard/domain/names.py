"""Names and references: what may be called what, and how one thing names another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from modelyard.domain.errors import Problem
from modelyard.domain.versions import InvalidRange, is_range, is_version, parse_range

DEFAULT_NAMESPACE = "default"
NAME_RULE = "1 to 63 lower-case letters, digits and hyphens, starting with a letter and ending with a letter or digit"

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_ALIAS = re.compile(r"[a-z](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?\Z")


def is_name(text: str) -> bool:
    """Whether ``text`` may name a namespace or a model (a DNS label, RFC 1123, that starts with a letter)."""
    return _NAME.match(text) is not None


def is_label_key(text: str) -> bool:
    return _LABEL_KEY.match(text) is not None


def is_alias(text: str) -> bool:
    """Whether ``text`` may name an alias: nothing that reads as a version or a range of versions may."""
    return _ALIAS.match(text) is not None and not is_range(text)


def name_problem(path: str, text: str) -> Problem | None:
    if is_name(text):
        return None
    return Problem(path, "invalid_name", f"{text!r} is not a valid name: use {NAME_RULE}.")


class InvalidReference(ValueError):
    """The text is not a reference to a model's source."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file or folder of this machine, by absolute path."""

    path: str

    def __str__(self) -> str:
        return f"file://{self.path}"


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model: ``pat@1.4.2``."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class RegisteredAlias:
    """A registered model by alias: ``pat@stable``; a bare ``pat`` means ``pat@latest``."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}"


@dataclass(frozen=True, slots=True)
class RegisteredRange:
    """The newest version of a registered model in a range, by the range's one spelling: ``pat@^1.4``, ``pat@1.4``."""

    name: str
    range: str

    def __str__(self) -> str:
        return f"{self.name}@{self.range}"


Registered = RegisteredVersion | RegisteredAlias | RegisteredRange
Reference = FileSource | Registered


def parse_reference(text: str) -> Reference:
    """Read a model's source: ``name``, ``name@1.2.0``, ``name@^1.2``, ``name@stable``, ``file:///path`` or ``/path``.

    Raises:
        InvalidReference: with a sentence that says what to write instead.
    """
    if not text or text != text.strip() or "\x00" in text:
        raise InvalidReference("A source is a name, name@version, name@alias or file:///absolute/path.")
    if text.startswith("/"):
        return _file_source(text)
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file":
            raise InvalidReference(
                f"{parts.scheme}:// sources are not supported: use file:///absolute/path on this machine."
            )
        if parts.netloc not in ("", "localhost"):
            raise InvalidReference(
                f"file:// sources name this machine only: write file:///{parts.netloc}{parts.path} for a path."
            )
        if parts.query or parts.fragment:
            raise InvalidReference("A file:// source has no query or fragment: write '?' as %3F and '#' as %23.")
        return _file_source(unquote(parts.path))
    name, at, pick = text.partition("@")
    if not is_name(name):
        raise InvalidReference(
            f"{name!r} is not the name of a registered model ({NAME_RULE}); a path starts with '/' or file://."
        )
    return parse_pick(name, pick if at else "latest")


def parse_pick(name: str, pick: str) -> Registered:
    """Read which version of the registered model ``name`` is meant: a version, a range or an alias.

    Raises:
        InvalidReference: with a sentence that says what to write instead.
    """
    try:
        # One spelling a range: =1.2.0 is the version.
        pick = parse_range(pick).text
    except InvalidRange:
        if _ALIAS.match(pick):
            return RegisteredAlias(name, pick)
        raise InvalidReference(
            f"{pick!r} is neither a semantic version (1.2.0; no build metadata), a range of them (^1.2) nor an alias "
            "(stable)."
        ) from None
    return RegisteredVersion(name, pick) if is_version(pick) else RegisteredRange(name, pick)


def _file_source(path: str) -> FileSource:
    if not path.startswith("/"):
        raise InvalidReference("A file:// source needs an absolute path: file:///models/digits.onnx.")
    if "\x00" in path:
        raise InvalidReference("A path holds no NUL character.")
    if ".." in path.split("/"):
        raise InvalidReference("A path must not contain '..': write where the model really is.")
    return FileSource(path.rstrip("/") or "/")
