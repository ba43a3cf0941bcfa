"""A machine that has a version fetches little more of the next one than what changed; nothing is wrong by it when what
it has, or what the store keeps for it, is damaged."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem, Unavailable
from modelyard.registry.content import supply
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import Buffer, Chunks
from modelyard.registry.content.garbage import collect
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.manifest import Extent, File, Manifest, Part
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.pushing import Pushed, push
from modelyard.registry.content.shortcuts import Shortcut, read_shortcuts, shortcuts_name
from modelyard.registry.content.storage import Folder
from modelyard.registry.content.stored import read_manifest
from tests.registry.content.making import Array, accepted, checkpoint, contents, pushed
from tests.registry.content.test_fetching import Elsewhere

MIB = 2**20
ROWS, COLUMNS, COUNT = 512, 1024, 10  # 2 MiB each

Change = Callable[[dict[str, Array]], dict[str, Array]]


def trained(seed: int = 0) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    return {f"l{i}.w": draw.standard_normal((ROWS, COLUMNS), np.float32) * np.float32(0.02) for i in range(COUNT)}


def halves(weights: dict[str, Array]) -> dict[str, Array]:
    """Their upper halves, as bfloat16 has them."""
    return {name: (w.view(np.uint32) >> 16).astype(np.uint16) for name, w in weights.items()}


def one_in_a_hundred(weights: dict[str, Array]) -> dict[str, Array]:
    """Of three tensors some rows, one per cent of all weights."""
    rows = ROWS * COUNT // 300
    changed = dict(weights)
    for name in ("l2.w", "l5.w", "l9.w"):
        noise = np.random.default_rng(1).standard_normal((rows, COLUMNS), np.float32) * np.float32(0.001)
        changed[name] = weights[name].copy()
        changed[name][100 : 100 + rows] += noise
    return changed


def inserted(weights: dict[str, Array]) -> dict[str, Array]:
    """One per cent more, in the middle."""
    rows = np.random.default_rng(2).standard_normal((ROWS * COUNT // 100, COLUMNS), np.float32)
    middle = weights["l6.w"]
    return weights | {"l6.w": np.concatenate([middle[:200], rows, middle[200:]])}


def tuned(weights: dict[str, Array]) -> dict[str, Array]:
    draw = np.random.default_rng(3)
    return {
        n: w + draw.standard_normal(w.shape, np.float32) * np.float32(3e-6) for n, w in weights.items()
    }  # fmt: skip


def scattered(weights: dict[str, Array]) -> dict[str, Array]:
    draw = np.random.default_rng(4)
    return {n: np.where(draw.random(w.shape) < 0.01, w * np.float32(1.1), w) for n, w in weights.items()}


def version(folder: Path, weights: dict[str, Array]) -> Path:
    checkpoint(folder / "model.safetensors", weights)
    return folder


@pytest.mark.parametrize(
    ("change", "kind", "most"),
    [
        (one_in_a_hundred, dict, 0.01), (inserted, dict, 0.012), (scattered, dict, 0.015), (tuned, halves, 0.06),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cached", [False, True])
def test_little_more_than_what_changed_is_fetched(
    home: Path, storage: Folder, change: Change, kind: Change, most: float, cached: bool
) -> None:
    first = pushed(version(home / "v1", kind(trained())), storage).manifest
    second = pushed(version(home / "v2", kind(change(trained()))), storage, like=[first])
    elsewhere = Elsewhere(storage)
    if cached:
        cache = Cache(home / "cache", elsewhere)
        cache.lay_out(first, Layout.EXACT)
        elsewhere.bytes = 0
        found = cache.lay_out(second.manifest, Layout.EXACT).path
    else:
        shutil.copytree(home / "v1", home / "here" / "v1")
        pull(elsewhere, second.manifest, home / "out", near={home / "here" / "v1": [first]})
        found = home / "out"
    assert contents(found) == contents(home / "v2")
    records = sum(e.size for kind in ("manifests/", "indexes/", "shortcuts/") for e in storage.find(kind))
    assert elsewhere.bytes + records <= most * second.size


@pytest.fixture
def two(home: Path, storage: Folder) -> tuple[str, str]:
    first = pushed(version(home / "v1", halves(trained())), storage).manifest
    return first, pushed(version(home / "v2", halves(tuned(trained()))), storage, like=[first]).manifest


def test_a_folder_is_overwritten_from_what_is_in_it_whatever_other_versions_could_be(
    home: Path, storage: Folder, two: tuple[str, str]
) -> None:
    first, second = two
    third = pushed(version(home / "v3", halves(tuned(tuned(trained())))), storage, like=[second]).manifest
    out = home / "v1"
    # As a command gives them, which does not know what is there: the highest first.
    pulled = pull(storage, second, out, overwrite=True, near={out: [third, second, first]})
    assert contents(out) == contents(home / "v2")
    assert 0 < pulled.fetched < pulled.size / 4
    with (out / "model.safetensors").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"spoilt")
    again = pull(storage, second, out, overwrite=True, near={out: [third, second, first]})
    assert contents(out) == contents(home / "v2")
    assert again.fetched <= 2 * MIB, "what is spoilt is all that is missing"


def test_a_folder_beside_that_has_all_of_it_is_taken_before_the_store(
    home: Path, storage: Folder, two: tuple[str, str]
) -> None:
    first, second = two
    out = home / "v1"
    pulled = pull(storage, second, out, overwrite=True, near={out: [second, first], home / "v2": [second]})
    assert contents(out) == contents(home / "v2")
    assert pulled.fetched == 0


def fetched(home: Path, storage: Folder, digest: str, first: str) -> int:
    elsewhere = Elsewhere(storage)
    pulled = pull(elsewhere, digest, home / "out", near={home / "v1": [first]})
    assert contents(home / "out") == contents(home / "v2")
    shutil.rmtree(home / "out")
    assert pulled.fetched == elsewhere.bytes
    return pulled.fetched


def test_what_is_near_and_damaged_costs_bytes_and_nothing_else(
    home: Path, storage: Folder, two: tuple[str, str]
) -> None:
    first, second = two
    size = (home / "v2" / "model.safetensors").stat().st_size
    least = fetched(home, storage, second, first)
    whole = bytearray((home / "v1" / "model.safetensors").read_bytes())
    whole[size // 2] ^= 1
    (home / "v1" / "model.safetensors").write_bytes(whole)
    assert least < fetched(home, storage, second, first) <= least + MIB
    (home / "v1" / "model.safetensors").write_bytes(bytes(size))
    assert fetched(home, storage, second, first) >= size
    (home / "v1" / "model.safetensors").write_bytes(b"short")
    assert fetched(home, storage, second, first) >= 0.99 * size


def damaged(storage: Folder, key: str) -> None:
    content = bytearray(storage.read(key))
    content[len(content) // 2] ^= 1
    storage.write(key, [bytes(content)])


def gone(storage: Folder, key: str) -> None:
    storage.remove(key, math.inf)


@pytest.mark.parametrize("spoil", [damaged, gone])
@pytest.mark.parametrize("record", [True, False])
def test_a_shortcut_that_is_damaged_or_gone_costs_bytes_and_nothing_else(
    home: Path, storage: Folder, two: tuple[str, str], spoil: Callable[[Folder, str], None], record: bool
) -> None:
    first, second = two
    least = fetched(home, storage, second, first)
    ways = read_shortcuts(storage, second, read_manifest(storage, second))
    assert len(ways) == COUNT
    keys = {way.key for of_part in ways.values() for way in of_part}
    for key in [shortcuts_name(second)] if record else keys:
        spoil(storage, key)
    assert fetched(home, storage, second, first) > least
    # To push the same files again mends that, too.
    again = pushed(home / "v2", storage, like=[first])
    assert again.manifest == second
    assert fetched(home, storage, second, first) == least


def test_to_push_the_same_again_writes_nothing(home: Path, storage: Folder, two: tuple[str, str]) -> None:
    again = pushed(home / "v2", storage, like=[two[0]])
    assert (again.manifest, again.written) == (two[1], 0)


def test_another_model_is_told_by_no_shortcut(home: Path, storage: Folder) -> None:
    first = pushed(version(home / "v1", trained()), storage).manifest
    second = pushed(version(home / "v2", trained(seed=9)), storage, like=[first])
    assert read_shortcuts(storage, second.manifest, read_manifest(storage, second.manifest)) == {}
    assert second.written < 1.001 * second.size


def test_shortcuts_stay_as_long_as_their_version(home: Path, storage: Folder, two: tuple[str, str]) -> None:
    first, second = two
    least, manifest = fetched(home, storage, second, first), read_manifest(storage, second)
    later = storage.path(shortcuts_name(second)).stat().st_mtime + 10_000
    collect(storage, [second], later, grace=1000)
    manifests = [entry.key for entry in storage.find("manifests/")]
    assert len(manifests) == 1
    first_again = pushed(home / "v1", storage).manifest
    assert fetched(home, storage, second, first_again) == least
    collect(storage, [first], later + 20_000, grace=1000)
    assert list(storage.find("shortcuts/")) == []
    ways = read_shortcuts(storage, second, manifest)
    assert ways == {}
    pull(storage, first, home / "out")
    assert contents(home / "out") == contents(home / "v1")


class Refusing(Folder):
    """Takes no shortcuts, for this reason."""

    why: ModelyardError = InvalidRequest([Problem("body", "malformed", "None of these.")])

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        if name.startswith("shortcuts/"):
            raise self.why
        return super().write(name, pieces)


def test_a_store_that_takes_no_shortcuts_takes_the_version(home: Path) -> None:
    storage = Refusing(home / "refusing")
    first = pushed(version(home / "v1", halves(trained())), storage).manifest
    second = pushed(version(home / "v2", halves(tuned(trained()))), storage, like=[first]).manifest
    pull(storage, second, home / "out")
    assert contents(home / "out") == contents(home / "v2")
    storage.why = Unavailable("It is away.")
    with pytest.raises(Unavailable, match="away"):
        pushed(version(home / "v3", halves(tuned(tuned(trained())))), storage, like=[second])


def test_no_more_is_read_of_what_is_encoded_than_could_pay(storage: Folder) -> None:
    pieces = [bytes([number]) for number in range(40)]
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    chunks = Chunks(40, digests, (1,) * 40)
    part = Part(root=chunks.root, size=40)
    whole = File(path="x", size=40, sha256="0" * 64, kind="other", parts=(part,))
    data = b"".join(pieces)
    name = hashlib.sha256(data).hexdigest()
    key = storage.write(f"packs/{name[:2]}/{name}", [data])
    reading = Asked(storage.root)
    manifest = Manifest(files=(whole,), chunks={part.root: chunks})
    supplied = supply.Supply(reading, manifest, {part.root: (Extent(key, 0, 40),)})
    way = Shortcut("", key, 0, (2 * MIB,) * 40)
    run = supply.Run(supplied.chunks([part], 0), encoded=supply.Encoded.of(way, None))
    assert b"".join(supplied.read(run)) == data
    assert reading.most <= 32 * MIB


class Asked(Folder):
    """Knows the largest size that it was asked for."""

    most = 0

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        self.most = max(self.most, size or 0)
        return super().read(key, offset, size)


def compressed(home: Path, storage: Folder) -> Pushed:
    folder = version(home / "v2", halves(trained()))
    return push(folder, accepted(folder), storage, compress=True)


@pytest.mark.parametrize("slow", [False, True])
def test_what_compresses_comes_compressed_over_a_slow_line_only(
    home: Path, storage: Folder, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compressed(home, storage)
    assert done.size * 1.6 < done.written < done.size * 1.8
    monkeypatch.setattr(supply, "_MEASURED", MIB)
    monkeypatch.setattr(supply, "_FAST", math.inf if slow else 0)
    pulled = pull(storage, done.manifest, home / "out")
    assert contents(home / "out") == contents(home / "v2")
    # Eight ranges are asked for before anything is known of the line.
    assert (pulled.fetched < 0.95 * done.size) is slow
    assert slow or pulled.fetched >= done.size


def test_what_does_not_compress_is_kept_once(home: Path, storage: Folder) -> None:
    folder = version(home / "v2", {"noise": np.frombuffer(np.random.default_rng(5).bytes(4 * MIB), np.uint8)})
    done = push(folder, accepted(folder), storage, compress=True)
    assert done.written < 1.001 * done.size
