"""``modelyard load-test`` on a Modelyard that runs: what it reports, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
from typer.testing import CliRunner

from modelyard.cli.main import app
from tests.cli.yard import Yard
from tests.loadtest.server import Answer, answer, serving

QUICK = ("--duration", "0.4s", "--warm-up", "0s", "-c", "2")
# Adds one to each value, and does not like more than eight rows.
MODEL = """
class Model:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    outputs = [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]

    def load(self, folder):
        pass

    def predict(self, inputs):
        if len(inputs["x"]) > 8:
            raise ValueError("too many rows")
        return {"y": inputs["x"] + 1}
"""


@pytest.fixture(scope="module")
def loaded(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Serves ``loaded``, and ``delayed``, which takes 20 ms."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.py").write_text(MODEL)
    yard.ok("deploy", "loaded", str(folder), "--engine", "python")
    yard.ok("deploy", "delayed", "--engine", "mock", "--option", "latency_ms=20")
    yield yard
    yard.ok("stop", "loaded", "delayed", "--force")


def test_it_reports_what_the_model_did(loaded: Yard) -> None:
    body = '{"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}'
    found = json.loads(loaded.ok("load-test", "delayed", *QUICK, "--data", body, "-o", "json"))
    assert (found["model"], found["loop"], found["concurrency"], found["interrupted"]) == (
        "delayed",
        "closed",
        2,
        False,
    )
    assert found["seconds"] == pytest.approx(0.4)
    # Two callers, each answered every 20 ms or so.
    assert 2 <= found["requests"] <= 42
    assert found["errors"] == {"count": 0, "share": 0.0, "kinds": []}
    times = found["latency_ms"]
    # The worker's timers are of milliseconds, and may be one early.
    assert 19 <= times["min"] <= times["p50"] <= times["p99"] <= times["p99.9"] <= times["max"]
    assert sum(second["answered"] for second in found["timeline"]) == found["requests"]
    assert found["bytes"]["sent"] > found["requests"] * len(body)


def test_people_see_percentiles_bars_and_limits_and_may_have_a_picture(loaded: Yard, tmp_path: Path) -> None:
    picture = tmp_path / "load.svg"
    said = loaded.ok(
        "load-test", "loaded", "-c", "4", "--duration", "1.2s", "--warm-up", "100ms", "--rate", "200", "--binary",
        "--rows", "8", "--plot", str(picture), "--fail-over", "p50=10s", "--fail-over", "errors=0",
    )  # fmt: skip
    assert re.search(r"Load +loaded: 4 callers, 200 requests/s due, 1\.2 s\n", said)
    assert re.search(r"MIN +MEAN +P50 +P90 +P95 +P99 +P99\.9 +MAX\n", said)
    assert re.search(r"Answered +\d+/s of 200/s that were due", said)
    assert re.search(r" ms – [\d.]+ ms +\d+\.\d\d%  █", said)
    assert re.search(r"requests/s  [▁-█]{2}  ", said)
    assert "kept    p50=10s:" in said
    assert "kept    errors=0: 0" in said
    drawn = ElementTree.fromstring(picture.read_text())
    assert "loaded: 4 callers" in "".join(drawn.itertext())


def test_a_limit_that_is_not_kept_fails(loaded: Yard) -> None:
    done = loaded.run("load-test", "loaded", *QUICK, "--fail-over", "p99=1us", "--fail-over", "errors=0.1%")
    assert done.returncode == 1
    assert re.search(r"failed  p99=1us: [\d.]+ ms\nkept    errors=0.1%: 0.000%", done.stdout)


def test_what_one_request_is_refused_with_is_said_before_any_load(loaded: Yard) -> None:
    loaded.ok("deploy", "unloaded", "--engine", "mock", "--stopped")
    refused = {
        ("unloaded",): (4, "Model 'unloaded' is stopped"),
        ("nowhere",): (3, "no model 'nowhere'"),
        ("loaded", "--rows", "9"): (1, "too many rows"),
        ("loaded", "--data", '{"inputs": []}'): (7, "Input 'x' (FP32 [-1, 4]) is missing."),
    }
    for arguments, (code, said) in refused.items():
        done = loaded.run("load-test", *arguments, *QUICK)
        assert (done.returncode, said in done.stderr) == (code, True), f"{arguments}: {done.stderr}"
        assert done.stdout == ""


async def test_interrupted_it_ends_early_and_reports_and_never_shows_the_token(yard: Yard, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-very-secret-token\n")
    async with serving(metadata_or(answer(200, b"{}"))) as server:
        begun = yard.begin(
            "load-test", "other", "--url", f"http://127.0.0.1:{server.port}", "--token-file", str(secret),
            "--duration", "1h", "--warm-up", "0s", "-o", "json",
        )  # fmt: skip
        try:
            while len(server.requests) < 200:
                assert begun.poll() is None
                await asyncio.sleep(0.02)
            family = [psutil.Process(begun.pid), *psutil.Process(begun.pid).children(recursive=True)]
            commands = [word for process in family for word in process.cmdline()]
            begun.send_signal(signal.SIGINT)
            said, _ = await asyncio.to_thread(begun.communicate, timeout=20)
        finally:
            begun.kill()
    assert begun.returncode == 130
    found = json.loads(said[said.index("{") :])
    assert found["interrupted"] is True
    assert found["requests"] > 0
    assert found["seconds"] < 60
    assert found["errors"]["count"] == 0
    assert b"Authorization: Bearer a-very-secret-token\r\n" in server.requests[-1]
    assert len(family) == 2
    assert "a-very-secret-token" not in said + " ".join(commands)


def metadata_or(infer: bytes) -> Answer:
    """A V2 server of one model, which answers every tenth request with something else."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [-1, 2]}
    known = answer(200, json.dumps({"name": "other", "platform": "none", "inputs": [tensor], "outputs": []}).encode())

    async def answering(request: bytes, number: int) -> bytes:
        if request.startswith(b"GET"):
            return known
        return answer(200, b"{}") if number % 10 else infer

    return answering


async def test_another_v2_server_is_loaded_too_and_never_sees_our_token(yard: Yard) -> None:
    busy = answer(503, b'{"error": "queue is full"}')

    async def load(*more: str) -> subprocess.CompletedProcess[str]:
        # A server each: on another one's tenth request may fall the one that is asked before the load.
        async with serving(metadata_or(busy)) as server:
            url = f"http://127.0.0.1:{server.port}"
            done = await asyncio.to_thread(yard.run, "load-test", "other", *QUICK, "--url", url, *more)
        assert not any(b"authorization" in request.lower() for request in server.requests)
        return done

    plain = await load("-o", "json")
    assert plain.returncode == 0, plain.stderr
    errors: dict[str, Any] = json.loads(plain.stdout)["errors"]
    (kind,) = errors["kinds"]
    assert (kind["status"], kind["code"], kind["example"]) == (503, "http_503", '{"error": "queue is full"}')
    assert 0.05 < errors["share"] < 0.15
    limited = await load("--fail-over", "errors=0.1%")
    assert limited.returncode == 1
    assert re.search(r"http_503 +503 +[\d,]+ +.*queue is full", limited.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--concurrency", "0"), "--concurrency"),
        (("--duration", "0s"), "is not between 0.1 s and a day"),
        (("--duration", "soon"), "'soon' is not a duration"),
        (("--timeout", "0s"), "is not between 0.01 s and a day"),
        (("--rate", "0"), "between 0.01 and 1,000,000"),
        (("--rate", "nan"), "between 0.01 and 1,000,000"),
        (("--processes", "3", "-c", "2"), "at least as many callers"),
        (("--rows", "2", "--data", "[]"), "one of --data, --file and --rows"),
        (("--fail-over", "p99=fast"), "is no limit"),
        (("--plot", "/nowhere/load.svg"), "no folder /nowhere"),
        (("--plot", "load.png"), "name a file like load.svg"),
    ],
)
def test_senseless_values_are_refused_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["load-test", "any", *arguments], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
