"""``kill -9`` of the control process in the middle of an import: the next one goes on with it where it was."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.web import Web
from tests.cli.yard import Yard, eventually

SIZE = 24 * 2**20
# What is not yet down in the journal, of each of the ranges that are fetched at once.
LOST = 10 * 2**20


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = Yard(environment={"MODELYARD_IMPORT_HOSTS": "127.0.0.1"})
    try:
        made.ok("up", "--detach")
        yield made
    finally:
        made.close()


def test_an_import_outlives_the_control_process_and_fetches_nothing_twice(yard: Yard) -> None:
    content = bytes(random.Random(1).choices(range(32, 127), k=2**16)) * (SIZE // 2**16)
    web = Web(content, hold_after=SIZE // 2)
    try:
        begun = yard.json("import", web.url, "pat@1.0.0", "--no-wait")

        def look() -> dict[str, Any]:
            shown = yard.run("transfers", "show", begun["id"], "-o", "json")
            return dict(json.loads(shown.stdout)) if shown.returncode == 0 else {}

        eventually(lambda: look().get("bytes_done", 0) >= SIZE // 4, "some bytes")
        victim = yard.process("control")
        assert victim is not None
        os.kill(victim.pid, signal.SIGKILL)
        web.hold_after = None
        web.let_go()
        eventually(lambda: look().get("attempt") == 2, "the next process to take it up")
        over = yard.json("transfers", "watch", begun["id"])
        assert (over["state"], over["attempt"], over["version"]) == ("succeeded", 2, "1.0.0")
        assert web.given <= SIZE + LOST, "what was there was not fetched again"
        eventually(lambda: not list((yard.home / "transfers").iterdir()), "its folder to go")
        yard.ok("pull", "pat@1.0.0", "--to", str(yard.home / "pulled"))
        pulled = (yard.home / "pulled" / "weights.txt").read_bytes()
        assert hashlib.sha256(pulled).digest() == hashlib.sha256(content).digest()
    finally:
        web.close()
