"""What an image of a version is made of."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from datetime import UTC, datetime

import pytest

from modelyard.registry.content.manifest import Damaged, File, Manifest, Part, digest_of
from modelyard.registry.oci import image


def file(path: str, size: int = 10, *, executable: bool = False) -> File:
    parts = (Part(root=hashlib.sha256(path.encode()).hexdigest(), size=size),) if size else ()
    return File(path=path, size=size, sha256="0" * 64, kind="plain", parts=parts, executable=executable)


def built(layer: image.Layer) -> bytes:
    """The tar, with ``x`` for what is in files; and that its runs follow one another."""
    found = b""
    for run in layer.runs:
        assert run.offset == len(found)
        found += b"x" * run.size if isinstance(run.content, File) else run.content
    assert len(found) == layer.size
    return found


def listed(layer: image.Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(built(layer)), mode="r:") as content:
        return {member.name: member for member in content}


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_a_file_is_a_layer_with_the_folders_above_it(size: int) -> None:
    (layer,) = image.layers(Manifest(files=(file("a/b/run.sh", size, executable=True),)))
    members = listed(layer)
    assert list(members) == ["models", "models/a", "models/a/b", "models/a/b/run.sh"]
    assert [members[name].isdir() for name in members] == [True, True, True, False]
    assert [members[name].mode for name in members] == [0o755] * 4
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", 0)}
    assert members["models/a/b/run.sh"].size == size


def test_long_names_other_letters_and_large_files_are_said_as_pax_has_it() -> None:
    path = f"{'ü' * 100}/{'n' * 200}"
    (layer,) = image.layers(Manifest(files=(file(path, 10),)))
    assert f"models/{path}" in listed(layer)
    (large,) = image.layers(Manifest(files=(file("large", 2**40),)))
    head = b"".join(run.content for run in large.runs if isinstance(run.content, bytes))
    with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as content:
        members = [content.next(), content.next()]
    assert members[1] is not None
    assert (members[1].name, members[1].size) == ("models/large", 2**40)


def test_up_to_99_files_have_a_layer_each_and_more_share_some() -> None:
    files = [file(f"f{number:04}", number + 1) for number in range(99)]
    assert len(image.layers(Manifest(files=tuple(files)))) == 99
    many = [file(f"f{number:04}", number + 1) for number in range(1000)]
    found = image.layers(Manifest(files=tuple(many)))
    assert len(found) == 99
    paths = sorted(path for layer in found for path, member in listed(layer).items() if member.isreg())
    assert paths == [f"models/{one.path}" for one in many]
    # The large ones are alone.
    alone = [layer for layer in found if sum(member.isreg() for member in listed(layer).values()) == 1]
    assert f"models/{many[-1].path}" in {layer.name for layer in alone}


def test_one_more_small_file_changes_one_layer() -> None:
    many = [file(f"f{number:04}", number + 1) for number in range(500)]
    before = {built(layer) for layer in image.layers(Manifest(files=tuple(many)))}
    after = {built(layer) for layer in image.layers(Manifest(files=(*many, file("new", 1))))}
    assert len(after - before) == 1


def test_where_files_lie_is_read_as_it_was_written() -> None:
    layers = image.layers(Manifest(files=(file("a", 600), file("b", 5), file("empty", 0))))
    packed = image.contents_layer(b"a manifest", layers)
    document, places = image.read_contents_layer(packed)
    assert document == b"a manifest"
    assert places == {"a": image.Place(0, 1024), "b": image.Place(1, 1024)}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as content:
        assert content.getnames() == [".modelyard", ".modelyard/manifest.json", ".modelyard/files.json"]


@pytest.mark.parametrize(
    "places", [b"", b"[]", b'{"format": "modelyard.files/2"}', b'{"format": "modelyard.files/1", "files": {"a": 1}}']
)
def test_a_layer_that_does_not_say_where_files_lie_is_refused(places: bytes) -> None:
    good = image.contents_layer(b"{}", [])
    with pytest.raises(Damaged):
        image.read_contents_layer(good[:1024])
    with pytest.raises(Damaged):
        image.read_contents_layer(good.replace(b'{"format":"modelyard.files/1","files":{}}', places.ljust(41)))


def test_what_is_said_of_an_image_is_what_is_published() -> None:
    annotations = image.annotations_of("reader", "1.2.0", datetime(2026, 5, 1, 12, tzinfo=UTC), "Apache-2.0")
    head = image.config(["a"], [digest_of(b"a")], annotations)
    described = image.describe(1, digest_of(b"a"))
    body = image.manifest(image.describe(len(head), digest_of(head)), [described], digest_of(b"m"), annotations)
    assert json.loads(body)["annotations"] == {
        "org.opencontainers.image.title": "reader",
        "org.opencontainers.image.version": "1.2.0",
        "org.opencontainers.image.created": "2026-05-01T12:00:00Z",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "dev.modelyard.manifest": digest_of(b"m"),
    }
    config = json.loads(head)
    assert config["rootfs"] == {"type": "layers", "diff_ids": [digest_of(b"a")]}
    assert len(config["history"]) == 1
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "amd64", "2026-05-01T12:00:00Z")
    assert image.annotations_of("reader", "1.2.0", datetime(2026, 5, 1, tzinfo=UTC)).keys() == (
        annotations.keys() - {"org.opencontainers.image.licenses"}
    )
