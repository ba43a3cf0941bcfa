"""In what two values differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from modelyard.domain.secrets import Secret


def differing(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each field at or below ``path`` (empty: of the values themselves) in which they differ, by its path, with both
    values; one that is not there is None. Dataclasses and mappings are looked into, all else is compared whole. Of
    secrets only that they differ is told."""
    if old == new:
        return
    before, after = _parts(old), _parts(new)
    if before is None or after is None:
        yield path, _told(old), _told(new)
        return
    for name in dict.fromkeys([*before, *after]):
        yield from differing(f"{path}.{name}" if path else name, before.get(name), after.get(name))


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _told(item) for name, item in value.items()}
    return value.told if isinstance(value, Secret) else value


def _parts(value: Any) -> Mapping[str, Any] | None:
    """What a value is made of; None for one that is compared whole."""
    if is_dataclass(value) and not isinstance(value, Secret):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    return value if isinstance(value, Mapping) else None
