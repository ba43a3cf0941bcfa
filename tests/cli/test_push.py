"""Versions pushed, served, followed, pulled, verified and cleaned up, with a real Modelyard."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard.cli.context import Cli
from modelyard.cli.pushing import _published
from modelyard.client import InvalidRequest, Modelyard, Refused
from modelyard.registry.content.storage import Folder
from modelyard.registry.formats.kinds import Kind
from tests.cli.yard import Yard, eventually
from tests.registry.content.making import chain
from tests.registry.formats.making import tensor
from tests.registry.stored import stored_as


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
    assert "  SOURCE  There is no single@^2: the latest version is 1.0.0." in refused.stderr
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({}))
    risky = yard.run("deploy", "nothing", str(tmp_path / "m.pkl"), "--engine", "sklearn")
    assert (risky.returncode, "With --trusted you vouch" in risky.stderr) == (7, True)
    other = yard.run("deploy", "nothing", "single", "--engine", "sklearn")
    assert "The sklearn engine loads one .skops file, and single@latest has none" in other.stderr


def test_a_number_is_published_once(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "once", v1_0_0=1)
    again = yard.ok("push", str(tmp_path / "once-1.0.0"), "once@1.0.0")
    assert again == "once@1.0.0 was published already, and nothing changed\n"
    again = yard.ok("push", str(tmp_path / "once-1.0.0"), "once@1.0.0", "--alias", "stable")
    assert again == "once@1.0.0 was published already; stable points at it\n"
    refused = yard.run("push", str(tmp_path / "once-1.0.0"), "once@1.0.0", "--framework", "other")
    assert (refused.returncode, "`modelyard registry edit NAME@VERSION`" in refused.stderr) == (4, True)
    refused = yard.run("push", str(times(2, tmp_path / "other")), "once@1.0.0")
    assert refused.returncode == 4
    assert yard.json("push", str(tmp_path / "other"), "once", "--bump", "minor")["version"] == "1.1.0"
    assert yard.run("push", str(tmp_path / "other"), "once").returncode == 2, "it does not guess the number"


def test_a_number_that_somebody_else_took_meanwhile_is_counted_on_from(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "raced", v1_0_0=51, v1_1_0=52, v9_0_0=53)
    manifest = yard.json("registry", "show", "raced@9.0.0")["manifest"]
    yard.ok("registry", "delete", "raced@9.0.0", "--yes")
    cli = Cli(url=yard.url, home=yard.home)
    assert _published(cli, "raced", "1.1.0", "minor", manifest=manifest).version == "1.2.0"
    with pytest.raises(Refused, match="with other bytes"):
        _published(cli, "raced", "1.1.0", None, manifest=manifest)
    cli.client.close()


def test_two_that_push_at_once_get_a_number_each(yard: Yard, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    both = [yard.begin("push", str(tmp_path / f"{name}.txt"), "together", "--bump", "minor") for name in "ab"]
    said = [pushing.communicate(timeout=60)[0] for pushing in both]
    assert [pushing.returncode for pushing in both] == [0, 0], said
    assert {one["version"] for one in yard.json("registry", "versions", "together")} == {"0.1.0", "0.2.0"}


def test_files_that_run_code_make_no_version(yard: Yard, tmp_path: Path) -> None:
    folder = times(1, tmp_path / "bad")
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (folder / "link").symlink_to("model.onnx")
    refused = yard.run("push", str(folder), "bad@1.0.0")
    assert refused.returncode == 7
    assert "weights.safetensors: " in refused.stderr
    assert "--allow-pickle lets files be in it that run code" in refused.stderr
    assert "--allow-code" not in refused.stderr
    assert "link: " in refused.stderr
    assert yard.run("registry", "show", "bad").returncode == 3, "nothing was registered for it"


def test_what_is_hidden_in_a_folder_is_pushed_only_when_it_is_named(yard: Yard, tmp_path: Path) -> None:
    folder = times(1, tmp_path / "dots")
    for name in (".env", ".git/config", ".cfg/keep.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    said = yard.ok("push", str(folder), "dots@1.0.0")
    assert "Left out: .cfg/keep.json, .env, .git/config\n" in said
    assert yard.json("registry", "show", "dots@1.0.0")["files"] == 2
    said = yard.ok("push", str(folder), "dots@1.1.0", "--include", ".cfg/", "--include", "*.onnx")
    assert "Left out: .env, .git/config, about.txt\n" in said
    said = yard.ok("push", str(folder), "dots@1.2.0", "--include", ".cfg/")
    assert "Left out: .env, .git/config\n" in said
    archive = shutil.make_archive(str(tmp_path / "dots-packed"), "zip", folder / ".cfg" / "..", ".cfg")
    assert "Left out" not in yard.ok("push", archive, "dots@2.0.0")


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
    found = yard.run("verify", "damaged@1.0.0")
    assert found.returncode == 1
    assert re.search(r"damaged@1\.0\.0 is damaged in 1 place\(s\)\.\n.*model\.onnx", found.stderr)
    assert "Push the same files as damaged@1.0.0 again" in found.stderr
    mended = yard.ok("push", str(tmp_path / "damaged-1.0.0"), "damaged@1.0.0")
    assert re.fullmatch(r"damaged@1\.0\.0 was published already; .* of it was written anew\n", mended)
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
    # What other tests have served here may be old enough to go as well.
    assert yard.json("cleanup", "--max-size-gb", "0", "--dry-run")["removed"] >= 1
    assert all(path.exists() for path in laid.values())
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


# ------------------------------------------------------------------------------------------- what is refused early


NOWHERE = "/nowhere/at/all"


def early(yard: Yard, *arguments: str) -> str:
    """What a push says that is refused before it has looked for its files."""
    refused = yard.run("push", NOWHERE, *arguments)
    assert refused.returncode in (2, 3, 4, 7)
    assert NOWHERE not in refused.stderr
    return " ".join(re.sub("[│╭╮╰╯─]", " ", refused.stderr).split())


def test_all_that_is_wrong_with_the_names_is_said_before_a_file_is_read(yard: Yard) -> None:
    said = early(yard, "Not A Name@1.0", "--alias", "latest", "--alias", "^1", "--alias", "stable")
    assert "'Not A Name' is not a valid name" in said
    assert "'1.0': it is no semantic version" in said
    assert "'latest' is kept by the registry" in said
    assert "'^1' is not an alias" in said
    assert "'stable'" not in said
    assert "huge is none of major, minor, patch." in early(yard, "pat", "--bump", "huge")
    assert "1.0.0, or --bump" in early(yard, "pat")


@pytest.mark.parametrize(
    ("text", "lacks"), [("pat@", "the version after"), ("@1.0.0", "the name before"), ("@", "name")]
)
def test_an_empty_variable_in_a_script_is_no_name_and_no_number(yard: Yard, text: str, lacks: str) -> None:
    assert lacks in early(yard, text)
    assert yard.run("push", NOWHERE, text).returncode == 2


def test_what_the_server_would_refuse_to_be_said_is_refused_before_a_file_is_read(yard: Yard) -> None:
    said = early(
        yard, "pat@1.0.0", "--framework", "Torch!", "--licence", "MIT\nor not", "--description", "x" * 4097,
        "--parent", "nine",
    )  # fmt: skip
    assert "framework: 'Torch!' is not a framework's name" in said
    assert "licence: This has at most 256 printable characters" in said
    assert "description: A description has at most 4096" in said
    assert "parent: 'nine' is not a version" in said


def test_a_namespace_that_is_not_there_is_said_before_a_file_is_read(yard: Yard) -> None:
    said = early(yard, "pat@1.0.0", "-n", "nobodys", "--framework", "onnx")
    assert "There is no namespace nobodys. Make it first: `modelyard namespace create nobodys`." in said


def test_a_number_that_stands_for_other_files_is_refused_before_they_are_stored(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "taken", v1_0_0=41)
    other = times(42, tmp_path / "more")
    (other / "more.txt").write_bytes(b"more " * 999)
    objects = sorted(path for path in (yard.home / "registry").rglob("*") if path.is_file())
    refused = yard.run("push", str(other), "taken@1.0.0")
    assert refused.returncode == 4
    assert "taken@1.0.0 is published already, with other files: " in refused.stderr
    assert "(--bump patch)" in refused.stderr
    assert sorted(path for path in (yard.home / "registry").rglob("*") if path.is_file()) == objects


def test_a_number_is_given_or_made_not_both(yard: Yard) -> None:
    assert "The number is 1.0.0 already." in early(yard, "pat@1.0.0", "--bump", "minor")


@pytest.mark.parametrize("text", ["f1=high", "f1=", "f1=nan", "f1=-inf", "f1=1e999"])
def test_a_metric_that_is_no_number_is_refused_before_a_file_is_read(yard: Yard, text: str) -> None:
    said = early(yard, "pat@1.0.0", "--metric", "auc=0.5", "--metric", text)
    assert re.search(r"f1 is '.*': (a metric is a number|A metric is a finite number)\.", said)


def test_a_card_that_is_not_utf_8_is_refused_before_a_file_is_read(yard: Yard, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_bytes("# Für alle".encode("latin-1"))
    assert "card.md is not text in UTF-8: byte 3 cannot be read. A model card is Markdown" in early(
        yard, "pat@1.0.0", "--card", str(card)
    )
    card.write_text("# Für alle", encoding="utf-8")
    yard.ok("push", str(times(2, tmp_path / "a")), "carded@1.0.0", "--card", str(card))
    assert yard.json("registry", "show", "carded@1.0.0")["card"] == "# Für alle"


def test_what_is_deleted_is_pushed_to_only_after_it_is_restored(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "gone", v1_0_0=1, v1_1_0=2)
    yard.ok("registry", "delete", "gone@1.1.0", "-y")
    assert "gone@1.1.0 is deleted" in early(yard, "gone@1.1.0")
    assert "`modelyard registry restore gone@1.1.0` brings it back" in early(yard, "gone", "--bump", "minor")
    yard.ok("registry", "delete", "gone", "-y")
    assert "`modelyard registry restore gone` brings it back" in early(yard, "gone@3.0.0")
    yard.ok("registry", "restore", "gone")
    yard.ok("registry", "restore", "gone@1.1.0")
    yard.ok("push", str(tmp_path / "gone-1.1.0"), "gone@1.1.0")


def test_the_number_after_a_pre_release_is_the_release_that_it_leads_up_to(yard: Yard, tmp_path: Path) -> None:
    yard.ok("push", str(times(1, tmp_path / "a")), "leading@2.0.0-rc.1")
    assert yard.json("push", str(times(2, tmp_path / "b")), "leading", "--bump", "patch")["version"] == "2.0.0"
    assert yard.json("push", str(times(3, tmp_path / "c")), "leading", "--bump", "patch")["version"] == "2.0.1"


class Elsewhere(BaseHTTPRequestHandler):
    """A Modelyard of another machine, on which nothing is registered yet."""

    folder: Path

    def do_GET(self) -> None:
        store = {"url": self.folder.as_uri(), "id": "0" * 32, "cache": "/nowhere"}
        found = self.path.endswith("/registry/store")
        body = json.dumps(store if found else {"code": "not_found", "detail": "There is nothing."}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "another store"])
def test_a_folder_that_is_not_the_servers_store_is_not_taken_for_it(yard: Yard, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "registry"
    if there != "nothing":
        folder.mkdir()
    if there == "another store":
        Folder(folder).identity()
    source = times(1, tmp_path / "source")
    before = sorted(tmp_path.rglob("*"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Elsewhere,), {"folder": folder}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        refused = yard.run("push", str(source), "far@1.0.0", "--url", url, MODELYARD_TOKEN="any")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert refused.returncode != 0, "the server that it was to go through has no place for it"
    assert sorted(tmp_path.rglob("*")) == before, "nothing was made"


# ------------------------------------------------------------------------------------------- trust


def test_a_version_keeps_what_it_was_trusted_with(yard: Yard, tmp_path: Path) -> None:
    folder = times(1, tmp_path / "coded")
    (folder / "tool.py").write_text("print()\n")
    refused = yard.run("push", str(folder), "coded@1.0.0")
    assert (refused.returncode, "--allow-code lets source code be in it." in refused.stderr) == (7, True)
    yard.ok("push", str(folder), "coded@1.0.0", "--allow-code", "--allow-pickle")
    assert yard.json("registry", "show", "coded@1.0.0")["trust"] == ["code"]
    assert re.search(r"\nTrusted +code\n", yard.ok("registry", "show", "coded@1.0.0"))
    (folder / "weights.pkl").write_bytes(pickle.dumps({"a": 1}))
    yard.ok("push", str(folder), "coded@1.1.0", "--allow-code", "--allow-pickle")
    assert re.search(r"\nTrusted +code, pickle\n", yard.ok("registry", "show", "coded@1.1.0"))


def test_who_publishes_without_the_command_line_says_what_is_trusted_too(yard: Yard) -> None:
    manifest = stored_as(yard.home, {"model.py": Kind.PYTHON})
    with Modelyard(home=yard.home) as client:
        client.registry.register("scripted")
        with pytest.raises(InvalidRequest, match=r"'model\.py'"):
            client.registry.publish("scripted", "1.0.0", manifest=manifest)
        made = client.registry.publish("scripted", "1.0.0", manifest=manifest, trust=["code"])
        assert made.trust == ["code"]
        assert client.registry.store().id == Folder(yard.home / "registry").identity()


# ------------------------------------------------------------------------------------------- bytes


def test_damage_in_what_is_served_is_found_and_made_anew(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "spoilt", v1_0_0=13)
    yard.ok("deploy", "serves-spoilt", "spoilt@1.0.0")
    manifest = yard.json("registry", "show", "spoilt@1.0.0")["manifest"]
    file = yard.home / "cache" / "laid" / f"{manifest[7:]}.tensors" / "model.onnx"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = yard.run("verify", "spoilt@1.0.0")
    assert found.returncode == 1
    assert re.search(r"spoilt@1\.0\.0 is damaged in 1 place\(s\)\.\n.*laid/.*model\.onnx: ", found.stderr)
    assert "made anew when it is next needed" in found.stderr
    assert "Push the same files" not in found.stderr, "the store is whole"
    assert "is whole" in yard.ok("verify", "spoilt@1.0.0")
    yard.ok("restart", "serves-spoilt")
    assert factor_of(yard, "serves-spoilt") == 13
    assert yard.json("verify", "spoilt@1.0.0") == {
        "version": "1.0.0", "manifest": manifest, "damaged": [], "laid_out": [], "signed": False,
        "required": False, "signatures": [],
    }  # fmt: skip


def test_a_version_shares_with_its_neighbours_and_its_parent(yard: Yard, tmp_path: Path) -> None:
    def text(name: str, seed: int, end: str = "") -> str:
        path = tmp_path / f"{name}.txt"
        path.write_text(np.random.default_rng(seed).bytes(2**20).hex() + end)
        return str(path)

    def written(source: str, *arguments: str) -> int:
        return int(yard.json("push", source, *arguments)["written"])

    for seed, number in enumerate(("1.0.0", "2.0.0", "3.0.0", "4.0.0")):
        assert written(text(number, seed), f"shares@{number}") >= 2**21
    assert written(text("a", 0, "the end"), "shares@1.0.1") < 2**20, "it is like 1.0.0"
    assert written(text("b", 3, "the end"), "shares@1.0.2") < 2**20, "it is like the highest"
    assert written(text("c", 1, "the end"), "shares@5.0.0") >= 2**21, "it is like none that is near"
    assert written(text("d", 1, "another"), "shares@5.0.1", "--parent", "shares@2.0.0") < 2**20
    assert written(text("e", 1, "a third"), "shares@6.0.0", "--parent", "nothing@2.0.0") < 2**20, "it is like 5.0.0"
