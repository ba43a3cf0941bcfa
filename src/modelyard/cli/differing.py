"""What differs between two versions, as tables that stay readable for models of a thousand tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from modelyard.cli.forecasts import value_text
from modelyard.cli.views import pairs_table, table
from modelyard.domain.quantities import rounded_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.client import VersionDiff
    from modelyard.client.diff_types import (
        ContentDiff,
        FileDifference,
        FileTensors,
        Some,
        TensorDifference,
        TensorShape,
    )

T = TypeVar("T")

# So many things of each kind are shown; the rest is counted.
SHOWN = 12


def diff_view(name: str, found: VersionDiff) -> RenderableType:
    from rich.console import Group

    head = f"From {name}@{found.before} to {found.after}"
    content = found.content
    differs = content is not None and any((content.added.count, content.removed.count, content.changed.count))
    if not found.changes and not differs:
        return f"{head}: nothing differs."
    parts: list[RenderableType] = [f"{head}:"]
    if found.changes:
        parts += ["", _fields(found)]
    if content is None:
        parts += ["", "The store has not the files of both."]
    elif differs:
        parts += ["", _bytes(content), "", _files(content)]
        for tensors in content.tensors.items:
            parts += ["", *_tensors(tensors)]
    return Group(*parts)


def _fields(found: VersionDiff) -> Table:
    from rich.markup import escape

    made = table("FIELD", "BEFORE", "AFTER", wrap=("BEFORE", "AFTER"))
    for change in found.changes:
        made.add_row(escape(change.path), escape(value_text(change.before)), escape(value_text(change.after)))
    return made


def _bytes(content: ContentDiff) -> Table:
    total = content.fetch + content.shared
    share = f" ({content.fetch * 100 / total:.1f} %)" if total else ""
    files = [("added", content.added), ("removed", content.removed), ("changed", content.changed)]
    counts = [f"{some.count} {word}" for word, some in files if some.count]
    return pairs_table(
        [
            ("To fetch", f"{rounded_bytes(content.fetch)}{share}, where the first is already"),
            ("Shared", rounded_bytes(content.shared)),
            ("Files", f"{', '.join(counts)}, {content.same} the same"),
        ]
    )


def _files(content: ContentDiff) -> Table:
    from rich.markup import escape

    made = table("FILE", "IS", "BEFORE", "AFTER")
    for word, some in (("changed", content.changed), ("added", content.added), ("removed", content.removed)):
        for one in some.items[:SHOWN]:
            made.add_row(escape(one.path), word, *_sizes(one))
        if rest := _rest(some):
            made.add_row(rest, word, "", "")
    return made


def _sizes(one: FileDifference) -> tuple[str, str]:
    before, after = one.before, one.after
    if before is not None and after is not None and before.executable != after.executable:
        return tuple(f"{rounded_bytes(s.size)}{', executable' if s.executable else ''}" for s in (before, after))  # type: ignore[return-value]
    return "-" if before is None else rounded_bytes(before.size), "-" if after is None else rounded_bytes(after.size)


def _tensors(found: FileTensors) -> Iterator[RenderableType]:
    from rich.markup import escape

    kinds = [("changed", found.changed), ("added", found.added), ("removed", found.removed)]
    counts = [f"{some.count} {word}" for word, some in kinds if some.count]
    yield f"Tensors of [bold]{escape(found.path)}[/]: {', '.join([*counts, f'{found.same} the same'])}"
    if not counts:
        return
    made = table("TENSOR", "IS", "BEFORE", "AFTER", "SIZE")
    for word, some in kinds:
        for one in some.items[:SHOWN]:
            made.add_row(escape(one.name), *_change(word, one), rounded_bytes(one.size))
        if rest := _rest(some):
            made.add_row(rest, word, "", "", "")
    yield made


def _change(word: str, one: TensorDifference) -> tuple[str, str, str]:
    if one.before is not None and one.before == one.after:
        return "other values", _shape(one.before), "the same shape"
    return word, _shape(one.before), _shape(one.after)


def _shape(shape: TensorShape | None) -> str:
    return "-" if shape is None else f"{shape.dtype} {'×'.join(map(str, shape.shape)) or 'one value'}"


def _rest(some: Some[T]) -> str:
    more = some.count - min(len(some.items), SHOWN)
    return f"… and {more} more" if more else ""
