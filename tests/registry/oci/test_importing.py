"""Images and artifacts that others have made: what comes out of them, and what is refused."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest
import zstandard

from modelyard.domain.errors import InvalidRequest, ModelyardError, NotFound
from modelyard.registry.admitting import Hosts
from modelyard.registry.oci.client import DOCKER_MANIFEST
from modelyard.registry.oci.importing import fetch
from tests.registry.content.making import noise
from tests.registry.oci.making import (
    NO_CONFIG,
    TITLE,
    Member,
    folder,
    image,
    index,
    layer,
    packed,
    put,
    special,
    tar_of,
)  # fmt: skip
from tests.registry.oci.servers import Between, Registry


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if not path.is_dir()}


def fetched(reference: str, home: Path) -> dict[str, bytes]:
    fetch(reference, home / "out")
    return tree(home / "out")


def refusal(reference: str, home: Path) -> list[tuple[str, str]]:
    """Why it is refused, and that nothing of it comes to its place, or beside it."""
    with pytest.raises(InvalidRequest) as refused:
        fetch(reference, home / "out")
    assert not (home / "out").exists()
    assert sorted(path.name for path in home.iterdir() if path.name not in ("out.parts", "docker")) == []
    assert not (home / "out.parts" / "files").exists()
    assert all(problem.message.endswith(".") for problem in refused.value.problems)
    return [(problem.path, problem.code) for problem in refused.value.problems]


@pytest.mark.parametrize("pack", [bytes, packed, zstandard.compress, lambda tar: packed(tar[:700]) + packed(tar[700:])])
def test_an_image_is_read_however_its_layers_are_packed(served: Registry, home: Path, pack: object) -> None:
    content = noise(1, 300_000)
    base = tar_of(folder("bin/"), ("bin/sh", b"sh"), special("bin/ls", tarfile.SYMTYPE, "sh"), folder("models/"))
    model = tar_of(folder("models/"), ("models/a/model.onnx", content), ("models/card.md", b"#"))
    reference = image(served.address, "importing/packed", pack(base), pack(model))  # type: ignore[operator]
    assert fetched(reference, home) == {"a/model.onnx": content, "card.md": b"#"}


def test_an_image_that_was_fetched_is_not_fetched_again(served: Registry, home: Path) -> None:
    reference = image(served.address, "importing/again", tar_of(("models/x", b"1")))
    assert fetched(reference, home) == {"x": b"1"}
    gets = len(served.requests("GET"))
    assert fetched(reference, home) == {"x": b"1"}
    assert len(served.requests("GET")) == gets + 1  # the manifest
    other = image(served.address, "importing/again", tar_of(("models/y", b"2")))
    assert fetched(other, home) == {"y": b"2"}


def test_an_image_that_docker_has_made_is_read(served: Registry, home: Path) -> None:
    layers = [layer(packed(tar_of(("models/x", b"1"))), "application/vnd.docker.image.rootfs.diff.tar.gzip")]
    config = "application/vnd.docker.container.image.v1+json"
    put(served.address, "importing/docker", layers, config=config, media_type=DOCKER_MANIFEST)
    assert fetched(f"oci://{served.address}/importing/docker", home) == {"x": b"1"}


def test_of_an_image_without_models_all_is_taken(served: Registry, home: Path) -> None:
    reference = image(served.address, "importing/all", tar_of(("a/x", b"1")), tar_of(("./b", b"2"), folder("./c/")))
    assert fetched(reference, home) == {"a/x": b"1", "b": b"2"}


def test_an_upper_layer_hides_what_it_deletes_and_replaces(served: Registry, home: Path) -> None:
    lower = tar_of(
        ("models/kept", b"1"), ("models/gone", b"2"), ("models/old/a", b"3"), ("models/old/b", b"4"),
        ("models/file-then-folder", b"5"), ("models/folder-then-file/x", b"6"), ("models/new", b"7"),
        special("models/link", tarfile.SYMTYPE, "/etc/passwd"), ("models/dir/deep/x", b"8"),
    )  # fmt: skip
    upper = tar_of(
        ("models/.wh.gone", b""), ("models/old/.wh..wh..opq", b""), ("models/old/c", b"9"), ("models/new", b"10"),
        folder("models/file-then-folder/"), ("models/file-then-folder/x", b"11"), ("models/folder-then-file", b"12"),
        ("models/.wh.link", b""), ("models/.wh.dir", b""), ("models/dir/y", b"13"),
    )  # fmt: skip
    assert fetched(image(served.address, "importing/whiteouts", lower, upper), home) == {
        "kept": b"1", "old/c": b"9", "new": b"10", "file-then-folder/x": b"11", "folder-then-file": b"12",
        "dir/y": b"13",
    }  # fmt: skip


EVIL: dict[str, tuple[list[Member], list[tuple[str, str]]]] = {
    "up": ([("models/x", b""), ("models/../../x", b"")], [("models/../../x", "path_escape")]),
    "up-elsewhere": ([("models/x", b""), ("../x", b"")], [("../x", "path_escape")]),
    "absolute": ([("models/x", b""), ("/models/y", b"")], [("/models/y", "path_escape")]),
    "symlink": ([special("models/x", tarfile.SYMTYPE, "/etc/passwd")], [("x", "link")]),
    "hardlink": ([special("models/x", tarfile.LNKTYPE, "etc/passwd")], [("x", "link")]),
    "models-is-a-link": ([special("models", tarfile.SYMTYPE, "/etc"), ("models/x", b"")], [("models", "link")]),
    "through-a-link": (
        [special("models/a", tarfile.SYMTYPE, "/tmp"), ("models/a/x", b"")],
        [("a", "link")],
    ),
    "device": ([special("models/x", tarfile.CHRTYPE)], [("x", "special_file")]),
    "pipe": ([special("models/x", tarfile.FIFOTYPE)], [("x", "special_file")]),
    "case": ([("models/Model", b""), ("models/model", b"")], [("model", "name_collision")]),
    "windows": ([("models/con", b"")], [("con", "invalid_name")]),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_an_image_made_to_harm_is_refused(served: Registry, home: Path, name: str) -> None:
    members, problems = EVIL[name]
    base = tar_of(special("bin", tarfile.SYMTYPE, "usr/bin"), special("dev/null", tarfile.CHRTYPE))
    reference = image(served.address, f"importing/evil-{name}", base, packed(tar_of(*members)))
    assert set(problems) <= set(refusal(reference, home))


@pytest.mark.parametrize("pack", [packed, zstandard.compress])
def test_a_bomb_is_refused(served: Registry, home: Path, pack: object) -> None:
    bomb = pack(tar_of(("models/x", bytes(2**27))))  # type: ignore[operator]
    assert refusal(image(served.address, "importing/bomb", bomb), home) == [("", "archive_bomb")]


@pytest.mark.parametrize("content", [b"no tar at all", packed(b"x" * 2000), tar_of(("models/x", b"1" * 5000))[:2048]])
def test_a_layer_that_is_no_tar_is_refused(served: Registry, home: Path, content: bytes) -> None:
    assert refusal(image(served.address, "importing/damaged", content), home) == [("", "damaged_archive")]


def test_a_layer_that_is_cut_within_its_packing_is_refused(served: Registry, home: Path) -> None:
    whole = tar_of(("models/x", noise(1, 100_000)))
    for number, cut in enumerate((gzip.compress(whole)[:50_000], zstandard.compress(whole)[:50_000])):
        assert refusal(image(served.address, f"importing/cut{number}", cut), home) == [("", "damaged_archive")]


# ------------------------------------------------------------------------------------------------ artifacts


def test_an_artifact_is_its_named_files(served: Registry, home: Path) -> None:
    """As ``oras push host/repository model.onnx sub/card.md`` makes it: the files as they are, called tars."""
    content = noise(1, 300_000)
    layers = [
        layer(content, **{TITLE: "model.onnx"}),
        layer(b"#", "text/markdown", **{TITLE: "sub/card.md"}),
        layer(b"?"),
    ]
    put(served.address, "importing/artifact:1", layers, config=NO_CONFIG)
    assert fetched(f"oci://{served.address}/importing/artifact:1", home) == {"model.onnx": content, "sub/card.md": b"#"}


def test_the_folders_of_an_artifact_are_unpacked(served: Registry, home: Path) -> None:
    folders = packed(tar_of(folder("data/"), ("data/x", b"1")))
    layers = [
        layer(
            folders,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            io_deis_oras_content_unpack="true",
            **{TITLE: "data"},
        ),
        layer(b"2", **{TITLE: "data/y"}),
    ]
    put(served.address, "importing/folders", layers, config=NO_CONFIG)
    assert fetched(f"oci://{served.address}/importing/folders", home) == {"data/x": b"1", "data/y": b"2"}


def test_a_model_pack_is_read(served: Registry, home: Path) -> None:
    weights = tar_of(("weights/a", b"1"))
    layers = [
        layer(weights, "application/vnd.cncf.model.weight.v1.tar", org_cncf_model_filepath="weights/a"),
        layer(b"#", "application/vnd.cncf.model.doc.v1.raw", org_cncf_model_filepath="README.md"),
    ]
    put(served.address, "importing/pack", layers, config="application/vnd.cncf.model.config.v1+json")
    assert fetched(f"oci://{served.address}/importing/pack", home) == {"weights/a": b"1", "README.md": b"#"}


@pytest.mark.parametrize("title", ["../x", "/etc/x", "a/../../x", "con"])
def test_an_artifact_with_names_that_lead_elsewhere_is_refused(served: Registry, home: Path, title: str) -> None:
    put(served.address, "importing/names", [layer(b"1", **{TITLE: title})], config=NO_CONFIG)
    assert [path for path, _ in refusal(f"oci://{served.address}/importing/names", home)] == [title]


def test_what_is_no_model_is_refused(served: Registry, home: Path) -> None:
    put(served.address, "importing/nothing", [layer(b"1", "text/plain")], config=NO_CONFIG)
    assert refusal(f"oci://{served.address}/importing/nothing", home) == [("reference", "no_model")]
    with pytest.raises(NotFound):
        fetch(f"oci://{served.address}/importing/nowhere", home / "out")


# ------------------------------------------------------------------------------------------------ indexes


def test_of_several_platforms_the_common_one_is_taken(served: Registry, home: Path) -> None:
    name = f"{served.address}", "importing/platforms"
    found = [put(*name, [layer(tar_of(("models/x", text)))]) for text in (b"arm", b"amd", b"what was signed")]
    amd, arm = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64", "variant": "v8"}
    unknown = {"os": "unknown", "architecture": "unknown"}
    several = index(served.address, "importing/platforms:all", list(zip(found, (arm, amd, unknown), strict=True)))
    assert fetched(several, home) == {"x": b"amd"}
    only = index(served.address, "importing/platforms:only", [(found[0], arm), (found[2], unknown)])
    assert fetched(only, home) == {"x": b"arm"}
    unclear = index(served.address, "importing/platforms:unclear", [(found[0], arm), (found[1], None)])
    with pytest.raises(InvalidRequest) as refused:
        fetch(unclear, home / "out")
    assert refused.value.problems[0].code == "ambiguous"
    assert f"linux/arm64/v8 is {found[0]}" in refused.value.message
    assert fetched(f"oci://{served.address}/importing/platforms@{found[1]}", home) == {"x": b"amd"}


# ------------------------------------------------------------------------------------------------ on the way


def test_a_flipped_bit_in_a_foreign_layer_is_refused(proxy: Between, home: Path) -> None:
    reference = image(proxy.address, "importing/flips", tar_of(("models/x", noise(1, 100_000))))
    proxy.flip = ("/blobs/", 50_000)
    with pytest.raises(ModelyardError, match="digest"):
        fetch(reference, home / "out")
    assert not (home / "out").exists()
    proxy.flip = None
    assert fetched(reference, home) == {"x": noise(1, 100_000)}


class _Enough(Exception):
    pass


def test_what_progress_raises_ends_it_and_what_has_arrived_is_kept(proxy: Between, home: Path) -> None:
    first, second = tar_of(("models/x", noise(1, 2**20))), tar_of(("models/y", noise(2, 40 * 2**20)))
    reference = image(proxy.address, "importing/ended", first, second)

    def progress(there: int, total: int) -> None:
        assert there <= total == len(first) + len(second)
        if there > 30 * 2**20:
            raise _Enough

    with pytest.raises(_Enough):
        fetch(reference, home / "out", progress=progress)
    assert not (home / "out").exists()
    told: list[int] = []
    fetch(reference, home / "out", progress=lambda there, total: told.append(there))
    assert told[0] > 15 * 2**20
    assert tree(home / "out") == {"x": noise(1, 2**20), "y": noise(2, 40 * 2**20)}


def test_a_registry_on_this_machine_is_asked_for_callers_only_where_it_is_named(served: Registry, home: Path) -> None:
    reference = f"oci://{served.address}/models/none:1"
    with pytest.raises(InvalidRequest, match="own machine"):
        fetch(reference, home / "to", hosts=Hosts())
    with pytest.raises(NotFound):
        fetch(reference, home / "to", hosts=Hosts(named=frozenset({served.address.partition(":")[0]})))
