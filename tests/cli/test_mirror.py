"""Versions moved between real Modelyards: pushed and pulled from another machine, and mirrored."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.registry.content.storage import Folder
from modelyard.registry.content.verifying import verify_stored
from tests.cli.yard import COMMAND, Yard
from tests.registry.content.making import checkpoint, contents, tensors, unfinished
from tests.registry.oci.servers import Registry, registry

STORE = "store-of-the-far-one"


@pytest.fixture(scope="module")
def far() -> Iterator[Yard]:
    """One whose store nobody has a way to but the API: its path leads to it in its own processes only."""
    made = Yard(environment={"MODELYARD_REGISTRY_PATH": f"/proc/self/cwd/{STORE}"})
    try:
        subprocess.run([*COMMAND, "up", "--detach"], env=made.env, cwd=made.home, check=True, capture_output=True)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    with registry(folder) as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


def model(folder: Path, seed: int, count: int = 3, size: int = 2**16) -> Path:
    checkpoint(folder / "model.safetensors", tensors(count=count, size=size, seed=seed))
    (folder / "README.md").write_text(f"number {seed}\n")
    return folder


def to(yard: Yard) -> list[str]:
    return ["--to", yard.url, "--to-token-file", str(yard.home / "admin.token")]


def items(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_a_version_is_pushed_pulled_and_verified_from_another_machine(far: Yard, tmp_path: Path) -> None:
    # Larger than a request may be elsewhere.
    folder = model(tmp_path / "v", 1, count=1, size=2**21)
    assert "all of it new" in far.ok("push", str(folder), "travelled@1.0.0", "--metric", "f1=0.5")
    assert [path.name for path in (far.home / STORE / "manifests").iterdir()] != []
    assert not (Path.cwd() / STORE).exists()
    again = far.ok("push", str(folder), "travelled@1.0.0", "--metric", "f1=0.5")
    assert "was published already, and nothing changed" in again
    far.ok("pull", "travelled@1.0.0", "--to", str(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(folder)
    assert "travelled@1.0.0 is whole" in far.ok("verify", "travelled@1.0.0")
    damaged = max((far.home / STORE / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    damaged.chmod(0o644)
    with damaged.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"lies")
    refused = far.run("pull", "travelled@1.0.0", "--to", str(tmp_path / "again"))
    assert (refused.returncode, damaged.name in refused.stderr) == (1, True)
    assert damaged.name in far.run("verify", "travelled@1.0.0").stderr
    far.ok("push", str(folder), "travelled@1.0.0", "--metric", "f1=0.5")
    far.ok("verify", "travelled@1.0.0")


def test_versions_go_over_with_all_that_is_said_of_them_and_once(far: Yard, yard: Yard, tmp_path: Path) -> None:
    far.ok("register", "moved", "--description", "goes places", "--series", "travels", "--label", "a=b")
    card = tmp_path / "card.md"
    card.write_text("# A card\n")
    first, second = model(tmp_path / "1", 2), model(tmp_path / "2", 2)
    (second / "README.md").write_text("another\n")
    far.ok("push", str(first), "moved@1.0.0", "--alias", "stable", "--metric", "f1=0.5", "--card", str(card))
    far.ok("push", str(second), "moved@1.1.0", "--framework", "torch:2", "--label", "x=y", "--parent", "1.0.0")
    far.ok("push", str(model(tmp_path / "3", 3)), "moved@2.0.0")
    planned = items(far.run("mirror", "moved@^1", *to(yard), "--dry-run", "-o", "json"))
    assert yard.run("registry", "show", "moved").returncode == 3
    done = items(far.run("mirror", "moved@^1", *to(yard), "--aliases", "-o", "json"))
    assert [(one["version"], one["aliases"], one["error"]) for one in done] == [
        ("1.0.0", ["stable"], ""),
        ("1.1.0", [], ""),
    ]
    assert done[0]["moved"] == planned[0]["moved"] > 3 * 2**18
    assert done[1]["moved"] < 2**16, "they share their tensors"
    for version in ("1.0.0", "1.1.0"):
        there, here = (
            yard.json("registry", "show", f"moved@{version}"),
            far.json("registry", "show", f"moved@{version}"),
        )
        for what in ("manifest", "framework", "metrics", "labels", "lineage", "card", "trust", "files", "size"):
            assert there[what] == here[what], what
    assert yard.json("registry", "show", "moved@stable")["version"] == "1.0.0"
    shown = yard.ok("registry", "show", "moved")
    assert "goes places" in shown
    assert "2.0.0" not in shown
    assert verify_stored(Folder(yard.home / "registry"), done[0]["manifest"]) == ()
    again = far.run("mirror", "moved@^1", "moved@stable", *to(yard), "--aliases", "-o", "json")
    assert [one["moved"] for one in items(again)] == [0, 0, 0]
    assert "moved" in far.ok("mirror", "moved", *to(yard))
    assert yard.json("registry", "show", "moved@2.0.0")["version"] == "2.0.0"


def test_a_killed_mirror_goes_on_where_it_was(far: Yard, tmp_path: Path) -> None:
    far.ok("push", str(model(tmp_path / "v", 4, count=40, size=2**19)), "heavy@1.0.0")
    target = Folder(tmp_path / "target")
    command = ["mirror", "heavy@1.0.0", "--to", target.root.as_uri()]
    killed = far.begin(*command)
    while len(list(target.find("objects/"))) < 3:
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    there = sum(entry.size for entry in target.find("objects/"))
    (done,) = items(far.run(*command, "-o", "json"))
    assert 0 < done["moved"] <= done["size"] + 2**16 - there
    assert verify_stored(target, done["manifest"]) == ()
    assert items(far.run(*command, "-o", "json"))[0]["moved"] == 0
    target.tidy(2**62)
    assert unfinished(target.root) == []


def test_a_damaged_version_is_refused_and_named_and_the_others_go_over(far: Yard, yard: Yard, tmp_path: Path) -> None:
    before = set((far.home / STORE / "objects").glob("*/*"))
    far.ok("push", str(model(tmp_path / "1", 5)), "partly@1.0.0")
    bad = next(path for path in (far.home / STORE / "objects").glob("*/*") if path not in before)
    bad.chmod(0o644)
    with bad.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"lies")
    far.ok("push", str(model(tmp_path / "2", 6)), "partly@1.1.0")
    done = far.run("mirror", "partly", *to(yard), "-o", "json")
    assert done.returncode == 1
    assert [one["error"] == "" for one in items(done)] == [False, True]
    assert bad.name in done.stderr
    assert "1 of 2 version(s) could not be mirrored" in done.stderr
    assert yard.run("registry", "show", "partly@1.0.0").returncode == 3
    assert yard.run("registry", "show", "partly@1.1.0").returncode == 0


def test_versions_become_images_and_aliases_tags(far: Yard, images: Registry, tmp_path: Path) -> None:
    for number in ("1.0.0", "1.1.0"):
        far.ok("push", str(model(tmp_path / number, 8)), f"pictured@{number}")
        (tmp_path / number / "README.md").unlink()
    far.ok("alias", "set", "pictured", "stable", "1.0.0")
    to_images = ["--to", f"oci://{images.address}/some/pictured", "-o", "json"]
    done = items(far.run("mirror", "pictured", *to_images, "--aliases"))
    assert [(one["version"], one["error"]) for one in done] == [("1.0.0", ""), ("1.1.0", "")]
    assert done[0]["moved"] > done[0]["size"]
    again = items(far.run("mirror", "pictured", *to_images, "--aliases"))
    assert [one["moved"] for one in again] == [0, 0]
    source = f"oci://{images.address}/some/pictured:stable"
    far.ok("push", source, "developed@1.0.0")
    first, second = (far.json("registry", "show", name)["manifest"] for name in ("pictured@1.0.0", "developed@1.0.0"))
    assert first == second
    assert far.run("mirror", "pictured", "--to", source).returncode == 2


SERVER = """
class Model:
    inputs = outputs = [{"name": "x", "datatype": "FP64", "shape": [-1]}]

    def load(self, folder):
        assert (folder / "model.safetensors").stat().st_size > 2**19

    def predict(self, inputs):
        return {"x": inputs["x"]}
"""


def test_a_version_is_laid_out_from_another_machines_cache_before_its_own_store(
    yard: Yard, own: Yard, tmp_path: Path
) -> None:
    folder = model(tmp_path / "v", 9)
    (folder / "model.py").write_text(SERVER)
    yard.ok("push", str(folder), "spread@1.0.0", "--allow-code")
    yard.ok("deploy", "spread-here", "spread@1.0.0")
    own.environment |= {"MODELYARD_PEERS": yard.url, "MODELYARD_PEERS_TOKEN": (yard.home / "admin.token").read_text()}
    own.ok("up", "--detach")
    yard.ok("mirror", "spread", *to(own))
    own.ok("deploy", "spread-there", "spread@1.0.0")
    fetched = own.json("cache")["fetched"]
    assert fetched["peers"] >= (folder / "model.safetensors").stat().st_size
    assert fetched["store"] < 2**12


def test_where_it_cannot_go_is_said(far: Yard, yard: Yard, tmp_path: Path) -> None:
    far.ok("push", str(model(tmp_path / "v", 7)), "nowhere@1.0.0")
    without = far.run("mirror", "nowhere", "--to", yard.url)
    assert without.returncode == 2
    assert "--to-token-file" in without.stderr
    assert "MODELYARD_MIRROR_TOKEN" in without.stderr
    unwritable = far.run("mirror", "nowhere", "--to", "file:///proc/x")
    assert (unwritable.returncode, "/proc/x cannot be written to" in unwritable.stderr) == (1, True)
    assert far.run("mirror", "nowhere", "--to", "ftp://host/path").returncode == 2
    assert far.run("mirror", "nowhere@^9", *to(yard)).returncode == 1
    assert far.run("mirror", "nothing-of-this-name", *to(yard)).returncode == 3
    gone = far.run("mirror", "nowhere", "--to", "http://127.0.0.1:1", MODELYARD_MIRROR_TOKEN="any")
    assert (gone.returncode, "127.0.0.1:1" in gone.stderr) == (1, True)
