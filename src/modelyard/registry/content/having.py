"""What this machine has of other versions, in plain files: from them comes what a version has in common with them.

That a file holds what it should is only likely: whoever uses its bytes compares them with a digest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.registry.content.chunks import matches
from modelyard.registry.content.manifest import Manifest, Part


@dataclass(frozen=True, slots=True)
class Place:
    """``size`` bytes from ``offset`` of a file on."""

    path: Path
    offset: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes at an offset of it; fewer where the file ends before, or is gone."""
        if offset < 0 or offset + size > self.size:
            return b""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, size, self.offset + offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)


class Having:
    """Parts by root, and chunks by digest."""

    def __init__(self) -> None:
        self._parts: dict[str, Place] = {}
        self._chunks: dict[bytes, Place] = {}

    def add(self, path: Path, header: int, parts: Sequence[Part], manifest: Manifest) -> None:
        """The file at ``path`` has, after ``header`` bytes, these parts of the version with this manifest."""
        offset = header
        for part in parts:
            if part.root not in self._parts:
                self._parts[part.root] = Place(path, offset, part.size)
                chunks = manifest.chunks[part.root]
                for number, (at, length) in enumerate(chunks.bounds()):
                    self._chunks.setdefault(chunks.digest(number), Place(path, offset + at, length))
            offset += part.size

    def part(self, root: str) -> Place | None:
        """Where the whole part may be."""
        return self._parts.get(root)

    def chunk(self, digest: bytes) -> bytes | None:
        """The chunk, checked."""
        place = self._chunks.get(digest)
        data = place.read(0, place.size) if place is not None else b""
        return data if place is not None and matches(data, digest) else None

    def may_have(self, digest: bytes) -> bool:
        return digest in self._chunks

    def __bool__(self) -> bool:
        return bool(self._parts)
