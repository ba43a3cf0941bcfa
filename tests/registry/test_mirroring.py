"""Versions from store to store: only what is missing, each byte checked, and on from where a killed one was."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.registry.content.manifest import Damaged
from modelyard.registry.content.pulling import pull
from modelyard.registry.content.remote import Remote
from modelyard.registry.content.storage import Folder, Missing, Storage
from modelyard.registry.content.verifying import verify_stored
from modelyard.registry.mirroring import Mirrored, mirror
from tests.registry.content.crashing import every_step
from tests.registry.content.making import contents, mixed, noise, on_disk, pushed, unfinished, write
from tests.registry.content.test_delta_pulls import Refusing, trained, tuned, version
from tests.registry.content.test_fetching import Elsewhere
from tests.registry.served import TOKEN, bytes_of, served


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def source(home: Path) -> Folder:
    return Folder(home / "source")


@pytest.fixture(params=["folder", "api"])
def target(request: pytest.FixtureRequest, home: Path) -> Iterator[Storage]:
    folder = Folder(home / "target")
    if request.param == "folder":
        yield folder
        return
    with served(bytes_of(folder)) as there:
        remote = Remote(there.url, TOKEN)
        yield remote
        remote.close()


def whole(target: Storage, digest: str, folder: Path, to: Path) -> None:
    assert verify_stored(target, digest) == ()
    pull(target, digest, to)
    assert contents(to) == contents(folder)


def test_a_version_goes_over_whole_once_and_not_again(home: Path, source: Folder, target: Storage) -> None:
    made = pushed(mixed(home / "v"), source)
    told: list[tuple[int, int]] = []
    planned = mirror(source, made.manifest, target, dry_run=True)
    with pytest.raises(Missing):
        verify_stored(target, made.manifest)
    done = mirror(source, made.manifest, target, progress=lambda *bytes_: told.append(bytes_))
    assert done == planned
    assert made.size <= done.size + 2**20
    assert told[-1][1] == done.moved == max(moved for moved, _ in told)
    whole(target, made.manifest, home / "v", home / "out")
    reading = Elsewhere(source)
    assert mirror(reading, made.manifest, target) == Mirrored(size=done.size, moved=0)
    assert reading.bytes == 0


def test_what_another_version_has_brought_does_not_go_over_again(home: Path, source: Folder, target: Storage) -> None:
    first = pushed(mixed(home / "v"), source)
    text = home / "w" / "deep" / "er" / "text.txt"
    shutil.copytree(home / "v", home / "w")
    text.write_bytes(b"new words" + text.read_bytes())
    second = pushed(home / "w", source, like=[first.manifest])
    mirror(source, first.manifest, target)
    moved = mirror(source, second.manifest, target).moved
    assert moved == second.written < 0.3 * second.size
    whole(target, second.manifest, home / "w", home / "out")


def test_of_other_versions_objects_only_what_is_needed_goes_over(home: Path, source: Folder, target: Storage) -> None:
    write(home / "v" / "text.txt", noise(1, 3 * 2**20).hex().encode())
    first = pushed(home / "v", source)
    write(home / "w" / "text.txt", (home / "v" / "text.txt").read_bytes()[: 2**20] + noise(2, 2**18).hex().encode())
    second = pushed(home / "w", source, like=[first.manifest])
    assert second.written < second.size
    assert mirror(source, second.manifest, target).moved <= second.size
    whole(target, second.manifest, home / "w", home / "out")


@pytest.mark.parametrize("kind", ["objects/", "packs/"])
def test_a_damaged_object_is_refused_and_named(home: Path, source: Folder, target: Storage, kind: str) -> None:
    made = pushed(mixed(home / "v"), source)
    key = max(source.find(kind), key=lambda entry: entry.size).key
    path = source.path(key)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(Damaged, match=key):
        mirror(source, made.manifest, target)
    assert list(target.find("manifests/")) == []
    assert target.latest(key) is None
    pushed(home / "v", source)
    mirror(source, made.manifest, target)
    whole(target, made.manifest, home / "v", home / "out")


def test_what_the_source_has_lost_is_named(home: Path, source: Folder, target: Storage) -> None:
    made = pushed(mixed(home / "v"), source)
    key = next(source.find("objects/")).key
    source.path(key).unlink()
    with pytest.raises(Missing, match=key):
        mirror(source, made.manifest, target)


def _mirrored(source: Path, digest: str, target: Path) -> None:
    mirror(Folder(source), digest, Folder(target))


def test_killed_at_any_step_it_leaves_nothing_wrong_and_the_next_one_goes_on(home: Path, source: Folder) -> None:
    made = pushed(mixed(home / "v"), source)
    target = Folder(home / "target")
    all_of_it = mirror(source, made.manifest, Folder(home / "other")).moved
    for _ in every_step(_mirrored, source.root, made.manifest, target.root, stride=31):
        whole_ones = sum(entry.size for kind in ("objects/", "packs/") for entry in target.find(kind))
        assert mirror(source, made.manifest, target).moved in (0, all_of_it - whole_ones)
        assert verify_stored(target, made.manifest) == ()
        shutil.rmtree(target.root)
    assert unfinished(target.root) == []
    assert on_disk(target.root) == on_disk(home / "other")


def test_what_is_told_from_another_version_goes_over_too(home: Path, source: Folder, target: Storage) -> None:
    before, after = version(home / "v", trained()), version(home / "w", tuned(trained()))
    first = pushed(before, source)
    second = pushed(after, source, like=[first.manifest])
    least = pull(source, second.manifest, home / "near", near={before: [first.manifest]}).fetched
    assert least < 0.5 * second.size
    mirror(source, first.manifest, target)
    assert mirror(source, second.manifest, target).moved == second.written
    pulled = pull(target, second.manifest, home / "far", near={before: [first.manifest]})
    assert contents(home / "far") == contents(after)
    assert pulled.fetched == least


def test_a_target_that_takes_no_shortcuts_takes_the_version(home: Path, source: Folder) -> None:
    before, after = version(home / "v", trained()), version(home / "w", tuned(trained()))
    first = pushed(before, source)
    second = pushed(after, source, like=[first.manifest])
    target = Refusing(home / "target")
    mirror(source, second.manifest, target)
    whole(target, second.manifest, after, home / "out")
    assert list(target.find("shortcuts/")) == []
