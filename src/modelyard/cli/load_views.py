"""What a load came to: for programs as data, for people as tables and bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelyard.cli.context import Cli
from modelyard.cli.views import pairs_table, table
from modelyard.domain.quantities import rounded_bytes
from modelyard.loadtest.gates import PERCENTILES, Verdict, milliseconds
from modelyard.loadtest.measuring import Measured, Second
from modelyard.loadtest.svg import spread_edges

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelyard.loadtest.plan import Plan

_ROWS: Final = 12
_BAR: Final = 40
_COLUMNS: Final = 60
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"
# Beyond this share of a core, a process of the generator keeps the server waiting.
_BUSY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Load:
    """A load and its results."""

    model: str
    url: str
    plan: Plan
    processes: int
    measured: Measured
    verdicts: Sequence[Verdict]
    interrupted: bool

    @property
    def cores(self) -> float:
        """How many cores making the load took."""
        return self.measured.busy / self.measured.seconds if self.measured.seconds else 0.0


def title(name: str, plan: Plan) -> str:
    callers = f"{plan.connections:,} callers" if plan.connections > 1 else "1 caller"
    return f"{name}: {callers}" + (f", {plan.rate:,g} requests/s due" if plan.rate else "")


def moment(second: Second, plan: Plan) -> str:
    """One line on how it stands."""
    if not second.seconds:
        return "Waiting for the last answers"
    failed = f", {second.errors:,} errors" if second.errors else ""
    done, rate = second.index + second.seconds, second.answered / second.seconds
    times = f"p50 {milliseconds(second.p50)}, p99 {milliseconds(second.p99)}"
    return f"{done:.0f} of {plan.duration:g} s: {rate:,.0f} requests/s, {times}{failed}"


def as_data(load: Load) -> dict[str, Any]:
    plan, measured = load.plan, load.measured
    latencies = measured.latencies
    times = {"min": latencies.lowest, "mean": latencies.mean}
    times |= {name: latencies.quantile(share) for name, share in PERCENTILES.items()}
    return {
        "model": load.model,
        "url": load.url,
        "loop": "open" if plan.rate else "closed",
        "concurrency": plan.connections,
        "rate": plan.rate,
        "warm_up_seconds": plan.warm_up,
        "seconds": round(measured.seconds, 3),
        "interrupted": load.interrupted,
        "requests": latencies.count + measured.failed,
        "requests_per_second": round(measured.rate, 1),
        "latency_ms": {name: _ms(value) for name, value in times.items()},
        "errors": {
            "count": measured.failed,
            "share": round(measured.failed_share, 6),
            "kinds": [
                {"status": each.status or None, "code": each.code, "count": each.count, "example": each.example}
                for each in measured.errors
            ],
        },
        "bytes": {"sent": measured.sent, "received": measured.received},
        "reconnected": measured.reconnected,
        "timeline": [
            {
                "second": each.index, "measured_seconds": round(each.seconds, 3), "answered": each.answered,
                "errors": each.errors, "p50_ms": _ms(each.p50), "p99_ms": _ms(each.p99), "max_ms": _ms(each.longest),
            }
            for each in measured.timeline
        ],
        "generator": {"processes": load.processes, "cores": round(load.cores, 3)},
        "limits": [
            {"limit": verdict.gate.text, "measured": verdict.measured, "kept": verdict.kept}
            for verdict in load.verdicts
        ],
    }  # fmt: skip


def as_text(load: Load) -> RenderableType:
    from rich.console import Group

    measured = load.measured
    parts: list[RenderableType] = [_summary(load)]
    if measured.latencies.count:
        parts += ["", _percentiles(measured), "", *_spread(measured)]
    if len(measured.timeline) > 1:
        parts += ["", *_over_time(measured)]
    if measured.errors:
        parts += ["", _errors(measured)]
    if load.verdicts:
        parts += ["", *(_verdict(verdict) for verdict in load.verdicts)]
    return Group(*parts)


def remark(cli: Cli, load: Load) -> None:
    """Say what may mislead, on stderr."""
    if load.cores / load.processes > _BUSY:
        more = f"--processes {2 * load.processes}"
        cli.err.print(
            f"[yellow]The load itself took {load.cores:.2f} cores:[/] the server may be faster than this. Try {more}, "
            f"if there are cores for it.", soft_wrap=True,
        )  # fmt: skip
    if not load.measured.latencies.count and not load.interrupted:
        cli.err.print("[bold red]Error:[/] No request was answered with success.", soft_wrap=True)


def _summary(load: Load) -> RenderableType:
    plan, measured = load.plan, load.measured
    latencies = measured.latencies
    early = " (ended early)" if load.interrupted else ""
    share = f" ({measured.failed_share:.2%})" if measured.failed else ""
    rate = f"{measured.rate:,.0f}/s"
    if plan.rate:
        rate += f" of {plan.rate:,g}/s that were due"
    rows = [
        ("Load", f"{title(load.model, plan)}, {measured.seconds:.1f} s{early}"),
        ("Requests", f"{latencies.count + measured.failed:,}"),
        ("Answered", rate),
        ("Errors", f"{measured.failed:,}{share}"),
        ("Bytes", f"{rounded_bytes(measured.sent)} sent, {rounded_bytes(measured.received)} received"),
        ("Generator", f"{load.cores:.2f} cores in {load.processes} process{'es' if load.processes > 1 else ''}"),
    ]
    if measured.reconnected:
        rows.append(("Reconnected", f"{measured.reconnected:,} times"))
    return pairs_table(rows)


def _percentiles(measured: Measured) -> RenderableType:
    made = table("MIN", "MEAN", *(name.upper() for name in PERCENTILES))
    latencies = measured.latencies
    values = [latencies.lowest, latencies.mean, *(latencies.quantile(share) for share in PERCENTILES.values())]
    made.add_row(*(milliseconds(value) for value in values))
    return made


def _spread(measured: Measured) -> Iterator[str]:
    edges = spread_edges(measured, _ROWS)
    counts = measured.latencies.between(edges)
    most = max(counts)
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        bar = _bar(count / most)
        share = count / measured.latencies.count
        yield f"{milliseconds(left):>10} – {milliseconds(right):<10} {share:>7.2%}  [cyan]{bar}[/]"


def _bar(share: float) -> str:
    whole, eighth = divmod(round(share * _BAR * 8), 8)
    return "█" * whole + _EIGHTHS[eighth].strip()


def _over_time(measured: Measured) -> Iterator[str]:
    seconds = [each for each in measured.timeline if each.seconds]
    step = -(-len(seconds) // _COLUMNS)
    groups = [seconds[first : first + step] for first in range(0, len(seconds), step)]
    rates = [sum(e.answered for e in group) / sum(e.seconds for e in group) for group in groups]
    longest = [max(e.p99 for e in group) for group in groups]
    a_column = "a second" if step == 1 else f"{step} s"
    yield f"requests/s  [cyan]{_heights(rates)}[/]  {min(rates):,.0f} – {max(rates):,.0f}, {a_column} a column"
    yield f"p99         [yellow]{_heights(longest)}[/]  {milliseconds(min(longest))} – {milliseconds(max(longest))}"


def _heights(values: Sequence[float]) -> str:
    most = max(values) or 1.0
    return "".join(_HEIGHTS[min(int(value / most * len(_HEIGHTS)), len(_HEIGHTS) - 1)] for value in values)


def _errors(measured: Measured) -> RenderableType:
    from rich.markup import escape

    made = table("ERROR", "STATUS", "COUNT", "EXAMPLE", wrap=("EXAMPLE",))
    for each in measured.errors:
        text = " ".join(each.example.split())
        made.add_row(escape(each.code), str(each.status or "-"), f"{each.count:,}", escape(text))
    return made


def _verdict(verdict: Verdict) -> str:
    mark = "[green]kept[/]  " if verdict.kept else "[bold red]failed[/]"
    return f"{mark}  {verdict.gate.text}: {verdict.measured}"


def _ms(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 4)
