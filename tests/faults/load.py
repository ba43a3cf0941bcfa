"""Steady inference from several callers, each on a connection of its own, and what became of each request."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.cli.yard import Yard

ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


@dataclass
class Outcomes:
    """``answers`` counts status codes (with the problem's code); ``broken`` counts lost connections by error."""

    answers: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def good(self) -> int:
        return self.answers["200"]

    @property
    def bad(self) -> dict[str, int]:
        return {**{k: n for k, n in self.answers.items() if k != "200"}, **self.broken}

    def wait_for_more(self, count: int = 30, seconds: float = 20.0) -> None:
        """Until so many more requests have succeeded."""
        wanted, deadline = self.good + count, time.monotonic() + seconds
        while self.good < wanted:
            assert time.monotonic() < deadline, f"no answers any more: {self}"
            time.sleep(0.005)


@contextmanager
def load(yard: Yard, model: str, callers: int = 4) -> Iterator[Outcomes]:
    """Callers that send one request after the other until the block ends."""
    outcomes = Outcomes()
    token = (yard.home / "admin.token").read_text().strip()

    def call() -> None:
        with httpx2.Client(base_url=yard.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
            while not outcomes._ended.is_set():
                try:
                    answer = http.post(f"/v2/models/{model}/infer", json=ROW)
                except httpx2.TransportError as error:
                    outcomes.broken[type(error).__name__] += 1
                    continue
                code = "" if answer.status_code == 200 else f" {answer.json()['code']}"
                outcomes.answers[f"{answer.status_code}{code}"] += 1

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        outcomes._ended.set()
        for thread in threads:
            thread.join(30)
