"""Versions pushed, served, followed, pulled, verified and cleaned up, with a real Modelyard."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard.client import Modelyard
from tests.cli.yard import Yard, eventually
from tests.registry.content.making import chain
from tests.registry.formats.making import tensor


def times(factor: float, folder: Path) -> Path:
    """A model that multiplies 64 numbers by ``factor``."""
    folder.mkdir()
    onnx.save(chain(tensor("w", (np.eye(64) * factor).astype(np.float32))), folder / "model.onnx")
    (folder / "about.txt").write_text(f"times {factor}\n")
    return folder


def factor_of(yard: Yard, model: str) -> float:
    with Modelyard(home=yard.home) as client:
        return float(client.predict(model, {"x": np.ones((1, 64), dtype=np.float32)})["y"][0][0])


def pushed(yard: Yard, tmp_path: Path, name: str, **factors: float) -> None:
    for number, factor in factors.items():
        version = number.removeprefix("v").replace("_", ".")
        yard.ok("push", str(times(factor, tmp_path / f"{name}-{version}")), f"{name}@{version}")


def test_a_pushed_version_is_served_with_the_engine_that_its_files_tell(yard: Yard, tmp_path: Path) -> None:
    said = yard.ok("push", str(times(2, tmp_path / "a")), "doubler@1.0.0", "--alias", "stable", "--metric", "f1=0.9")
    assert re.search(r"^doubler is registered\ndoubler@1\.0\.0 is published: .* in 2 file\(s\), all of it new$", said)
    yard.ok("deploy", "served-doubler", "doubler@stable")
    assert factor_of(yard, "served-doubler") == 2
    assert yard.json("show", "served-doubler")["spec"]["engine"] == "onnx"
    assert re.search(r"Version +1\.0\.0\n", yard.ok("status", "served-doubler"))
    shown = yard.json("registry", "show", "doubler@stable")
    assert (shown["version"], shown["metrics"], shown["files"]) == ("1.0.0", {"f1": 0.9}, 2)


def test_an_alias_that_moves_is_offered_and_changes_nothing_until_it_is_taken(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "offered", v1_0_0=1, v1_1_0=3)
    yard.ok("alias", "set", "offered", "stable", "1.0.0")
    yard.ok("deploy", "waits", "offered@stable")
    yard.ok("alias", "set", "offered", "stable", "1.1.0")
    assert re.search(r"Version +1\.0\.0; its source means 1\.1\.0 by now\n", yard.ok("status", "waits"))
    yard.ok("update", "waits", "--set", "description=other words")
    yard.ok("restart", "waits")
    assert factor_of(yard, "waits") == 1, "nobody has asked for the new version"
    refused = yard.run("update", "waits", "--set", "engine=sklearn")
    assert "and offered@1.0.0 has none" in refused.stderr, "another engine is to load the version that it is made of"
    yard.ok("update", "waits", "--set", "source=offered@stable")
    assert factor_of(yard, "waits") == 3
    assert "its source means" not in yard.ok("status", "waits")
    yard.ok("alias", "set", "offered", "stable", "1.1.0", "--reason", "still")
    yard.ok("rollback", "waits")
    assert factor_of(yard, "waits") == 1, "a revision keeps its bytes, wherever the alias is"


def test_a_model_that_follows_is_rolled_to_the_new_version_by_itself(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "led", v1_0_0=1)
    yard.ok("deploy", "follows", "led@^1", "--follow", "auto")
    pushed(yard, tmp_path, "led", v2_0_0=9, v1_2_0=5)
    eventually(lambda: yard.json("status", "follows")["artifact"]["version"] == "1.2.0", "it follows")
    eventually(lambda: yard.state("follows") == "running", "the update is done")
    assert factor_of(yard, "follows") == 5, "2.0.0 is not in the range"
    last = yard.json("revisions", "follows")[0]
    assert (last["actor"], last["artifact"]) == ("registry", "1.2.0")
    assert last["reason"] == "led@^1 means 1.2.0 now, no longer 1.0.0"


def test_a_served_version_cannot_be_deleted_though_its_alias_is_elsewhere_by_now(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "kept", v1_0_0=1, v1_1_0=2)
    yard.ok("alias", "set", "kept", "stable", "1.0.0")
    yard.ok("deploy", "keeps", "kept@stable", "--stopped")
    yard.ok("alias", "set", "kept", "stable", "1.1.0")
    refused = yard.run("registry", "delete", "kept@1.0.0", "--yes")
    assert refused.returncode == 4
    assert "keeps" in refused.stderr
    yard.ok("delete", "keeps", "--yes")
    yard.ok("registry", "delete", "kept@1.0.0", "--yes")


def test_what_there_is_no_version_of_is_refused_where_it_is_written(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "single", v1_0_0=1)
    refused = yard.run("deploy", "nothing", "single@^2")
    assert refused.returncode == 7
    assert "spec.source  There is no single@^2: the latest version is 1.0.0." in refused.stderr
    other = yard.run("deploy", "nothing", "single", "--engine", "sklearn")
    assert "The sklearn engine loads one .skops file, and single@latest has none" in other.stderr


def test_a_number_is_published_once(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "once", v1_0_0=1)
    again = yard.ok("push", str(tmp_path / "once-1.0.0"), "once@1.0.0")
    assert "0 B of it new" in again
    refused = yard.run("push", str(times(2, tmp_path / "other")), "once@1.0.0")
    assert refused.returncode == 4
    assert yard.json("push", str(tmp_path / "other"), "once", "--bump", "minor")["version"] == "1.1.0"
    assert yard.run("push", str(tmp_path / "other"), "once").returncode == 2, "it does not guess the number"


def test_files_that_run_code_make_no_version(yard: Yard, tmp_path: Path) -> None:
    folder = times(1, tmp_path / "bad")
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (folder / "link").symlink_to("model.onnx")
    refused = yard.run("push", str(folder), "bad@1.0.0")
    assert refused.returncode == 7
    assert "weights.safetensors: " in refused.stderr
    assert "link: " in refused.stderr
    assert yard.run("registry", "show", "bad").returncode == 3, "nothing was registered for it"


def test_a_pull_is_what_was_pushed_and_goes_on_where_it_was(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "pulled", v1_0_0=1, v1_1_0=2)
    to = tmp_path / "here"
    assert "pulled@1.0.0 is in" in yard.ok("pull", "pulled@1.0.0", "--to", str(to))
    source = tmp_path / "pulled-1.0.0"
    assert {p.name: p.read_bytes() for p in to.iterdir()} == {p.name: p.read_bytes() for p in source.iterdir()}
    (to / "about.txt").unlink()
    (to / "mine.txt").write_text("mine")
    assert yard.json("pull", "pulled@1.0.0", "--to", str(to))["written"] == len((source / "about.txt").read_bytes())
    refused = yard.run("download", "pulled", "--version", "1.1.0", "--to", str(to))
    assert refused.returncode == 7
    assert "model.onnx: There is a file of this name with other content." in refused.stderr
    yard.ok("download", "pulled", "--version", "1.1.0", "--to", str(to), "--force")
    assert (to / "model.onnx").read_bytes() == (tmp_path / "pulled-1.1.0" / "model.onnx").read_bytes()
    assert (to / "mine.txt").read_text() == "mine"


def test_damage_in_the_store_is_found_and_mended_by_a_push(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "damaged", v1_0_0=11.5)
    assert "damaged@1.0.0 is whole" in yard.ok("verify", "damaged@1.0.0")
    weights = (np.eye(64) * 11.5).astype(np.float32).tobytes()
    for path in (yard.home / "registry").rglob("*"):
        if path.is_file() and weights[:4096] in (content := path.read_bytes()):
            path.chmod(0o644)
            path.write_bytes(content.replace(weights[:4], b"\0\0\0\0", 1))
    found = yard.run("verify", "damaged@1.0.0", "--discard-damaged")
    assert found.returncode == 1
    assert re.search(r"damaged@1\.0\.0 is damaged in 1 place\(s\)\.\n.*model\.onnx", found.stderr)
    yard.ok("push", str(tmp_path / "damaged-1.0.0"), "damaged@1.0.0")
    assert "is whole" in yard.ok("verify", "damaged@1.0.0")


def test_garbage_is_what_no_version_needs_and_nobody_has_touched(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "junk", v1_0_0=1)
    stray = yard.home / "registry" / "objects" / "ab" / ("ab" * 32)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x" * 1000)
    before = yard.json("gc", "--dry-run", "--grace", "10m")
    assert (before["removed"], before["young"] >= 1) == (0, True)
    os.utime(stray, (0, 0))
    assert yard.json("gc", "--dry-run", "--grace", "10m")["removed"] == 1
    assert stray.exists()
    assert yard.ok("gc", "--grace", "10m").startswith("1 object(s) removed, 0.977 KiB freed; ")
    assert not stray.exists()
    assert "is whole" in yard.ok("verify", "junk@1.0.0")
    assert yard.run("gc", "--grace", "1s").returncode == 7


def test_the_cache_is_made_smaller_but_for_what_is_served(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "cached", v1_0_0=21, v1_1_0=22)
    for name, number in (("cached-stays", "1.0.0"), ("cached-goes", "1.1.0")):
        yard.ok("deploy", name, f"cached@{number}")
    yard.ok("stop", "cached-goes", "--force")
    laid = {
        n: yard.home / "cache" / "laid" / (yard.json("registry", "show", f"cached@{n}")["manifest"][7:] + ".tensors")
        for n in ("1.0.0", "1.1.0")
    }
    for path in laid.values():
        os.utime(path, (0, 0))
    assert yard.json("cleanup", "--max-size-gb", "0", "--dry-run")["removed"] == 1
    yard.ok("cleanup", "--max-size-gb", "0")
    assert (laid["1.0.0"].exists(), laid["1.1.0"].exists()) == (True, False)
    yard.ok("start", "cached-goes")
    assert factor_of(yard, "cached-goes") == 22, "it is laid out anew"


@pytest.mark.parametrize("what", ["zip", "gztar"])
def test_an_archive_is_unpacked(yard: Yard, tmp_path: Path, what: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), what, times(4, tmp_path / "in"))
    name = f"packed-{what}"
    yard.ok("push", archive, f"{name}@1.0.0")
    assert yard.json("registry", "show", f"{name}@1.0.0")["files"] == 2
