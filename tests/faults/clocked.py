"""A control process like any other, but for its clock: it goes as far beside the machine's as a file says.

    python -m tests.faults.clocked FILE

The file holds seconds, and is read whenever somebody asks for the time, so a test moves the clock of a process that
runs. Everything else is as the settings in the environment say.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.app import clock

_offset = Path(sys.argv[1])


def _shifted() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(_offset.read_text()))


if __name__ == "__main__":
    # Before anybody takes the clock from there.
    clock.utc_now = _shifted
    from modelyard.app.__main__ import main

    sys.exit(main())
