"""The measured table as Markdown, and whether the goals against the peers are met."""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.peers.serving.measuring import CALLERS, OURS, Results
from bench.peers.serving.table import PEERS

BEGIN, END = "<!-- bench-peers: from here", "<!-- bench-peers: to here -->"
_ONE, _MANY, _BINARY = "JSON, 1 row", "JSON, 32 rows", "binary, 32 rows"
# How many times the best peer's rate, by question and callers.
_GOALS = {
    **{(_ONE, callers): 2.5 if callers == 1 else 5.0 for callers in CALLERS},
    **{(_MANY, callers): 2.0 for callers in CALLERS},
    **{(_BINARY, callers): 10.0 for callers in CALLERS},
}
_START_SECONDS, _START_TIMES = 0.1, 8.0


class Goal:
    """One line of the comparison; ``met`` is None where there is nothing to compare with."""

    def __init__(self, name: str, ours: str, best: str, ratio: str, goal: str, met: bool | None) -> None:
        self.cells = (name, ours, best, ratio, goal, {True: "yes", False: "**no**", None: "–"}[met])
        self.met = met


def goals(found: Sequence[Results]) -> list[Goal]:
    """Ours beside the best server among the peers (what is written by hand is none)."""
    own = next((each for each in found if each.title == OURS), None)
    peers = [each for each in found if each.peer and each.peer.is_server]
    if own is None:
        return []
    made = [goal for (what, callers), times in _GOALS.items() for goal in _rates(own, peers, what, callers, times)]
    cold = [(statistics.median(each.cold), each.title) for each in peers if each.cold]
    if own.cold and cold:
        ours, (best, title) = statistics.median(own.cold), min(cold)
        made.append(Goal("start to first answer", f"{ours * 1e3:.0f} ms", f"{best:.2f} s ({title})",
                         f"{best / ours:.1f} ×", f"≤ 100 ms, ≥ {_START_TIMES:g} ×",
                         ours <= _START_SECONDS and best >= _START_TIMES * ours))  # fmt: skip
    return made


def _rates(own: Results, peers: Sequence[Results], what: str, callers: int, times: float) -> Iterator[Goal]:
    ours = own.median(what, callers, "rate")
    rates = [(rate, each) for each in peers if (rate := each.median(what, callers, "rate")) is not None]
    if ours is None or not rates:
        return
    rate, best = max(rates, key=lambda pair: pair[0])
    name = f"{what}, {callers} caller{'s' if callers > 1 else ''}"
    yield Goal(f"{name}: requests/s", f"{ours:,.0f}", f"{rate:,.0f} ({best.title})", f"{ours / rate:.2f} ×",
               f"≥ {times:g} ×", ours >= times * rate)  # fmt: skip
    if what == _ONE:
        p99, theirs = own.median(what, callers, "p99"), best.median(what, callers, "p99")
        assert p99 is not None
        assert theirs is not None
        yield Goal(f"{name}: p99", f"{p99:.2f} ms", f"{theirs:.2f} ms ({best.title})", f"{p99 / theirs:.2f} ×",
                   "< 1 ×", p99 < theirs)  # fmt: skip


def markdown(found: Sequence[Results], rounds: int, seconds: float, load_before: float) -> str:
    """The section's content."""
    parts = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}; load before it began {load_before:.1f}. wrk with one "
        f"thread on the same cores; medians of rounds in turns ({rounds}), {seconds:g} s each. The digits model, one "
        f"thread of ONNX Runtime. Ours with authentication, metrics, request ids and limits; none of the peers has "
        f"these on. Three numbers are those at {', '.join(map(str, CALLERS[:-1]))} and {CALLERS[-1]} callers.",
        "",
        _table(
            ("server", "JSON, 1 row: requests/s", "p50 ms", "p99 ms", "JSON, 32 rows: requests/s",
             "binary, 32 rows: requests/s", "memory MiB (PSS)", "cold start s"),
            (_row(each) for each in found),
        ),
    ]  # fmt: skip
    if judged := goals(found):
        header = ("ours against the best peer", "ours", "best peer", "ratio", "goal", "met")
        parts += ["", _table(header, (goal.cells for goal in judged))]
    notes = [f"- {each.title}: {each.failure}" for each in found if each.failure]
    notes += [f"- {each.title}: {each.errors:,} requests failed" for each in found if each.errors]
    if notes:
        parts += ["", "What failed:", "", *notes]
    pins = sorted({pin for peer in PEERS for pin in peer.pins})
    parts += ["", f"Installed by: {', '.join(f'`{pin}`' for pin in pins)}."]
    return "\n".join(parts) + "\n"


def _row(results: Results) -> tuple[str, ...]:
    def numbers(what: str, of: str) -> str:
        values = [results.median(what, callers, of) for callers in CALLERS]
        if of == "rate":
            return " / ".join("–" if value is None else f"{value:,.0f}" for value in values)
        return " / ".join("–" if value is None else f"{value:.3g}" for value in values)

    cold = f"{statistics.median(results.cold):.2f}" if results.cold else "–"
    memory = f"{statistics.median(results.memory) / 2**20:.0f}" if results.memory else "–"
    return (
        f"{results.title} {results.version}".strip(), numbers(_ONE, "rate"), numbers(_ONE, "p50"),
        numbers(_ONE, "p99"), numbers(_MANY, "rate"), numbers(_BINARY, "rate"), memory, cold,
    )  # fmt: skip


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """The processor, the cores, Python and the system, in a few words."""
    text = Path("/proc/cpuinfo").read_text()
    processor = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), "")
    return (
        f"{processor or platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    )


def write(file: Path, content: str) -> None:
    """Put it between the marks that ``file`` has for it."""
    text = file.read_text()
    begin, end = text.find(BEGIN), text.find(END)
    if not 0 <= begin < end:
        sys.exit(f"{file} has no place for it, between {BEGIN} … --> and {END}.")
    head = text[: text.index("-->", begin) + len("-->")]
    file.write_text(f"{head}\n\n{re.sub(r' +$', '', content, flags=re.MULTILINE)}\n{text[end:]}")
