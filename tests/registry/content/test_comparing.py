"""What differs between the bytes of two versions, and what of it must be fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.registry.content.chunks import CHUNK, Chunks
from modelyard.registry.content.comparing import FileState, compare
from modelyard.registry.content.manifest import File, Manifest, Part, Tensor
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.shortcuts import read_shortcuts
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from tests.registry.content.making import checkpoint, noise, pushed, tensors
from tests.registry.content.test_delta_pulls import halves, trained, tuned, version

ALL = 10_000

# A version for the pure tests: by path the chunks of a file (a letter each, as long as its place in the alphabet), and
# whether it is a program.
files = st.dictionaries(
    st.sampled_from(["a", "b", "c/d"]), st.tuples(st.text("abcdef", max_size=5), st.booleans()), max_size=3
)


def manifest(content: Mapping[str, tuple[str, bool]]) -> Manifest:
    found, all_chunks = [], {}
    for path, (letters, executable) in content.items():
        lengths = tuple(ord(letter) - 96 for letter in letters)
        digests = b"".join(hashlib.sha256(letter.encode()).digest() for letter in letters)
        chunks = Chunks(sum(lengths), digests, lengths)
        part = Part(root=chunks.root, size=chunks.size, tensor=Tensor(name="t", dtype="U8", shape=(chunks.size,)))
        sha256 = hashlib.sha256(letters.encode()).hexdigest()
        found.append(
            File(path=path, size=chunks.size, sha256=sha256, kind="plain", parts=(part,), executable=executable)
        )
        all_chunks[chunks.root] = chunks
    return Manifest(files=tuple(found), chunks=all_chunks)


@given(files, files)
def test_every_file_is_the_same_added_removed_or_changed(
    old: dict[str, tuple[str, bool]], new: dict[str, tuple[str, bool]]
) -> None:
    found = compare(manifest(old), manifest(new), ALL)
    assert {c.path for c in found.added.items} == new.keys() - old.keys()
    assert {c.path for c in found.removed.items} == old.keys() - new.keys()
    assert {c.path for c in found.changed.items} == {p for p in old.keys() & new.keys() if old[p] != new[p]}
    assert found.same + found.added.count + found.removed.count + found.changed.count == len(old.keys() | new.keys())


@given(files, files)
def test_what_is_fetched_and_what_is_there_is_all_of_it_each_chunk_once(
    old: dict[str, tuple[str, bool]], new: dict[str, tuple[str, bool]]
) -> None:
    before, after = manifest(old), manifest(new)
    found = compare(before, after, ALL)
    had, wanted = ({c for letters, _ in version.values() for c in letters} for version in (old, new))
    assert found.fetch == sum(ord(c) - 96 for c in wanted - had)
    assert found.shared == sum(ord(c) - 96 for letters, _ in new.values() for c in letters if c in had)
    assert found.fetch + found.shared <= after.size
    assert compare(after, after, ALL).fetch == 0
    assert compare(after, after, ALL).shared == after.size
    assert compare(Manifest(files=()), after, ALL).shared == 0


@given(files, files, st.integers(0, 2))
def test_lists_are_cut_and_counts_are_not(
    old: dict[str, tuple[str, bool]], new: dict[str, tuple[str, bool]], limit: int
) -> None:
    full, cut = (compare(manifest(old), manifest(new), at) for at in (ALL, limit))
    for name in ("added", "removed", "changed", "tensors"):
        some, whole = getattr(cut, name), getattr(full, name)
        assert (some.count, len(some.items)) == (whole.count, min(whole.count, limit))
    assert (cut.fetch, cut.shared, cut.same) == (full.fetch, full.shared, full.same)


def test_tensors_are_compared_by_name_in_their_file(home: Path, storage: Folder) -> None:
    old = tensors(count=40, size=2**15)
    new = dict(old)
    new["layer.0"] = old["layer.0"] + 1
    new["layer.1"] = old["layer.1"].reshape(2, -1)
    new["layer.2"] = old["layer.2"].astype(np.float16)
    del new["layer.3"]
    new["extra"] = np.ones(10, np.float32)
    versions = []
    for number, content in enumerate((old, new)):
        folder = home / f"v{number}"
        checkpoint(folder / "model.safetensors", content)
        (folder / "same.json").write_text("{}")
        (folder / f"only-{number}.json").write_text("[]")
        versions.append(read_manifest(storage, pushed(folder, storage).manifest))
    found = compare(*versions, ALL)
    assert [c.path for c in found.changed.items] == ["model.safetensors"]
    assert ([c.path for c in found.added.items], [c.path for c in found.removed.items]) == (
        ["only-1.json"], ["only-0.json"],
    )  # fmt: skip
    (file,) = found.tensors.items
    assert (file.path, file.same) == ("model.safetensors", 36)
    assert [c.name for c in file.added.items] == ["extra"]
    assert [c.name for c in file.removed.items] == ["layer.3"]
    changed = {c.name: c for c in file.changed.items}
    assert changed.keys() == {"layer.0", "layer.1", "layer.2"}
    assert changed["layer.0"].before == changed["layer.0"].after, "only its values differ"
    reshaped = changed["layer.1"].after
    assert reshaped is not None
    assert (reshaped.dtype, reshaped.shape) == ("F32", (2, 2**14))
    assert (changed["layer.2"].size, found.same) == (2**16, 1)
    moved = 2**17 + 2**16 + 40
    assert moved <= found.fetch <= moved + 10_000, "two tensors with other bytes, a new one, and the header"
    assert found.fetch + found.shared == versions[1].size


def test_a_file_that_became_a_program_has_changed_and_nothing_is_fetched_for_it(home: Path, storage: Folder) -> None:
    for number, mode in ((0, 0o644), (1, 0o755)):
        path = home / f"v{number}" / "serve.py"
        path.parent.mkdir()
        path.write_bytes(noise(1, 3 * CHUNK // 2).hex().encode())
        path.chmod(mode)
    before, after = (read_manifest(storage, pushed(home / f"v{n}", storage).manifest) for n in (0, 1))
    found = compare(before, after, ALL)
    (change,) = found.changed.items
    assert change.before is not None
    assert change.after == FileState(size=3 * CHUNK, sha256=change.before.sha256, executable=True)
    assert (found.fetch, found.shared) == (0, 3 * CHUNK)


def test_what_is_told_from_the_first_counts_as_it_is_fetched(home: Path, storage: Folder) -> None:
    first = pushed(version(home / "v1", halves(trained())), storage).manifest
    second = pushed(version(home / "v2", halves(tuned(trained()))), storage, like=[first]).manifest
    old, new = read_manifest(storage, first), read_manifest(storage, second)
    found = compare(old, new, ALL, read_shortcuts(storage, second, new))
    pulled = pull(storage, second, home / "out", near={home / "v1": [first]})
    assert found.fetch == pulled.fetched < 0.06 * new.size
    assert compare(Manifest(files=()), new, ALL, read_shortcuts(storage, second, new)).fetch == new.size
