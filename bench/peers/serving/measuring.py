"""Rounds over all servers: each is started, checked, loaded and ended in turn, so that what the machine does besides
falls on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.load import Load, drive
from bench.peers.installed import Lacking, environment
from bench.peers.serving.asking import PATH, Question, Wrong
from bench.peers.serving.running import Failed, Server, ours, running
from bench.peers.serving.table import PEERS, Peer

CALLERS = (1, 8, 64)
OURS = "Modelyard, through its gateway"
_FIRST = "JSON, 1 row"
_WARM_UP, _WARM_CALLERS = 1, 8


@dataclass
class Results:
    """Of one server: loads by question and callers, one a round; ``failure`` says why there are no more of them."""

    title: str
    version: str = ""
    peer: Peer | None = None
    loads: dict[tuple[str, int], list[Load]] = field(default_factory=dict)
    cold: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    failure: str = ""

    def median(self, what: str, callers: int, of: str) -> float | None:
        """``of``: rate, p50 or p99; None where it was not measured."""
        loads = self.loads.get((what, callers))
        return statistics.median(getattr(load, of) for load in loads) if loads else None

    @property
    def errors(self) -> int:
        return sum(load.errors for loads in self.loads.values() for load in loads)


# Brings a server up for as long as it is measured.
Start = Callable[[], AbstractContextManager[Server]]


def measure(
    only: str, rounds: int, seconds: float, model: Path, questions: Mapping[str, Question], below: Path
) -> list[Results]:
    """All whose titles have ``only`` in them, ours first; peers are installed ``below`` a folder where they are not."""
    entries: list[tuple[Results, Start]] = []
    if only.lower() in OURS.lower():
        entries.append((Results(OURS), partial(ours, model, questions[_FIRST])))
    failed = []
    for peer in PEERS:
        if only.lower() not in peer.title.lower():
            continue
        results = Results(peer.title, peer=peer)
        try:
            python = environment(below, peer.environment, peer.pins)
        except Lacking as lacking:
            results.failure = f"cannot be installed: {lacking}"
            failed.append(results)
            continue
        results.version = _version(python, peer.package)
        entries.append((results, partial(running, peer, python, model, questions[_FIRST])))
    for number in range(rounds):
        for results, start in entries:
            if not results.failure:
                print(f"       Round {number + 1} of {rounds}: {results.title}", flush=True)
                _one(results, start, seconds, questions)
    return [*(results for results, _ in entries), *failed]


def _one(results: Results, start: Start, seconds: float, questions: Mapping[str, Question]) -> None:
    try:
        with start() as server:
            results.cold += server.cold
            for what, question in questions.items():
                if question.is_binary and results.peer and not results.peer.has_binary:
                    continue
                question.ask(server.port, server.headers)
                _load(server, question, _WARM_CALLERS, _WARM_UP)
                for callers in CALLERS:
                    load = _load(server, question, callers, seconds)
                    results.loads.setdefault((what, callers), []).append(load)
                # Whoever breaks under load has not answered it.
                question.ask(server.port, server.headers)
            results.memory.append(server.memory())
    except (Failed, Wrong) as failure:
        results.failure = str(failure)
        print(f"       {results.title}: {failure}", flush=True)


def _load(server: Server, question: Question, callers: int, seconds: float) -> Load:
    headers = {**question.body.headers, **server.headers}
    return drive(server.port, PATH, question.body.content, headers, callers, seconds)


def _version(python: Path, package: str) -> str:
    installed = (python.parents[1] / "made").read_text().splitlines()
    return next((line.partition("==")[2] for line in installed if line.startswith(f"{package}==")), "")
