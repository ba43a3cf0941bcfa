"""A verified pull of 1 GB from S3's API, against the clients that there are, in turns."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.lines import Worker
from bench.origin import COMMIT
from bench.peers.installed import version_of
from bench.registry.scene import BUCKET, ROUNDS, Scene, check_same, rate

KEY = "peers/model.safetensors"
BOTO3_GOAL, MLFLOW_GOAL = 1.8, 2.3

# Has the model in a folder: seconds that it took, those until it was on the disk too, and those of the processors, its
# own and the origin's.
Turn = Callable[[Path], tuple[float, float, tuple[float, float]]]


@dataclass
class _Times:
    """Seconds a round: until the client was done, and until the file was on the disk too; of the client's processors,
    and of the origin's."""

    done: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    origin: list[float] = field(default_factory=list)


def pulls(scene: Scene, version: str) -> None:
    source = scene.home / version / "model.safetensors"
    for name in (KEY, f"hub/model/resolve/{COMMIT}/model.safetensors"):
        place = scene.bucket / name if name == KEY else scene.origin.folder / name
        place.parent.mkdir(parents=True)
        place.symlink_to(source)
    times: defaultdict[str, _Times] = defaultdict(_Times)
    for number in range(ROUNDS + 1):
        for name, turn in _turns(scene, version).items():
            with scene.scratch() as folder:
                done, kept, (client, origin) = turn(folder / "out")
                if number == 0:  # connections stand and libraries are loaded; and what comes is right
                    check_same(next(folder.rglob("model.safetensors")), source)
                    continue
            times[name].done.append(done)
            times[name].kept.append(kept)
            times[name].client.append(client)
            times[name].origin.append(origin)
    _tell(scene, source.stat().st_size, times)


def _turns(scene: Scene, version: str) -> Mapping[str, Turn]:
    """What is compared."""

    def begun(what: str, worker: Callable[[], AbstractContextManager[Worker]], **arguments: str) -> Turn:
        """With the time until a process is there that does it, as on a command line."""

        def turn(to: Path) -> tuple[float, float, tuple[float, float]]:
            to.mkdir()
            began = time.perf_counter()
            with worker() as one:
                one.ask(what, **{k: v.format(to=to) for k, v in arguments.items()})
                took = time.perf_counter() - began
            return took, took, (0.0, 0.0)

        return turn

    def client(worker: Worker, what: str, **arguments: Any) -> Turn:
        def turn(to: Path) -> tuple[float, float, tuple[float, float]]:
            to.mkdir()
            before = _busy(worker.pid), _busy(scene.origin.pid)
            took, _ = worker.ask(what, **{k: v.format(to=to) for k, v in arguments.items()})
            busy = _busy(worker.pid) - before[0], _busy(scene.origin.pid) - before[1]
            _, synced = worker.ask("sync", paths=[str(path) for path in to.rglob("*.safetensors")])
            return took, took + synced, busy

        return turn

    file = "{to}/model.safetensors"
    turns = {
        "ours": client(scene.ours, "pull", url=scene.store, digest=scene.pushed[version], to="{to}"),
        "obstore": client(scene.ours, "obstore", bucket=BUCKET, key=KEY, to=file),
        "ours, begun": begun("pull", scene.our_helper, url=scene.store, digest=scene.pushed[version], to="{to}"),
    }  # fmt: skip
    if scene.theirs is not None:
        turns |= {
            "boto3": client(scene.theirs, "boto3_and_sha256", bucket=BUCKET, key=KEY, to=file),
            "mlflow-skinny": client(scene.theirs, "mlflow", url=f"s3://{BUCKET}/{KEY}", to="{to}"),
            "mlflow-skinny, begun": begun(
                "mlflow", lambda: scene.helper({}), url=f"s3://{BUCKET}/{KEY}", to="{to}"
            ),
            "huggingface-hub": client(
                scene.theirs, "hub", repository="hub/model", revision=COMMIT, name="model.safetensors", cache="{to}"
            ),
        }  # fmt: skip
    return turns


def _tell(scene: Scene, size: int, times: Mapping[str, _Times]) -> None:
    """All as they are: none of them waits for the disk. How it is when all do stands beside it."""
    ours = times["ours"]
    scene.tell(f"verified pull of {size / 1e9:.2f} GB from S3 ({ROUNDS} rounds)",
               f"{rate(size, ours.done):.2f} GB/s; {rate(size, ours.kept):.2f} until it is on the disk")  # fmt: skip
    for peer, words, goal in (("boto3", " and SHA-256", BOTO3_GOAL), ("mlflow-skinny", "", MLFLOW_GOAL)):
        label = f"… {version_of(peer)}{words}"
        if peer not in times:
            scene.report(label, f"skipped: {scene.lacking}", f">= {goal} x", False)
            continue
        theirs = times[peer]
        ratio = _ratio(theirs.done, ours.done)
        scene.report(label, f"{rate(size, theirs.done):.2f} GB/s: {ratio:.2f} x", f">= {goal} x", ratio >= goal)
        scene.tell("… until it is on the disk", f"{_ratio(theirs.kept, ours.kept):.2f} x")
        scene.tell("… seconds of a core, and of the origin's", f"{_seconds(theirs)}; ours {_seconds(ours)}")
    if "mlflow-skinny" in times:
        begun, theirs = times["ours, begun"], times["mlflow-skinny, begun"]
        scene.tell("… each a process of its own for it", f"{rate(size, theirs.done):.2f} GB/s, ours "
                   f"{rate(size, begun.done):.2f}: {_ratio(theirs.done, begun.done):.2f} x")  # fmt: skip
    for peer in ("huggingface-hub", "obstore"):
        if peer in times:
            version = version_of(peer) if peer != "obstore" else "obstore by ranges"
            scene.tell(f"… {version}, unverified", f"{rate(size, times[peer].done):.2f} GB/s")


def _busy(process: int) -> float:
    """Seconds of a core that it has taken."""
    found = psutil.Process(process).cpu_times()
    return found.user + found.system


def _seconds(times: _Times) -> str:
    return f"{statistics.median(times.client):.2f} + {statistics.median(times.origin):.2f} s"


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(theirs) / statistics.median(ours)
