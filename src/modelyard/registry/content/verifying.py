"""Reading a version's every byte again, where it is stored and where it is laid out. What is damaged where it is laid
out is taken away, to be made anew; to push the same files again mends the store."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import matches
from modelyard.registry.content.cutting import header_of
from modelyard.registry.content.layout import Layout, Placed, placed
from modelyard.registry.content.manifest import Manifest, Part
from modelyard.registry.content.storage import Missing, Storage
from modelyard.registry.content.stored import chunks_at, name_of, object_name, read_index, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that are not what they were when they were pushed: ``where`` is an object of the store or a file of the
    cache, ``files`` what of the version needs them."""

    where: str
    files: tuple[str, ...]
    reason: str


def verify_stored(storage: Storage, digest: str) -> tuple[Damage, ...]:
    """Hash all parts of a version in the store. To push the same files again mends what is found.

    Raises:
        Missing, Damaged: the manifest itself, or the index, is
        Unavailable: the store fails
    """
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    needed, headers = _needed(manifest), _headers(manifest)

    def check(part: Part) -> list[Damage]:
        found: dict[str, Damage] = {}
        extents = index.get(part.root, ())
        for name, header in headers.get(part.root, {}).items():
            key = extents[0].key if extents else ""
            # It is linked to where it is served, with what is before the part.
            if name_of(key) == name and not _begins(storage, key, header):
                found[key] = Damage(where=key, files=needed[part.root], reason="its header has other bytes")
        for number, at in enumerate(chunks_at(manifest.chunks[part.root], extents)):
            reason = "the index does not say where it is" if at is None else None
            if at is not None:
                try:
                    data = storage.read(at.key, at.offset, at.size)
                    if not matches(data, manifest.chunks[part.root].digest(number)):
                        reason = f"chunk {number} of part {part.root} has other bytes"
                except Missing:
                    reason = "it is missing"
            if reason is not None:
                key = at.key if at is not None else ""
                found.setdefault(key, Damage(where=key, files=needed[part.root], reason=reason))
        return list(found.values())

    found: dict[str, Damage] = {}
    readers = max(os.cpu_count() or 1, storage.at_once)
    with ThreadPoolExecutor(readers, thread_name_prefix="verify") as pool:
        for damages in pool.map(check, manifest.parts()):
            for damage in damages:
                before = found.setdefault(damage.where, damage)
                files = dict.fromkeys((*before.files, *damage.files))
                found[damage.where] = replace(before, files=tuple(files))
    return tuple(found.values())


def verify_laid_out(cache: Cache, storage: Storage, digest: str) -> tuple[Damage, ...]:
    """Hash all files of a version that this machine has laid out. Damaged ones are taken away, with the folders that
    they are in: they are made anew when the version is next laid out.

    Raises: as :func:`verify_stored`
    """
    manifest = read_manifest(storage, digest)
    found: list[Damage] = []
    for layout in Layout:
        folder = cache.folder(digest, layout)
        if folder.is_dir():
            damaged = [file for file in placed(manifest, layout) if not _is_whole(folder / file.path, file, manifest)]
            found += [
                Damage(where=str(folder / file.path), files=(file.path,), reason="it has other bytes")
                for file in damaged
            ]
            if damaged:
                cache.forget(digest, layout, damaged)
    return tuple(found)


def _needed(manifest: Manifest) -> Mapping[str, tuple[str, ...]]:
    """The files of the version that each part is in, by root."""
    needed: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for file in manifest.files:
        for root in {part.root for part in file.all_parts()}:
            needed[root] += (file.path,)
    return needed


def _headers(manifest: Manifest) -> Mapping[str, Mapping[str, bytes]]:
    """What is before a part in the objects that are served as they are: by the part's root, then by name."""
    headers: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
    for file in manifest.files:
        for part in file.parts:
            if header := header_of(part.tensor, file.kind):
                headers[part.root][object_name(part.root, header)] = header
    return headers


def _begins(storage: Storage, key: str, header: bytes) -> bool:
    try:
        return storage.read(key, 0, len(header)) == header
    except Missing:
        return True  # which its chunks say


def _is_whole(path: Path, file: Placed, manifest: Manifest) -> bool:
    try:
        with path.open("rb") as content:
            if content.read(len(file.header)) != file.header:
                return False
            for part in file.parts:
                chunks = manifest.chunks[part.root]
                for number, (_, length) in enumerate(chunks.bounds()):
                    if not matches(content.read(length), chunks.digest(number)):
                        return False
            return not content.read(1)
    except OSError:
        return False
