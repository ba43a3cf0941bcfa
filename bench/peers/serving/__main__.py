"""``make bench-peers``: ours and its peers, measured in turns, into ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.peers.serving.asking import questions
from bench.peers.serving.measuring import Results, measure
from bench.peers.serving.report import goals, markdown, write
from modelyard import demo

_ROOT = Path(__file__).resolve().parents[3]
_PEERS = _ROOT / ".peers"
# A load from which on others want the cores, too.
_BUSY = 0.7


def main() -> int:
    """Measure all; the exit code is 1 when a goal is missed, 2 when it cannot be measured here."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.serving", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3; all takes about 18 minutes)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--only", default="", help="servers with this in their titles; nothing is written then")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not here, and another client would not compare: install it (Debian: apt install wrk).")
        return 2
    before = os.getloadavg()[0]
    if before > _BUSY:
        print(f"This machine is busy (load {before:.1f}): the numbers will be low and uneven.")
    with tempfile.TemporaryDirectory(prefix="my-bench-", dir="/tmp") as folder:
        demo.make(Path(folder))
        model = Path(folder) / "digits" / "model.onnx"
        found = measure(asked.only, asked.rounds, asked.seconds, model, questions(model), _PEERS)
    (_PEERS / "last.json").write_text(json.dumps([_plain(each) for each in found], indent=1))
    content = markdown(found, asked.rounds, asked.seconds, before)
    print(f"\n{content}")
    if not asked.only and not asked.dry_run:
        write(_ROOT / "docs" / "benchmarks.md", content)
    return 1 if any(goal.met is False for goal in goals(found)) else 0


def _plain(results: Results) -> dict[str, Any]:
    """All that was measured of a server, each round."""
    return {
        "server": results.title, "version": results.version, "failure": results.failure, "cold": results.cold,
        "memory": results.memory,
        "loads": [
            {"question": what, "callers": callers, "rounds": [asdict(load) for load in loads]}
            for (what, callers), loads in results.loads.items()
        ],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
