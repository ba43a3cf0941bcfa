"""Documents that this version cannot read whole: what can be read of them is kept.

Another version may have written what this one does not know: an engine, a value of an enumeration. One such
document must not keep a page from being listed nor its model from being stopped and deleted. A *spec* then
says in ``unresolved`` what is wrong, and its document stays as it is until the user sends a new one. A
*status* only repeats what is decided and observed anew with every pass, so what is not known of it is left out.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from modelyard.domain.model import Failure, Status, StopMode, StopRequest, Target, Transition
from modelyard.domain.spec import Engine, Spec
from modelyard.domain.states import State
from modelyard.store.codec import Raw, encode

T = TypeVar("T")

_ACTOR: Final = "modelyard"
# What a stop whose terms cannot be read waits for, in seconds.
_PATIENCE: Final = 30.0


class _Unreadable(Exception):
    """A value that nothing can be made of."""


_decode_spec: Final = msgspec.json.Decoder(Spec).decode
_decode_status: Final = msgspec.json.Decoder(Status).decode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode


def decode_spec(document: Raw) -> Spec:
    """Never raises: see the module."""
    try:
        return _decode_spec(document)
    except msgspec.DecodeError as error:
        return _salvaged_spec(document, str(error))


def decode_failure(document: Raw) -> Failure | None:
    try:
        return _decode_failure(document)
    except msgspec.DecodeError:
        return None


def decode_status(document: Raw, state: str, generation: int, at: datetime) -> Status:
    """Never raises: see the module. What cannot be done without comes from the row: ``state``, the target's
    ``generation``, and ``at``, when it was written."""
    try:
        return _decode_status(document)
    except msgspec.DecodeError:
        return _salvaged_status(document, State(state), generation, at)


# ------------------------------------------------------------------------------------------- a spec


def _salvaged_spec(document: Raw, reason: str) -> Spec:
    content = _content(document)
    if not content:
        return Spec(engine=Engine.COMMAND, unresolved=f"The stored spec cannot be read ({reason}).{_WHAT_TO_DO}")
    values, unread = _fields(Spec, content, "")
    # A command engine without the rest of its spec starts nothing; it only has to be some engine.
    values.setdefault("engine", Engine.COMMAND)
    words = [_complaint(path, value) for path, value in unread.items()] or [f"{reason}."]
    return Spec(**{**values, "unresolved": f"This version of Modelyard {' '.join(words)}{_WHAT_TO_DO}"})


_WHAT_TO_DO: Final = " Stop or delete the model, update it with a whole new spec, or upgrade Modelyard."


def _complaint(path: str, value: Any) -> str:
    if path in ("engine", "backend"):
        return f"has no {path} {value!r}."
    return f"cannot read {path} of the stored spec ({str(value)[:60]!r})."


# ------------------------------------------------------------------------------------------- a status


def _salvaged_status(document: Raw, state: State, generation: int, at: datetime) -> Status:
    values, _ = _fields(Status, _content(document), "")
    message = "Part of the stored status is of another version of Modelyard and was left out."
    values.setdefault("target", Target(generation))
    values.setdefault(
        "transition",
        Transition(before=None, after=state, at=at, actor=_ACTOR, reason="StatusUnreadable", message=message),
    )
    # The row's state is what lists are filtered by, and the database guards that it is one.
    values["state"] = state
    if state in (State.STOPPING, State.DELETING) and values.get("stop") is None:
        values["stop"] = StopRequest(
            mode=StopMode.DRAIN, timeout=_PATIENCE, at=at, actor=_ACTOR, reason="StatusUnreadable"
        )
    return Status(**values)


# ------------------------------------------------------------------------------------------- any document


def _content(document: Raw) -> Mapping[str, Any]:
    try:
        content = msgspec.json.decode(document)
    except msgspec.DecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _fields(kind: type[Any], content: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of the dataclass ``kind`` that can be read, by name, and the values of those that cannot,
    by path."""
    values: dict[str, Any] = {}
    unread: dict[str, Any] = {}
    for name, annotation in _annotations(kind).items():
        if name in content:
            try:
                values[name] = _value(annotation, content[name], f"{prefix}{name}", unread)
            except _Unreadable:
                unread.setdefault(f"{prefix}{name}", content[name])
    return values, unread


def _value(annotation: Any, value: Any, path: str, unread: dict[str, Any]) -> Any:
    """``value`` as ``annotation`` wants it, as far as that goes."""
    try:
        return msgspec.json.decode(encode(value), type=annotation)
    except msgspec.DecodeError:
        pass
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(option, type) and isinstance(value, dict):
            return _partly(option, value, path, unread)
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return _items(typing.get_args(option)[0], value, path, unread)
    raise _Unreadable


def _partly(kind: type[T], value: Mapping[str, Any], path: str, unread: dict[str, Any]) -> T:
    values, missed = _fields(kind, value, f"{path}.")
    unread.update(missed)
    try:
        return kind(**values)
    except TypeError:
        # A field that has no default could not be read.
        raise _Unreadable from None


def _items(annotation: Any, value: list[Any], path: str, unread: dict[str, Any]) -> tuple[Any, ...]:
    found = []
    for index, item in enumerate(value):
        try:
            found.append(_value(annotation, item, f"{path}[{index}]", unread))
        except _Unreadable:
            unread.setdefault(f"{path}[{index}]", item)
    return tuple(found)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _annotations(kind: type[Any]) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
