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


@pytest.mark.parametrize(("number", "said"), [(signal.SIGSEGV, "signal 11"), (None, "exit code 3")])
def test_how_a_process_ended_is_told_though_its_words_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, said: str
) -> None:
    end = f"os.kill(os.getpid(), {number:d})" if number else "os._exit(3)"
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport os, time\nos.close(1)\ntime.sleep(0.2)\n{end}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(JobFailed, match=said):
        run(measuring(tmp_path), jobs.Trials)


def test_a_result_that_is_no_number_is_the_jobs_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    told = '{"result": {"batches": true, "found": [{"batch": 1, "callers": 1, "rate": null, "latency": null}]}}'
    program.write_text(f"#!{sys.executable}\nprint({told!r})\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(JobFailed, match="a number of the result is not finite"):
        run(measuring(tmp_path), jobs.Trials)


def test_what_lies_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "csv.py").write_text("raise SystemExit(9)")
    (tmp_path / "modelyard.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert run(measuring(tmp_path), jobs.Trials).batches


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
