"""Which files of a folder here are pushed: those whose names begin with a dot (.env, .git) are mostly not meant to
be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.registry.sources.address import parse
from modelyard.registry.sources.picking import Picking


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible(Picking):
    """Without what is hidden, unless one of ``named``, which are patterns too, brings it back."""

    named: Picking

    def wants(self, path: str) -> bool:
        if not _is_hidden(path):
            return Picking.wants(self, path)
        return bool(self.named.include) and self.named.wants(path)


def picking_of(source: str, include: Sequence[str], exclude: Sequence[str]) -> Picking:
    """Of a folder of this machine patterns that name something hidden bring it back, beside what the others say; what
    archives and other places hold was put there to be given away.

    Raises:
        InvalidRequest: ``source`` is no address
    """
    address, left_out = parse(source), tuple(exclude)
    if not (address.is_local and Path(address.path).is_dir()):
        return Picking(include=tuple(include), exclude=left_out)
    named = Picking(include=tuple(one for one in include if _is_hidden(one)), exclude=left_out)
    seen = tuple(one for one in include if not _is_hidden(one))
    return Visible(include=seen, exclude=left_out, named=named)


def _is_hidden(path: str) -> bool:
    return any(name.startswith(".") for name in path.split("/"))
