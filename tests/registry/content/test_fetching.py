"""Fetching: what was there before a kill is not fetched again, nothing unchecked is written, many fetch once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelyard.domain.errors import Unavailable
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.chunks import Buffer
from modelyard.registry.content.fetching import Fetch, Wanted
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.leases import Lease
from modelyard.registry.content.manifest import Damaged, Manifest
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import READ, Entry, Folder, Storage
from modelyard.registry.content.stored import read_index, read_manifest
from modelyard.registry.content.supply import Supply
from tests.registry.content.making import checkpoint, contents, listed, pushed, unfinished, write

MIB = 2**20


class Elsewhere(Storage):
    """A store that nothing can be linked from. Counts the bytes that are read of objects; reads slowly if told to,
    and gives other bytes for one of them."""

    def __init__(self, folder: Folder, *, log: Path | None = None, pause: float = 0.0) -> None:
        self._folder, self._log, self._pause = folder, log, pause
        self.bytes = 0
        self.spoil_at: tuple[str, int] | None = None

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        data = self._folder.read(key, offset, size)
        if key.startswith(("manifests/", "indexes/", "shortcuts/")):
            return data
        self.bytes += len(data)
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(f"{len(data)}\n")
        time.sleep(self._pause)
        if self.spoil_at is not None and self.spoil_at[0] == key and offset <= self.spoil_at[1] < offset + len(data):
            at = self.spoil_at[1] - offset
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data

    def find(self, prefix: str) -> Iterator[Entry]:
        return self._folder.find(prefix)

    def latest(self, name: str) -> str | None:
        return self._folder.latest(name)

    def size(self, key: str) -> int | None:
        return self._folder.size(key)

    def write(self, name: str, pieces: Iterable[Buffer]) -> str:
        raise AssertionError("nothing is written to it")

    def touch(self, key: str) -> bool:
        return self._folder.touch(key)

    def remove(self, key: str, before: float) -> bool:
        return self._folder.remove(key, before)

    def tidy(self, before: float) -> int:
        return self._folder.tidy(before)


def large(home: Path, storage: Folder, mebibytes: int = 40) -> str:
    """A version with one file of so many MiB, in two tensors and a few small ones."""
    folder = home / "large"
    folder.mkdir()
    half = np.random.default_rng(1).standard_normal(mebibytes * MIB // 8).astype(np.float32)
    small = {f"s{n}": np.full(10, n, np.float32) for n in range(5)}
    checkpoint(folder / "model.safetensors", {"a": half, "b": half + 1, **small})
    return pushed(folder, storage).manifest


CHILD = """
import sys
from pathlib import Path
from modelyard.registry.content.cache import Cache
from modelyard.registry.content.layout import Layout
from modelyard.registry.content.storage import Folder
from tests.registry.content.test_fetching import Elsewhere
home, digest, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
storage = Elsewhere(Folder(home / "store"), log=home / "read.log", pause=pause)
print(Cache(home / "cache", storage).lay_out(digest, Layout(sys.argv[4])).path)
"""


def child(home: Path, digest: str, layout: Layout, pause: float = 0.0) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CHILD, str(home), digest, str(pause), str(layout)]
    return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])


def read_of(home: Path) -> int:
    log = home / "read.log"
    return sum(int(line) for line in log.read_text().split()) if log.exists() else 0


@pytest.mark.parametrize("layout", list(Layout))
def test_eight_processes_at_once_fetch_once(home: Path, storage: Folder, layout: Layout) -> None:
    digest = large(home, storage)
    processes = [child(home, digest, layout) for _ in range(8)]
    paths = {process.communicate(timeout=60)[0] for process in processes}
    assert len(paths) == 1
    assert read_of(home) <= 1.01 * 40 * MIB
    if layout is Layout.EXACT:
        assert contents(Path(paths.pop().strip())) == contents(home / "large")
    assert unfinished(home / "cache") == []
    assert list((home / "cache" / "leases").iterdir()) == []


def test_when_the_one_that_fetches_is_killed_another_goes_on_where_it_was(home: Path, storage: Folder) -> None:
    digest = large(home, storage)
    first = child(home, digest, Layout.EXACT, pause=0.3)
    deadline = time.monotonic() + 30
    while read_of(home) < 12 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    others = [child(home, digest, Layout.EXACT) for _ in range(3)]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    paths = {process.communicate(timeout=60)[0] for process in others}
    assert contents(Path(paths.pop().strip())) == contents(home / "large")
    # What was read and not yet written when it was killed is read twice; the others see at once that it has ended.
    assert read_of(home) <= 40 * MIB + 16 * READ
    assert unfinished(home / "cache") == []


def test_of_what_was_left_every_chunk_is_checked(home: Path, storage: Folder) -> None:
    digest = large(home, storage)
    elsewhere = Elsewhere(storage)
    cache = Cache(home / "cache", elsewhere)
    whole = cache.lay_out(digest, Layout.EXACT).path / "model.safetensors"
    good = whole.read_bytes()
    (made,) = [p for p in (home / "cache" / "files").rglob("*") if p.stat().st_size == len(good)]
    left = made.with_name(f"{made.name}.writing-{'0' * 16}")
    cache.forget(digest, Layout.EXACT, ())
    made.unlink()
    spoilt = bytearray(good)
    spoilt[5 * MIB] ^= 1
    spoilt[30 * MIB : 34 * MIB] = bytes(4 * MIB)
    left.write_bytes(spoilt)
    os.utime(left, (1, 1))
    elsewhere.bytes = 0
    assert (cache.lay_out(digest, Layout.EXACT).path / "model.safetensors").read_bytes() == good
    assert elsewhere.bytes <= 7 * MIB, "only what was damaged or missing"
    assert unfinished(home / "cache") == []


@pytest.mark.parametrize("where", [0, 1, 2**20, 19 * MIB + 7])
def test_a_flipped_bit_on_the_way_is_refused_and_what_was_whole_is_kept(
    home: Path, storage: Folder, where: int
) -> None:
    digest = large(home, storage)
    elsewhere = Elsewhere(storage)
    key = max(storage.find("objects/"), key=lambda entry: (entry.size, entry.key)).key
    elsewhere.spoil_at = (key, 16 * 1024 + where)
    with pytest.raises(Damaged, match="damaged"):
        pull(elsewhere, digest, home / "here")
    assert not (home / "here" / "model.safetensors").exists()
    first, elsewhere.bytes, elsewhere.spoil_at = elsewhere.bytes, 0, None
    for left in (home / "here").iterdir():
        os.utime(left, (1, 1))
    pull(elsewhere, digest, home / "here")
    assert contents(home / "here") == contents(home / "large")
    assert elsewhere.bytes + first <= 40 * MIB + 17 * READ
    assert unfinished(home / "here") == []


def test_progress_ends_at_all_and_never_goes_back(home: Path, storage: Folder) -> None:
    digest = large(home, storage)
    told: list[tuple[int, int]] = []
    pulled = pull(storage, digest, home / "here", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (pulled.size, pulled.size)
    assert pulled.written == pulled.size


# ------------------------------------------------------------------------------------------- leases


def test_a_lease_is_held_by_one_and_given_back(home: Path) -> None:
    one, other = Lease(home / "l"), Lease(home / "l")
    assert one.take()
    assert not other.take()
    one.release()
    assert other.take()
    one.release()
    assert (home / "l").exists(), "it is no longer its own to give back"
    other.release()
    assert not (home / "l").exists()


def test_the_lease_of_a_process_that_has_ended_is_taken_at_once(home: Path) -> None:
    script = f"from pathlib import Path; from modelyard.registry.content.leases import Lease; import os; \
Lease(Path({str(home / 'l')!r})).take(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    lease = Lease(home / "l")
    assert not lease.take(), "that is when it sees it"
    assert lease.take()
    lease.release()


def test_the_lease_of_another_machine_is_taken_once_it_is_no_longer_touched(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "l"
    path.write_text(json.dumps({"machine": "another", "pid": 1, "start": "1"}))
    now = [1000.0]
    monkeypatch.setattr("modelyard.registry.content.leases.time.monotonic", lambda: now[0])
    lease = Lease(path)
    for _ in range(5):
        assert not lease.take()
        now[0] += 4.0
        os.utime(path, (now[0], now[0]))  # it is alive
    assert not lease.take()
    now[0] += 5.1
    assert not lease.take()
    assert lease.take()
    lease.release()


def test_where_no_lease_can_be_kept_everybody_works(home: Path) -> None:
    (home / "file").write_text("")
    lease = Lease(home / "file" / "l")
    assert lease.take()
    lease.release()


def test_what_the_disk_has_no_room_for_is_not_begun(home: Path, storage: Folder) -> None:
    """A file of one chunk, told so often that it is far larger than any disk."""
    folder = home / "v"
    write(folder / "model.bin", bytes(MIB))
    digest = push(folder, listed(folder), storage).manifest
    manifest, index = read_manifest(storage, digest), read_index(storage, digest)
    (file,) = manifest.files
    times = 2**20
    bomb = Manifest(
        files=(replace(file, size=file.size * times, parts=file.parts * times),), chunks=manifest.chunks
    )  # fmt: skip
    wanted = Wanted(path=home / "out" / "model.bin", parts=bomb.files[0].parts)
    with pytest.raises(Unavailable, match="free some"):
        Fetch(Supply(storage, bomb, index), 0, None).make([wanted])
    assert not (home / "out").exists()
