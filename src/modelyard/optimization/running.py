"""A job in a process of its own: what it takes of memory and threads goes with it, a crash of native code is an error
here, and whoever waits can be interrupted at any time.

The process reads its job from the first line of its stdin and ends when that is closed, so that none outlives whoever
asked for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final, TypeVar

import msgspec

from modelyard.domain.errors import InvalidRequest, ModelyardError, Problem
from modelyard.optimization import jobs

R = TypeVar("R")

_TAIL: Final = 2000
# Seconds between the end of what it says and its own.
_ENDING: Final = 5.0
# What numerical libraries start as many threads by, as a worker has it too.
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class JobFailed(ModelyardError):
    """The process that was to do it ended without an answer."""

    code = "job_failed"
    title = "Optimization failed"


def _silent(words: str) -> None:
    pass


def run(job: jobs.Job, result: type[R], tell: Callable[[str], None] = _silent) -> R:
    """Do ``job`` and return its result. ``tell`` is told how far it is.

    Raises:
        InvalidRequest: it cannot be done, and why
        JobFailed: the process crashed
    """
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            # -P: what lies in the current folder is data, not code.
            [sys.executable, "-P", "-m", "modelyard.optimization"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, **dict.fromkeys(_THREADS, str(getattr(job, "threads", 1)))},
            # An interrupt is for the one who waits, who then ends it.
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                told = msgspec.json.decode(line, type=jobs.Told)
                if told.words is not None:
                    tell(told.words)
                if told.faults:
                    raise InvalidRequest([Problem(f.path, f.code, f.message) for f in told.faults])
                if told.result is not None:
                    return _result(told.result, result)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ENDING)
        except BrokenPipeError:
            # It ended before it read all of the job.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ENDING)
        finally:
            process.kill()
            process.wait()
        raise JobFailed(_why(process.returncode, log))


def _result(told: object, result: type[R]) -> R:
    try:
        return msgspec.convert(told, result, str_keys=True)
    except msgspec.ValidationError as error:
        # JSON has no word for what is no finite number: it is written as null.
        message = f"The model was worked on, but a number of the result is not finite ({error}): its answers overflow."
        raise JobFailed(message) from None


def _why(code: int, log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, 2) - _TAIL))
    lines = log.read().decode(errors="replace").strip().splitlines()
    if code < 0:
        how = f"was ended by signal {-code}; if that is 9, the machine may have run out of memory"
    else:
        how = f"ended with exit code {code}"
    return f"The process that worked on the model {how}{f': {lines[-1]}' if lines else ''}."
