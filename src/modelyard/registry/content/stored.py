"""How a version lies in a store: under which keys, and where in them each chunk is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from modelyard.registry.content.chunks import Chunks
from modelyard.registry.content.manifest import (
    Extent,
    Index,
    Manifest,
    decode,
    decode_index,
    hex_of,
)
from modelyard.registry.content.storage import AGAIN, Missing, Storage

MEND: Final = "Push the same files again: what is damaged is then written anew."


def manifest_name(digest: str) -> str:
    name = hex_of(digest)
    return f"manifests/{name[:2]}/{name}"


def index_name(digest: str) -> str:
    name = hex_of(digest)
    return f"indexes/{name[:2]}/{name}"


def object_name(root: str, header: bytes) -> str:
    """A part and what is before it have one name: the bytes of a tensor under another name are another object only
    where they are served under that name."""
    tag = f".{hashlib.sha256(header).hexdigest()[:16]}" if header else ""
    return f"objects/{root[:2]}/{root}{tag}"


def name_of(key: str) -> str:
    """The name under which the object with this key was written."""
    return key.partition(AGAIN)[0]


def records(storage: Storage, digest: str) -> tuple[str, str]:
    """The keys of a version's manifest and of its index. Raises Missing."""
    return _latest(storage, manifest_name(digest)), _latest(storage, index_name(digest))


def read_manifest(storage: Storage, digest: str) -> Manifest:
    """Raises Missing, Damaged."""
    return decode(bytes(storage.read(_latest(storage, manifest_name(digest)))), digest)


def read_index(storage: Storage, digest: str) -> Index:
    """Raises Missing, Damaged."""
    return decode_index(bytes(storage.read(_latest(storage, index_name(digest)))), digest)


def _latest(storage: Storage, name: str) -> str:
    key = storage.latest(name)
    if key is None:
        raise Missing(f"The store has no {name}.")
    return key


def part_reader(storage: Storage, extents: Sequence[Extent]) -> Callable[[int, int], bytes]:
    """Reads so many bytes at an offset of a part, unchecked. Raises Missing where they are not all there."""

    def read(offset: int, size: int) -> bytes:
        pieces, start = [], 0
        for at in extents:
            first, last = max(offset, start), min(offset + size, start + at.size)
            if first < last:
                pieces.append(storage.read(at.key, at.offset + first - start, last - first))
            start += at.size
        found = b"".join(pieces)
        if len(found) != size:
            raise Missing("The store has not all of a part.")
        return found

    return read


def chunks_at(chunks: Chunks, extents: Sequence[Extent]) -> Iterator[Extent | None]:
    """Where each chunk lies, none of them in two extents; None for those of which the extents do not tell."""
    rest = iter(extents)
    extent, used = next(rest, None), 0
    for _, length in chunks.bounds():
        if extent is not None and used == extent.size:
            extent, used = next(rest, None), 0
        if extent is None or used + length > extent.size:
            extent = None
            yield None
            continue
        yield Extent(extent.key, extent.offset + used, length)
        used += length
