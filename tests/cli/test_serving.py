"""``modelyard serve``: models from files, in this terminal, without a running Modelyard."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from pathlib import Path

import pytest

from modelyard.cli.serving import _model
from modelyard.runtime.manager.arguments import parse
from tests.cli.yard import Yard


def test_serve_becomes_a_server_that_ctrl_c_ends(own: Yard) -> None:
    process = own.begin("serve", "--mock", "echo", "--critical", "echo", "--port", "0", "--environment", "development")
    assert process.stdout is not None
    found = re.search(r"serves 1 model at (http://127\.0\.0\.1:\d+)$", process.stdout.readline().rstrip())
    assert found is not None
    lines = iter(process.stdout.readline, "")
    assert any(line.startswith("fully ready") for line in lines)
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [7]}]}
    request = urllib.request.Request(f"{found[1]}/v2/models/echo/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.loads(answer.read())["outputs"][0]["data"] == [7]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest.strip() == "stopped", errors or "") == (0, True, "")


def test_what_serve_cannot_do_is_said_as_by_every_command(own: Yard) -> None:
    done = own.run("serve", "/nowhere")
    assert (done.returncode, done.stderr) == (2, "Error: There is no /nowhere.\n")
    done = own.run("serve", "--mock", "m", "--environment", "staging")
    assert done.returncode == 2
    assert "write development or production" in done.stderr
    done = own.run("serve", "--mock", "--port", "8901")
    assert (done.returncode, done.stderr) == (2, "Error: --mock is to be given a value, not --port.\n")


def test_a_models_home_and_its_equals_signs_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "a=b.onnx"
    odd.touch()
    (tmp_path / "net.onnx").touch()
    for text, name, path in (
        ("~/net.onnx", "", "net.onnx"), ("net=~/net.onnx", "net", "net.onnx"), ("net=net.onnx", "net", "net.onnx"),
        ("a=b.onnx", "", odd.name), ("./a=b.onnx", "", odd.name), ("x=a=b.onnx", "x", odd.name),
        ("~/a=b.onnx", "", odd.name), ("x=~/a=b.onnx", "x", odd.name), ("./no=where", "", "no=where"),
    ):  # fmt: skip
        assert parse([_model(text)]).models == ((name, tmp_path / path),), text


def test_serve_says_what_it_takes(own: Yard) -> None:
    said = own.ok("serve", "--help")
    for option in ("--reload", "--mock", "--cors", "--critical", "--max-parallel-loads", "--memory-budget"):
        assert option in said
