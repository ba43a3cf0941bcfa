"""What the parts of the registry's benchmark work with."""

from __future__ import annotations

import contextlib
import filecmp
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.lines import Refused, Worker
from bench.origin import Origin
from bench.peers.installed import Lacking, peers

Report = Callable[[str, str, str, bool], None]

BUCKET = "models"
ROUNDS = 5


@dataclass
class Scene:
    """``ours`` and ``theirs`` are warm processes, both told of ``origin``; ``peers`` is the interpreter of theirs, and
    ``lacking`` why there is none. What the origin serves of the peers is in :attr:`bucket`, our stores are below it."""

    report: Report
    home: Path
    origin: Origin
    ours: Worker
    peers: Path | None
    theirs: Worker | None
    lacking: str = ""
    pushed: dict[str, str] = field(default_factory=dict)

    @property
    def bucket(self) -> Path:
        return self.origin.folder / BUCKET

    @property
    def store(self) -> str:
        return f"s3://{BUCKET}/ours"

    def push(self, name: str, *like: str) -> tuple[float, int]:
        """The version in the folder of this name; seconds, and bytes of it."""
        took, done = self.ours.ask(
            "push", url=self.store, folder=str(self.home / name), like=[self.pushed[one] for one in like]
        )
        self.pushed[name] = done["digest"]
        return took, done["size"]

    def tell(self, name: str, measured: str) -> None:
        """Of what has no goal."""
        self.report(name, measured, "none", True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = self.home / "scratch"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def helper(self, environment: Mapping[str, str]) -> Iterator[Worker]:
        """One more process of theirs. Raises Lacking."""
        if self.peers is None:
            raise Lacking(self.lacking)
        with Worker("bench.peers.worker", {**self.origin.environment, **environment}, self.peers) as worker:
            yield worker

    @contextlib.contextmanager
    def our_helper(self, environment: Mapping[str, str] | None = None) -> Iterator[Worker]:
        """One more process of ours."""
        with Worker("bench.ours", {**self.origin.environment, **(environment or {})}) as worker:
            yield worker


def begun(report: Report, home: Path, origin: Origin, ours: Worker, stack: contextlib.ExitStack) -> Scene:
    """A scene with the peers, where they can be had."""
    scene = Scene(report, home, origin, ours, None, None)
    try:
        scene.peers = peers()
        scene.theirs = stack.enter_context(scene.helper({"HF_HOME": str(home / "hf")}))
    except Lacking as error:
        scene.peers, scene.lacking = None, str(error)
    return scene


def rate(size: int, seconds: list[float]) -> float:
    """GB a second at the median."""
    return size / statistics.median(seconds) / 1e9


def check_same(one: Path, other: Path) -> None:
    """Raises Refused where they differ in a bit."""
    if not filecmp.cmp(one, other, shallow=False):
        raise Refused(f"{one} is not what {other} is")
