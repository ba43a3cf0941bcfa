"""``metrics``: what a model was asked over time, on the command line and by the SDK."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta

from modelyard.client import Modelyard
from tests.cli.yard import Yard, eventually


def test_what_a_model_was_asked_is_told_after_the_control_process_has_died(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "asked", "--engine", "mock")
    for _ in range(4):
        own.ok("predict", "asked", "--sample")
    eventually(lambda: _requests(own) == 4, "four requests are told", 40)
    control = own.process("control")
    assert control is not None
    os.kill(control.pid, signal.SIGKILL)
    own.ok("predict", "asked", "--sample")
    eventually(lambda: _requests(own) == 5, "what was asked meanwhile is told too", 40)
    assert "REQUESTS" in own.ok("metrics", "asked", "--since", "30m")
    with Modelyard(own.url, token=(own.home / "admin.token").read_text().strip()) as client:
        now = datetime.now(UTC)
        told = client.models.metrics("asked", start=now - timedelta(minutes=30), end=now, step="5m")
    assert told.step == 300
    assert sum(told.requests) == 5
    assert [mark.kind for mark in told.marks] == ["deploy", "start"]
    wrong = own.run("metrics", "asked", "--since", "long")
    assert (wrong.returncode, "--since" in wrong.stderr) == (2, True)


def _requests(yard: Yard) -> int | None:
    """How many are told; None while there is nobody to tell."""
    told = yard.run("metrics", "asked", "--step", "1m", "-o", "json")
    return None if told.returncode else sum(json.loads(told.stdout)["requests"])
