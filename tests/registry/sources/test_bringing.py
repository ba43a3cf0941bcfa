"""From a source to the files of a version, wherever they are: fetched, picked, judged, and put away."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.registry.importing import Trust, brought
from modelyard.registry.sources.picking import Picking
from tests.registry.formats.making import safetensors_bytes
from tests.registry.oci.making import image, tar_of
from tests.registry.oci.servers import Registry, registry
from tests.registry.sources.serving import Server, of


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def staging(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    return home / "cache" / "modelyard" / "fetching"


class Seen:
    """Who is told what."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.moved: list[tuple[str, int, int]] = []

    @contextmanager
    def moving(self, text: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda there, total: self.moved.append((text, there, total))


def test_an_image_of_a_container_registry_is_brought_at_its_digest(images: Registry, staging: Path) -> None:
    files = {"model.safetensors": safetensors_bytes(), "weights.pkl": pickle.dumps(1), "card.md": b"# pat\n"}
    source = image(images.address, "bringing/pat", tar_of(*((f"models/{path}", body) for path, body in files.items())))
    seen = Seen()
    with brought(source, Trust(), seen.moving, seen.words.append, Picking(exclude=("*.pkl",))) as found:
        assert [str(file.path) for file in found.found] == ["card.md", "model.safetensors"]
        assert found.origin.startswith(f"oci://{images.address}/bringing/pat@sha256:")
        assert (found.root / "card.md").read_bytes() == b"# pat\n"
    assert seen.words == ["Left out: weights.pkl"]
    assert {text for text, _, _ in seen.moved} == {f"Fetching {source}"}
    assert list(staging.iterdir()) == []
    with pytest.raises(InvalidRequest, match=r"weights\.pkl"), brought(source, Trust(), seen.moving):
        pass
    assert [path for path in staging.iterdir() if path.is_dir()], "what was fetched is there for the next try"


def test_what_is_left_out_of_what_is_brought_is_said_whoever_leaves_it_out(server: Server, staging: Path) -> None:
    server.routes["/m/weights.pkl"] = of(pickle.dumps(1))
    seen = Seen()
    with (
        pytest.raises(InvalidRequest, match="There is no file in it"),
        brought(f"{server.url}/m/weights.pkl", Trust(), seen.moving, seen.words.append, Picking(include=("*.onnx",))),
    ):
        pass
    assert seen.words == ["Left out: weights.pkl"]
    with brought(f"{server.url}/m/weights.pkl", Trust(pickle=True), seen.moving) as found:
        assert [str(file.path) for file in found.found] == ["weights.pkl"]


def test_files_that_lie_here_are_read_where_they_lie(home: Path, staging: Path) -> None:
    (home / "card.md").write_text("# pat\n")
    seen = Seen()
    for source in (str(home / "card.md"), (home / "card.md").as_uri()):
        with brought(source, Trust(), seen.moving) as found:
            assert (found.root, found.origin) == (home, "")
    assert seen.moved == []
    assert not staging.exists()
