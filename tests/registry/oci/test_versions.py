"""Versions to a real registry and back: the same bytes, only what is new of them, after kills, and never others."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import InvalidRequest, ModelyardError
from modelyard.registry.content.manifest import Damaged, digest_of
from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import READ, Folder
from modelyard.registry.oci import importing
from modelyard.registry.oci.client import Client
from modelyard.registry.oci.exporting import Exported, push_image
from modelyard.registry.oci.image import CONTENTS, LAYER_ANNOTATION, VERSION_ANNOTATION
from modelyard.registry.oci.importing import fetch
from modelyard.registry.oci.references import parse
from tests.registry.content.crashing import every_step, killed
from tests.registry.content.making import checkpoint, contents, listed, mixed, pushed, tensors, unfinished, write
from tests.registry.oci.killing import fetch_it, fetch_until, push_until
from tests.registry.oci.servers import Between, Registry

names = st.text(st.sampled_from("abcü-"), min_size=1, max_size=3)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(max_size=2000), min_size=1, max_size=6
).filter(lambda tree: not any(one[: len(other)] == other for one in tree for other in tree if one != other))


def exported(folder: Path, storage: Folder, to: str, **options: object) -> tuple[str, Exported]:
    """The version's manifest, and what came of it."""
    digest = pushed(folder, storage).manifest
    return digest, push_image(storage, digest, parse(f"oci://{to}"), **options)  # type: ignore[arg-type]


def assert_same(folder: Path, other: Path) -> None:
    assert contents(folder) == contents(other)
    assert unfinished(other) == []


def test_a_version_comes_back_as_it_was_pushed(served: Registry, home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    checkpoint(folder / "large.safetensors", tensors(count=3, size=2**20))
    digest, image = exported(folder, storage, f"{served.address}/versions/mixed:1.0.0")
    assert image.written == image.size > 0
    told: list[tuple[int, int]] = []
    found = fetch(f"oci://{served.address}/versions/mixed:1.0.0", home / "out", progress=lambda *now: told.append(now))
    assert found == f"oci://{served.address}/versions/mixed@{image.digest}"
    assert_same(folder, home / "out")
    assert sorted(told) == told
    assert told[-1][0] == told[-1][1] == sum(len(content) for content, _ in contents(folder).values())
    assert not (home / "out.parts").exists()
    # What comes back is the same version.
    assert pushed(home / "out", Folder(home / "other")).manifest == digest


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_files_come_back_as_they_were_pushed(
    served: Registry, home: Path, tree: dict[tuple[str, ...], bytes]
) -> None:
    for name in ("v", "store", "out"):
        shutil.rmtree(home / name, ignore_errors=True)
    for path, content in tree.items():
        write(home.joinpath("v", *path), content)
    digest = push(home / "v", listed(home / "v"), Folder(home / "store")).manifest
    reference = f"oci://{served.address}/versions/any:1"
    push_image(Folder(home / "store"), digest, parse(reference))
    fetch(reference, home / "out")
    assert_same(home / "v", home / "out")


def test_many_files_share_layers_and_come_back(served: Registry, home: Path, storage: Folder) -> None:
    for number in range(120):
        write(home / "v" / f"{number % 7}" / f"{number}.txt", b"x" * number)
    exported(home / "v", storage, f"{served.address}/versions/many:1")
    fetch(f"oci://{served.address}/versions/many:1", home / "out")
    assert_same(home / "v", home / "out")
    with Client.of(parse(f"oci://{served.address}/versions/many:1")) as client:
        assert 67 < len(client.manifest().content["layers"]) <= 100


def test_a_mounted_image_shows_the_files_below_models(served: Registry, home: Path, storage: Folder) -> None:
    """As a container runtime does it: the layers, one over the other."""
    folder = mixed(home / "v")
    digest, _ = exported(folder, storage, f"{served.address}/versions/mounted:1", annotations={"a": "b"})
    with Client.of(parse(f"oci://{served.address}/versions/mounted:1")) as client:
        document = client.manifest()
        config = client.blob(document.descriptors("config")[0])
        layers = [client.blob(layer) for layer in document.descriptors("layers")]
    assert document.annotations == {"a": "b", VERSION_ANNOTATION: digest}
    assert all(digest_of(layer).encode() in config for layer in layers)
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as content:
            # Python 3.11 has filters from 3.11.4 on.
            content.extraction_filter = getattr(tarfile, "data_filter", None)
            content.extractall(home / "root")
    assert contents(home / "root" / "models") == contents(folder)
    assert sorted(path.name for path in (home / "root").iterdir()) == [".modelyard", "models"]


def test_what_the_registry_has_is_not_sent_again(served: Registry, home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    _, first = exported(folder, storage, f"{served.address}/versions/deltas:1")
    puts = len(served.requests("PUT"))
    _, again = exported(folder, storage, f"{served.address}/versions/deltas:1")
    assert again == Exported(digest=first.digest, size=first.size, written=0, mounted=0)
    assert len(served.requests("PUT")) == puts + 1  # the manifest
    write(folder / "config.json", b'{"changed": 1}')
    _, second = exported(folder, storage, f"{served.address}/versions/deltas:2")
    sent = [path for path in served.requests("PUT")[puts + 1 :] if "/blobs/" in path]
    # The changed file, what the layers hold, the configuration.
    assert len(sent) == 3
    assert second.written < 20_000 < first.size
    _, other = exported(folder, storage, f"{served.address}/versions/mounts:2", mount_from="versions/deltas")
    assert (other.digest, other.mounted, other.written) == (second.digest, second.size, 0)


def test_files_that_are_there_are_not_fetched_again_and_others_go(
    served: Registry, home: Path, storage: Folder
) -> None:
    folder = mixed(home / "v")
    exported(folder, storage, f"{served.address}/versions/partly:1")
    shutil.copytree(folder, home / "out")
    write(home / "out" / "config.json", b"{ }")
    write(home / "out" / "old" / "old.txt", b"of another image")
    (home / "out" / "deep" / "er" / "text.txt").unlink()
    write(home / "out" / "deep" / "er" / "text.txt" / "folder", b"where a file is to be")
    gets = len(served.requests("GET"))
    fetch(f"oci://{served.address}/versions/partly:1", home / "out")
    assert_same(folder, home / "out")
    # The manifest, what the layers hold, the two files.
    assert len(served.requests("GET")) == gets + 4


def test_a_flipped_bit_anywhere_is_refused(proxy: Between, home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    exported(folder, storage, f"{proxy.address}/versions/flips:1")
    reference = f"oci://{proxy.address}/versions/flips:1"
    with Client.of(parse(reference)) as client:
        # But for the empty file's, which nobody reads.
        blobs = [layer.digest for layer in client.manifest().descriptors("layers") if layer.size > 2048]
    for number, path in enumerate(["/manifests/", *blobs]):
        proxy.flip = (path, -1 - 97 * number)
        with pytest.raises(Damaged):
            fetch(reference, home / "out")
        for made, content in contents(home / "out").items() if (home / "out").exists() else ():
            assert contents(folder)[made] == content
        shutil.rmtree(home / "out", ignore_errors=True)
    proxy.flip = None
    fetch(reference, home / "out")
    assert_same(folder, home / "out")


def test_an_image_that_says_it_is_another_version_is_refused(served: Registry, home: Path, storage: Folder) -> None:
    folder = mixed(home / "v")
    _, image = exported(folder, storage, f"{served.address}/versions/lies:1")
    with Client.of(parse(f"oci://{served.address}/versions/lies:1")) as client:
        document = client.manifest()
        version = document.annotations[VERSION_ANNOTATION]
        for other in (f"sha256:{'0' * 64}", "no digest"):
            client.put_manifest(document.body.replace(version.encode(), other.encode()))
            with pytest.raises(Damaged):
                fetch(f"oci://{served.address}/versions/lies:1", home / "out")
    assert not (home / "out").exists()
    assert image.digest


def test_no_more_is_taken_of_an_image_than_a_version_can_say_of_itself(
    served: Registry, home: Path, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(mixed(home / "v"), storage, f"{served.address}/versions/much:1")
    with Client.of(parse(f"oci://{served.address}/versions/much:1")) as client:
        layers = client.manifest().descriptors("layers")
        own = next(layer for layer in layers if layer.annotations.get(LAYER_ANNOTATION) == CONTENTS)
    assert importing._MAX_CONTENTS <= 2**28
    monkeypatch.setattr(importing, "_MAX_CONTENTS", own.size - 1)
    before = len(served.requests("GET"))
    with pytest.raises(Damaged):
        fetch(f"oci://{served.address}/versions/much:1", home / "out")
    assert not [line for line in served.requests("GET")[before:] if "blobs" in line]


def test_a_damaged_store_is_not_exported(served: Registry, home: Path, storage: Folder) -> None:
    digest = pushed(mixed(home / "v"), storage).manifest
    largest = max(storage.find("objects/"), key=lambda entry: entry.size)
    path = storage.path(largest.key)
    path.chmod(0o644)
    with path.open("r+b") as content:
        content.seek(1000)
        content.write(b"damage")
    with pytest.raises(Damaged, match="Push the same files again"):
        push_image(storage, digest, parse(f"oci://{served.address}/versions/damaged:1"))
    with Client.of(parse(f"oci://{served.address}/versions/damaged:1")) as client:
        assert client.digest() is None


class _Enough(Exception):
    pass


def enough_after(number: int) -> Callable[[int, int], None]:
    calls = iter(range(number))

    def progress(there: int, total: int) -> None:
        if next(calls, None) is None:
            raise _Enough

    return progress


@pytest.mark.parametrize("number", [0, 5])
def test_what_progress_raises_ends_it(served: Registry, home: Path, storage: Folder, number: int) -> None:
    reference = f"oci://{served.address}/versions/ended:{number}"
    digest = pushed(mixed(home / "v"), storage).manifest
    with pytest.raises(_Enough):
        push_image(storage, digest, parse(reference), progress=enough_after(number))
    with pytest.raises(ModelyardError, match="has no manifest"):
        fetch(reference, home / "out")
    push_image(storage, digest, parse(reference))
    with pytest.raises(_Enough):
        fetch(reference, home / "out", progress=enough_after(min(number, 3)))
    fetch(reference, home / "out")
    assert_same(home / "v", home / "out")


def test_an_image_is_pushed_to_a_tag_only(served: Registry, storage: Folder) -> None:
    with pytest.raises(InvalidRequest, match="tag only"):
        push_image(storage, digest_of(b""), parse(f"oci://{served.address}/versions/by@{digest_of(b'')}"))


# ------------------------------------------------------------------------------------------------ kills


def small(folder: Path) -> Path:
    for number in range(6):
        checkpoint(folder / f"{number}.safetensors", tensors(count=1, size=2**16, seed=number))
    write(folder / "deep" / "text.txt", b"a" * 1000)
    write(folder / "run.sh", b"#!/bin/sh\n").chmod(0o755)
    return folder


def test_a_push_that_was_killed_anywhere_goes_on(served: Registry, home: Path, storage: Folder) -> None:
    digest = pushed(small(home / "v"), storage).manifest
    sent: list[int] = []
    for number in count(0, 11):
        # A registry knows what it has by its repositories.
        reference = f"oci://{served.address}/versions/killed/{number}:1"
        if not killed(10**9, push_until, number, storage.root, digest, reference):
            break
        sent.append(push_image(storage, digest, parse(reference)).written)
        fetch(reference, home / f"out{number}")
        assert_same(home / "v", home / f"out{number}")
    # What was sent before the kill is there.
    assert max(sent) == sent[0]
    assert min(sent) < sent[0]


def test_a_fetch_that_was_killed_anywhere_goes_on(served: Registry, home: Path, storage: Folder) -> None:
    exported(small(home / "v"), storage, f"{served.address}/versions/fetched:1")
    reference = f"oci://{served.address}/versions/fetched:1"
    whole = contents(home / "v")
    for _ in every_step(fetch_it, reference, home / "out", stride=7):
        for path, content in contents(home / "out").items() if (home / "out").exists() else ():
            assert ".writing-" in path or whole[path] == content
        fetch(reference, home / "out")
        assert_same(home / "v", home / "out")
        shutil.rmtree(home / "out")


def test_what_a_killed_fetch_had_of_a_large_file_is_not_fetched_again(
    served: Registry, home: Path, storage: Folder
) -> None:
    checkpoint(home / "v" / "model.safetensors", tensors(count=5, size=2**21))
    exported(home / "v", storage, f"{served.address}/versions/large:1")
    reference = f"oci://{served.address}/versions/large:1"
    # After the first progress, which is of what was there, and those of some ranges.
    assert killed(10**9, fetch_until, 4, reference, home / "out")
    # One more that was killed at once, so that there are two beginnings of the file.
    shutil.copy(next((home / "out").iterdir()), home / "out" / f"model.safetensors.writing-{'0' * 16}")
    told: list[int] = []
    fetch(reference, home / "out", progress=lambda there, total: told.append(there))
    assert told[0] >= 3 * READ, "what was there counts before anything is fetched"
    assert_same(home / "v", home / "out")
