"""A fetch in a process of its own, which the server kills when it has sent so much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from modelyard.registry.sources.partial import _JOURNAL, _RECORD
from tests.registry.sources.serving import Server

_FETCH = "import sys; from pathlib import Path; from modelyard.registry.sources.fetching import fetch; "
_FETCH += "fetch(sys.argv[1], Path(sys.argv[2]))"


def killed(server: Server, source: str, to: Path, after: int) -> bool:
    """Fetch ``source``; whether it was killed before it came to its end."""
    process = subprocess.Popen([sys.executable, "-c", _FETCH, source, str(to)], stderr=subprocess.PIPE)
    before = server.sent

    def sending(sent: int) -> None:
        if sent - before >= after:
            os.kill(process.pid, signal.SIGKILL)
            raise ConnectionError

    server.sending = sending
    try:
        _, said = process.communicate(timeout=60)
    finally:
        server.sending = lambda sent: None
        process.kill()
        process.wait()
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    return process.returncode != 0


def journaled(to: Path) -> int:
    """Bytes that are known to be there, after a kill."""
    return sum(size for _, size in _records(to))


def _records(to: Path) -> Iterator[tuple[int, int]]:
    for journal in to.with_name(f"{to.name}.parts").glob(f"*/*/{_JOURNAL}"):
        records = journal.read_bytes().partition(b"\n")[2]
        records = records[: len(records) - len(records) % _RECORD.size]
        for offset, size, _ in _RECORD.iter_unpack(records):
            yield offset, size
