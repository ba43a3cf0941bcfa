"""The standalone server over real HTTP, and the application inside somebody else's."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.runtime.errors import LoadFailure
from modelyard.runtime.http import create_app


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard.runtime", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def port(demo: Path) -> Iterator[int]:
    """The digits model, served alone on a free port."""
    process = start("--model", str(demo / "digits" / "model.onnx"), "--name", "digits", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://127\.0\.0\.1:(\d+)/v2/models/digits$", line)
    assert match is not None, (line, process.stderr.read() if process.stderr else "")
    yield int(match[1])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def call(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = (response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    status, _, body = call(port, "GET", path)
    return status, json.loads(body)


def test_server_and_model_tell_about_themselves(port: int) -> None:
    assert get(port, "/v2")[1]["extensions"] == ["binary_tensor_data", "model_repository"]
    assert get(port, "/v2/health/live") == (200, {"live": True})
    assert get(port, "/v2/health/ready") == (200, {"ready": True})
    for path in ("/v2/models/digits/ready", "/v2/models/digits/versions/1/ready"):
        assert get(port, path) == (200, {"name": "digits", "ready": True})
    for path in ("/v2/models/digits", "/v2/models/digits/versions/1"):
        status, metadata = get(port, path)
        assert status == 200
        assert metadata["name"] == "digits"
        assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 64]}]


def test_digits_are_recognised_over_http(port: int, demo: Path) -> None:
    sample = (demo / "digits" / "sample.json").read_bytes()
    expected = json.loads((demo / "digits" / "about.json").read_text())["sample_answer"]
    for path in ("/v2/models/digits/infer", "/v2/models/digits/versions/1/infer"):
        status, headers, body = call(port, "POST", path, sample, {"X-Request-ID": "mine-1"})
        assert (status, headers["content-type"], headers["x-request-id"]) == (200, "application/json", "mine-1")
        assert json.loads(body)["outputs"][0]["data"] == [expected]


def test_binary_tensors_over_http(port: int, demo: Path) -> None:
    sample = json.loads((demo / "digits" / "sample.json").read_bytes())
    tensor = sample["inputs"][0]
    part = np.array(tensor.pop("data"), "<f4").tobytes()
    tensor["parameters"] = {"binary_data_size": len(part)}
    sample["outputs"] = [{"name": "label", "parameters": {"binary_data": True}}]
    text = json.dumps(sample).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    status, answered, body = call(port, "POST", "/v2/models/digits/infer", text + part, headers)
    assert (status, answered["content-type"]) == (200, "application/octet-stream")
    label = np.frombuffer(body[int(answered["inference-header-content-length"]) :], "<i8")
    assert label.tolist() == [json.loads((demo / "digits" / "about.json").read_text())["sample_answer"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/", None, 404, "not_found"),
        ("GET", "/v2/models/other", None, 404, "model_not_found"),
        ("POST", "/v2/models/other/infer", b"{}", 404, "model_not_found"),
        ("GET", "/v2/models/digits/versions/2", None, 404, "version_not_found"),
        ("POST", "/v2/models/digits/versions/2/infer", b"{}", 404, "version_not_found"),
        ("GET", "/v2/models/digits/infer", None, 405, "method_not_allowed"),
        ("POST", "/v2/models/digits", b"{}", 405, "method_not_allowed"),
        ("POST", "/v2/models/digits/infer", b"{", 400, "invalid_json"),
        ("POST", "/v2/models/digits/infer", b"{}", 422, "invalid_request"),
        ("POST", "/v2/models/digits/infer", bytes(64 * 2**20 + 1), 413, "body_too_large"),
    ],
)
def test_bad_requests_get_a_problem(
    port: int, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    answered, headers, content = call(port, method, path, body)
    problem = json.loads(content)
    assert (answered, headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["code"], problem["instance"]) == (status, code, path)
    assert problem["request_id"] == headers["x-request-id"]


def test_v1_is_spoken_too(port: int, demo: Path) -> None:
    sample = json.loads((demo / "digits" / "sample.json").read_bytes())["inputs"][0]
    width = sample["shape"][1]
    rows = np.array(sample["data"]).reshape(-1, width).tolist()
    status, _, body = call(port, "POST", "/v1/models/digits:predict", json.dumps({"instances": rows * 2}).encode())
    assert status == 200
    assert len(json.loads(body)["predictions"]) == 2
    assert get(port, "/v1/models") == (200, {"models": ["digits"]})
    assert get(port, "/v1/models/digits") == (200, {"name": "digits", "ready": True})
    status, _, body = call(port, "POST", "/v1/models/digits:predict", b'{"instances": [[1]]}')
    assert json.loads(body)["errors"][0]["path"] == "instances[0]"


def test_a_compressed_body_is_taken_within_the_limit(port: int, demo: Path) -> None:
    sample = gzip.compress((demo / "digits" / "sample.json").read_bytes())
    assert call(port, "POST", "/v2/models/digits/infer", sample, {"Content-Encoding": "gzip"})[0] == 200
    bomb = gzip.compress(bytes(64 * 2**20 + 1))
    assert call(port, "POST", "/v2/models/digits/infer", bomb, {"Content-Encoding": "gzip"})[0] == 413
    assert call(port, "POST", "/v2/models/digits/infer", sample, {"Content-Encoding": "br"})[0] == 415


@pytest.mark.parametrize("length", ["many", "1" * 13, "1" * 5000])
def test_bad_header_length_is_refused(port: int, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    status, _, body = call(port, "POST", "/v2/models/digits/infer", b"{}", headers)
    assert (status, json.loads(body)["code"]) == (400, "invalid_header_length")


@pytest.mark.parametrize(
    ("action", "document", "status", "code"),
    [
        ("load", {"parameters": {"config": "{}"}}, 400, "unsupported_parameter"),
        ("load", {"parameters": {"unload_dependents": True}}, 400, "unsupported_parameter"),
        ("load", {"parameters": []}, 422, "invalid_request"),
        ("load", [], 400, "invalid_json"),
        ("load", {"parameters": {}}, 200, None),
        ("unload", {"parameters": {"unload_dependents": False}}, 409, "model_needed"),
    ],
)
def test_parameters_that_cannot_be_followed_are_refused(
    port: int, action: str, document: Any, status: int, code: str | None
) -> None:
    path = f"/v2/repository/models/digits/{action}"
    answered, _, body = call(port, "POST", path, json.dumps(document).encode())
    assert (answered, json.loads(body).get("code")) == (status, code)


def test_port_that_is_taken_is_a_clear_error(port: int, demo: Path) -> None:
    process = start("--model", str(demo / "digits" / "model.onnx"), "--port", str(port))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Choose another --port" in stderr


def test_model_that_cannot_be_served_is_a_clear_error(home: Path) -> None:
    (home / "model.pkl").write_bytes(b"\x80\x04N.")
    process = start("--model", str(home / "model.pkl"), "--name", "m")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.startswith("untrusted_pickle: ")
    assert "Traceback" not in stderr


def test_engine_and_name_are_told_by_the_path(demo: Path, home: Path) -> None:
    assert create_app(demo / "digits" / "model.onnx").name == "digits"
    with pytest.raises(LoadFailure, match="--engine"):
        create_app(home / "model.bin")
    with pytest.raises(LoadFailure, match="is no name"):
        create_app(home, engine="mock", name="no/name")


async def test_the_application_can_be_mounted_in_another(demo: Path) -> None:
    from fastapi import FastAPI
    from httpx2 import ASGITransport, AsyncClient

    outer = FastAPI()
    outer.mount("/ml", create_app(demo / "digits" / "model.onnx", name="digits"))
    async with AsyncClient(transport=ASGITransport(app=outer), base_url="http://here") as client:
        answer = await client.post("/ml/v2/models/digits/infer", content=(demo / "digits" / "sample.json").read_bytes())
        assert answer.status_code == 200
        assert (await client.get("/ml/v2/models/digits/ready")).json() == {"name": "digits", "ready": True}
