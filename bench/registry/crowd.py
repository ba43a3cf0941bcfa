"""Eight processes that want one version at once, in one cache."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.lines import Refused, Worker
from bench.origin import COMMIT
from bench.peers.installed import Lacking, version_of
from bench.registry.scene import Scene, check_same

PROCESSES, ROUNDS = 8, 3
# Of the model, when the one that fetches it is killed.
_MIDDLE = 0.4
_NO_LOCKS = "import fcntl\nfcntl.flock = lambda *_: None\n"


def crowd(scene: Scene, version: str) -> None:
    source = scene.home / version / "model.safetensors"
    size = source.stat().st_size
    locks = scene.home / "no-locks"
    locks.mkdir()
    # Python runs it before anything else.
    (locks / "sitecustomize.py").write_text(_NO_LOCKS)
    ways: tuple[tuple[str, dict[str, str]], ...] = (("", {}), (", flock a no-op", {"PYTHONPATH": str(locks)}))
    for words, environment in ways:
        with _processes(scene, environment) as workers:
            runs = [_run(scene, version, source, workers) for _ in range(ROUNDS)]
        _tell(scene, f"{PROCESSES} processes want {size / 1e9:.2f} GB at once{words}", size, runs, 1.01)
    runs = []
    for _ in range(ROUNDS):
        with _processes(scene, {}) as workers:
            runs.append(_run(scene, version, source, workers, kill=True))
    _tell(scene, f"… kill -9 of the one that fetches ({ROUNDS} rounds)", size, runs, 1.05)
    for words, environment in ways:
        with contextlib.suppress(Lacking):
            sent, took = _hub(scene, environment)
            scene.tell(f"… {version_of('huggingface-hub')}{words}", f"{sent / size:.3f} x, {took:.1f} s")


def _tell(scene: Scene, name: str, size: int, runs: Sequence[tuple[int, float]], most: float) -> None:
    """By the worst of them."""
    worst = max(sent for sent, _ in runs) / size
    took = statistics.median(seconds for _, seconds in runs)
    scene.report(name, f"{worst:.3f} x sent at most, {took:.1f} s", f"<= {most} x", worst <= most)


@contextlib.contextmanager
def _processes(scene: Scene, environment: dict[str, str]) -> Iterator[list[Worker]]:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(scene.our_helper(environment)) for _ in range(PROCESSES)]
        for worker in workers:
            worker.ask("ready")  # all of them are up
        yield workers


def _run(scene: Scene, version: str, source: Path, workers: Sequence[Worker], kill: bool = False) -> tuple[int, float]:
    """Bytes that the origin sent, and seconds until the last of those that are left had it."""
    with scene.scratch() as folder:
        scene.origin.reset()
        began = time.perf_counter()
        for worker in workers:
            worker.send("lay_out", url=scene.store, digest=scene.pushed[version], cache=str(folder / "cache"))
        if kill:
            workers = _without_the_fetching_one(scene, workers, folder / "cache", _MIDDLE * source.stat().st_size)
        paths = {worker.receive()[1]["path"] for worker in workers}
        took = time.perf_counter() - began
        sent = scene.origin.sent()
        if len(paths) != 1:
            raise Refused(f"They have it in {len(paths)} places.")
        check_same(Path(paths.pop()) / "model.safetensors", source)
        return sent, took


def _without_the_fetching_one(scene: Scene, workers: Sequence[Worker], cache: Path, sent: float) -> list[Worker]:
    """Killed when so many bytes have been sent; its lease says which one it is."""
    while scene.origin.sent() < sent:
        time.sleep(0.005)
    holder = json.loads(next((cache / "leases").iterdir()).read_text())
    fetching = next(worker for worker in workers if worker.pid == holder["pid"])
    fetching.kill()
    return [worker for worker in workers if worker is not fetching]


def _hub(scene: Scene, environment: dict[str, str]) -> tuple[int, float]:
    with contextlib.ExitStack() as stack, scene.scratch() as folder:
        settings = {"HF_HOME": str(folder / "home"), **environment}
        workers = [stack.enter_context(scene.helper(settings)) for _ in range(PROCESSES)]
        for worker in workers:
            worker.ask("sync", paths=[])
        scene.origin.reset()
        began = time.perf_counter()
        for worker in workers:
            worker.send(
                "hub", repository="hub/model", revision=COMMIT, name="model.safetensors", cache=str(folder / "cache")
            )
        for worker in workers:
            with contextlib.suppress(Refused):  # without locks some of them fail over what others take away
                worker.receive()
        return scene.origin.sent(), time.perf_counter() - began
