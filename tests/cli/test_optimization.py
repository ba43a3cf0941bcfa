"""Models quantized, converted and tuned from the command line: what is published of it, and what is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest

from modelyard.client import Modelyard, Refused
from tests.cli.yard import Yard, eventually
from tests.optimization import making

QUICK = ("--duration", "50ms")


@pytest.fixture
def client(yard: Yard) -> Iterator[Modelyard]:
    with Modelyard(home=yard.home) as client:
        yield client


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith((".modelyard-", "modelyard-"))]


def test_a_quantized_version_stands_beside_its_parent_with_what_both_are_worth(
    yard: Yard, tmp_path: Path, client: Modelyard
) -> None:
    source = making.digits_network(tmp_path / "model.onnx")
    (tmp_path / "notes.txt").write_text("digits")
    yard.ok("push", str(tmp_path), "net@1.4.2", "--label", "team=vision")
    labelled = str(making.rows_in(tmp_path / "labelled.npz"))
    made = yard.json("quantize", "net@1.4.2", "--evaluation", labelled, "--max-accuracy-drop", "0.5", *QUICK)
    version = made["version"]
    assert (made["parent"], version["version"], version["files"]) == ("net@1.4.2", "1.4.3-int8", 2)
    assert version["lineage"]["parent"] == "1.4.2"
    assert version["labels"] == {"team": "vision", "quantization": "dynamic-int8", "compared_on": "evaluation"}
    assert version["signature"] == client.registry.version("net", "1.4.2").signature
    metrics = version["metrics"]
    assert metrics["accuracy_drop"] == pytest.approx(metrics["original/accuracy"] - metrics["accuracy"])
    assert metrics["size"] < metrics["original/size"] == source.stat().st_size
    assert all(metrics[f"{of}latency_p50_ms"] > 0 for of in ("", "original/"))
    assert client.registry.get("net").latest == "1.4.2", "nobody gets it who does not name it"
    again = yard.json("quantize", "net@1.4.2", *QUICK)
    assert (again["version"], again["published"]) == (version, False), "of the same bytes: what is said of it stays"
    client.registry.set_alias("net", "stable", "1.4.3-int8")
    yard.ok("deploy", "served-small", "net@stable")
    x, y = making.digits()
    assert np.mean(client.predict("served-small", {"input": x[1000:1100]})["label"] == y[1000:1100]) > 0.8


def test_a_version_that_loses_too_much_is_marked_and_aliases_refuse_it(
    yard: Yard, tmp_path: Path, client: Modelyard
) -> None:
    making.saved(making.dense(scale=1e7), tmp_path / "model.onnx")
    yard.ok("push", str(tmp_path / "model.onnx"), "lossy@1.0.0")
    refused = yard.run("quantize", "lossy", "--method", "fp16", *QUICK)
    assert refused.returncode == 4
    said = r"lossy@1\.0\.1-fp16 is published, but marked\. Its cosine drops by 0\.\d+, past the limit of 0\.01\."
    assert re.search(said, refused.stderr)
    assert client.registry.version("lossy", "1.0.1-fp16").metrics["accuracy_drop"] > 0.01
    with pytest.raises(Refused, match="force it and say why"):
        client.registry.set_alias("lossy", "stable", "1.0.1-fp16")
    assert yard.run("alias", "set", "lossy", "stable", "1.0.1-fp16", "--force").returncode == 7, "without a reason"
    yard.ok("alias", "set", "lossy", "stable", "1.0.1-fp16", "--force", "--reason", "for a demo")
    assert next(iter(client.registry.alias_history("lossy", "stable"))).reason == "for a demo"


def test_what_was_measured_of_a_version_stays_whatever_limit_it_is_quantized_with_again(
    yard: Yard, tmp_path: Path, client: Modelyard
) -> None:
    making.saved(making.dense(scale=1e7), tmp_path / "model.onnx")
    for name, (first, second) in {"strict": ("0.01", "1"), "loose": ("1", "0.01")}.items():
        yard.ok("push", str(tmp_path / "model.onnx"), f"{name}@1.0.0")
        fp16 = ("quantize", name, "--method", "fp16", *QUICK, "--max-accuracy-drop")
        done = yard.run(*fp16, first)
        assert (done.returncode, "real rows first" in done.stderr) == ((4, True) if name == "strict" else (0, False))
        before = client.registry.version(name, "1.0.1-fp16")
        again = yard.run(*fp16, second)
        said = (
            rf"{name}@1\.0\.1-fp16 is there already, .* and a limit of {first} on random rows\. Nothing was changed\."
        )
        assert re.search(said, again.stderr)
        assert again.returncode == 4, "it is marked, or what was measured now is past the limit"
        assert client.registry.version(name, "1.0.1-fp16").raw == before.raw
        assert len(list(client.registry.versions(name))) == 2
    with pytest.raises(Refused, match="worse than its original"):
        client.registry.set_alias("strict", "stable", "1.0.1-fp16")
    assert yard.json(*fp16, "1", "--version", "1.0.2-own")["version"]["metrics"]["accuracy_drop_limit"] == 1


def test_an_error_that_grows_is_said_to_rise(yard: Yard, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    weight, x = (random.standard_normal(shape).astype(np.float32) for shape in ((64, 1), (32, 64)))
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    source = making.saved(making.model_of(nodes, ["n", 64], ["n", 1], {"w": weight}), tmp_path / "net.onnx")
    np.savez(tmp_path / "rows.npz", x=x, labels=(x @ weight).ravel() + 1e-3)
    done = yard.run("quantize", str(source), "--evaluation", str(tmp_path / "rows.npz"), *QUICK)
    assert re.search(r"Its rmse rises by [\d.e+]+ of the original's, past the limit of 0\.01\.", done.stderr)
    assert (done.returncode, "real rows" in done.stderr) == (4, False)
    assert "Note: it is larger than the original" in done.stdout, "so few weights are outweighed by what they need"
    assert re.search(r"^rmse .* \+[\d.]+%$", done.stdout, re.MULTILINE), "as latency and size have it"


def test_a_model_of_the_wrong_kind_or_name_is_told_what_to_do(yard: Yard, tmp_path: Path) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    (tmp_path / "model.skops").write_bytes(b"PK")
    yard.ok("push", str(source), "as-onnx@1.0.0")
    yard.ok("deploy", "only-served", str(source), "--no-wait")
    cases = [
        (("quantize", str(tmp_path / "model.skops")), 7, "model.skops is a skops file, not ONNX", "modelyard convert"),
        (("convert", str(source)), 7, "net.onnx is ONNX already", "modelyard quantize"),
        (("convert", "as-onnx"), 7, "net.onnx is ONNX already", "modelyard quantize"),
        (("quantize", "only-served"), 3, "only-served is deployed, not registered", f"Give its file: {source}"),
        (("tune", "nobody"), 3, "Neither a registered nor a served model is called 'nobody'", "modelyard list -A"),
    ]
    for command, code, message, hint in cases:
        done = yard.run(*command)
        assert (done.returncode, message in done.stderr, hint in done.stderr) == (code, True, True), done.stderr


def test_what_the_guide_makes_to_try_is_quantized_by_its_first_command(yard: Yard, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "optimization.md").read_text()
    program = guide.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    first = next(line for line in guide.splitlines() if line.startswith("modelyard quantize"))
    yard.ok("push", str(tmp_path / "digits.onnx"), "pat@1.4.2")
    words = first.partition("#")[0].replace("labelled.npz", str(tmp_path / "labelled.npz")).split()
    made = yard.json(*words[1:], *QUICK)
    assert (made["version"]["version"], made["score"]["metric"]) == ("1.4.3-int8", "accuracy")


def test_weights_beside_a_model_are_replaced_by_the_new_ones_alone(yard: Yard, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    making.saved(making.dense(256), folder / "model.onnx", apart=True)
    yard.ok("push", str(folder), "apart@1.0.0")
    version = yard.json("quantize", "apart@1.0.0", *QUICK)["version"]
    assert version["files"] == 2
    yard.ok("pull", f"apart@{version['version']}", "--to", str(tmp_path / "new"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (tmp_path / "new" / "model.onnx.data").stat().st_size < 0.4 * (folder / "model.onnx.data").stat().st_size


def test_a_file_is_quantized_beside_itself_or_not_at_all(yard: Yard, tmp_path: Path) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    np.savez(tmp_path / "rows.npz", x=np.ones((4, 65), np.float32), z=np.ones(4))
    static = ("--method", "static-int8", "--calibration", str(tmp_path / "rows.npz"))
    wrong = yard.run("quantize", str(source), *static, *QUICK)
    assert wrong.returncode == 7
    assert "calibration.x: Its shape is [4, 65], and the model takes [-1, 64]" in wrong.stderr
    assert "calibration.z: The model has no input 'z'" in wrong.stderr
    assert f"{tmp_path / 'net.int8.onnx'} is written" in yard.ok("quantize", str(source), *QUICK)
    assert yard.run("quantize", str(source)).returncode == 4, "it is there already"
    for option, command in (("--max-accuracy-drop", "quantize"), ("--tolerance", "convert")):
        assert yard.run(command, str(source), option, "nan").returncode == 2
    lossy = making.saved(making.dense(scale=1e7), tmp_path / "lossy.onnx")
    refused = yard.run("quantize", str(lossy), "--method", "fp16", *QUICK)
    assert (refused.returncode, "Nothing is written" in refused.stderr) == (4, True)
    assert not (tmp_path / "lossy.fp16.onnx").exists()
    assert leftovers(tmp_path) == []


def test_weights_beside_a_file_are_replaced_only_by_force(yard: Yard, tmp_path: Path) -> None:
    source = making.saved(making.dense(256), tmp_path / "net.onnx", apart=True)
    made, apart = tmp_path / "new.onnx", tmp_path / "new.onnx.data"
    apart.write_bytes(b"another model's")
    options = ("--to", str(made), *QUICK)
    refused = yard.run("quantize", str(source), *options)
    assert (refused.returncode, f"{apart} is there already" in refused.stderr) == (4, True)
    assert (apart.read_bytes(), made.exists()) == (b"another model's", False)
    yard.ok("quantize", str(source), *options, "--force")
    assert apart.read_bytes() != b"another model's"


def test_an_interrupt_publishes_nothing_and_leaves_nothing(
    yard: Yard, tmp_path: Path, client: Modelyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    making.saved(making.dense(), tmp_path / "model.onnx")
    yard.ok("push", str(tmp_path / "model.onnx"), "cut@1.0.0")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    going = yard.begin("quantize", "cut@1.0.0", "--duration", "60s")
    assert going.stdout is not None
    while "Measuring" not in (line := going.stdout.readline()):
        assert line, "it ended before"
    going.send_signal(signal.SIGINT)
    going.communicate(timeout=20)
    assert going.returncode == 130
    assert [version.version for version in client.registry.versions("cut")] == ["1.0.0"]
    eventually(lambda: not leftovers(tmp_path / "tmp"), "its folder is gone")


def test_a_converted_estimator_becomes_a_version_that_tells_what_it_comes_from(yard: Yard, tmp_path: Path) -> None:
    joblib.dump(making.trained("logistic"), tmp_path / "model.joblib")
    yard.ok("push", str(tmp_path / "model.joblib"), "classic@1.0.0", "--allow-pickle")
    refused = yard.run("convert", "classic@1.0.0", "--register", "classic@1.1.0")
    assert (refused.returncode, "With --trusted it is loaded here" in refused.stderr) == (7, True)
    to = tmp_path / "as.onnx"
    published = ("--register", "classic@1.1.0", "--to", str(to))
    made = yard.json("convert", "classic@1.0.0", "--trusted", *published, *QUICK)
    version = made["version"]
    assert (version["lineage"]["parent"], version["framework"]["name"]) == ("1.0.0", "onnx")
    assert (version["metrics"]["agreement"], made["file"]) == (1.0, str(to))
    assert version["metrics"]["latency_p50_ms"] < version["metrics"]["original/latency_p50_ms"]
    assert [end.name for end in onnx.load(to).graph.output] == ["label", "probabilities"]
    again = yard.json("convert", "classic@1.0.0", "--trusted", "--register", "classic@1.1.0", *QUICK)
    assert again["version"] == version, "of the same bytes: what was measured of it stays"
    assert leftovers(tmp_path) == []


def test_what_is_better_is_set(yard: Yard, tmp_path: Path, client: Modelyard) -> None:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    # One row at a time is so much slower than 64 that no noise hides it.
    yard.ok("deploy", "tuned", str(source), "--option", "batching=false")
    options = ("--threads", "1", "--max-rows", "1,64", "--duration", "500ms")
    assert "modelyard update tuned --set resources.cpu=1" in yard.ok("tune", "tuned", *options)
    found = yard.json("tune", "tuned", *options, "--apply")
    assert found["is_better"]
    assert found["gain"] > 0.5
    spec = client.models.get("tuned").raw["spec"]
    assert (spec["options"]["batching"]["max_rows"], spec["resources"]["cpu"]) == (64, 1)
    assert yard.run("tune", str(source), "--apply").returncode == 2, "a file is no served model"
