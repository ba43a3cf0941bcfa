"""Jobs in processes of their own: their answers and faults come back, and they end with whoever asked for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from modelyard.domain.errors import InvalidRequest
from modelyard.optimization import jobs
from modelyard.optimization.running import JobFailed, run
from tests.optimization import making


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def measuring(tmp_path: Path) -> jobs.Measure:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    return jobs.Measure(source=str(source), engine="onnx", threads=1, batches=[1, 8], seconds=0.02)


def quantizing(tmp_path: Path) -> jobs.Quantize:
    source = making.saved(making.dense(), tmp_path / "net.onnx")
    to = tmp_path / "made" / "net.onnx"
    to.parent.mkdir()
    return jobs.Quantize(source=str(source), to=str(to), method=jobs.Method.FP16, seconds=30.0)


def test_what_was_measured_comes_back(tmp_path: Path) -> None:
    trials = run(measuring(tmp_path), jobs.Trials)
    assert trials.batches
    assert [one.batch for one in trials.found] == [1, 8]
    assert all(one.rate > 0 and one.latency.p95 >= one.latency.p50 > 0 for one in trials.found)
    fixed = making.saved(making.dense(rows=3), tmp_path / "fixed.onnx")
    trials = run(msgspec.structs.replace(measuring(tmp_path), source=str(fixed)), jobs.Trials)
    assert (trials.batches, [one.batch for one in trials.found]) == (False, [3])


def test_a_fault_comes_back_as_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"model: There is no .*gone\.onnx"):
        run(msgspec.structs.replace(measuring(tmp_path), source=str(tmp_path / "gone.onnx")), jobs.Trials)


def test_an_interrupt_ends_the_process_too(tmp_path: Path) -> None:
    before = children()

    def interrupted(words: str) -> None:
        if words == "Measuring both":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(quantizing(tmp_path), jobs.Quantized, interrupted)
    assert children() == before


def test_a_process_that_is_killed_is_an_error_that_says_so(tmp_path: Path) -> None:
    before = children()

    def killed(words: str) -> None:
        if words == "Measuring both":
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(JobFailed, match="signal 9; if that is 9, the machine may have run out of memory"):
        run(quantizing(tmp_path), jobs.Quantized, killed)


def test_a_job_ends_with_whoever_asked_for_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "modelyard.optimization"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(quantizing(tmp_path)) + b"\n")
        process.stdin.flush()
        while b"Measuring" not in process.stdout.readline():
            pass
        process.stdin.close()
        assert process.wait(timeout=10) == 1, "half a minute of measuring was left"
