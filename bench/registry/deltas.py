"""The next version of a model that is here already: what a pull of it asks of the origin, against what others ask."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.peers.installed import Lacking, rsync, version_of
from bench.registry.scene import Scene, check_same


def delta(scene: Scene, words: str, first: str, second: str, most: float) -> None:
    """``first`` has been pushed; ``second`` is, and pulled beside the files of ``first``."""
    source = scene.home / second / "model.safetensors"
    size = source.stat().st_size
    pushing, _ = scene.push(second, first)
    with scene.scratch() as folder:
        scene.origin.reset()
        near = {str(scene.home / first): [scene.pushed[first]]}
        took, _ = scene.ours.ask(
            "pull", url=scene.store, digest=scene.pushed[second], to=str(folder / "out"), near=near
        )
        sent = scene.origin.sent()
        check_same(folder / "out" / "model.safetensors", source)
    share = sent / size
    scene.report(f"delta pull of {size / 1e9:.2f} GB, {words}", f"{sent / 1e6:.2f} MB: {share:.2%}, in {took:.1f} s",
                 f"<= {most:.1%}", share <= most)  # fmt: skip
    scene.tell("… its push", f"{pushing:.1f} s")
    for name, ask in ((version_of("hf-xet"), _xet), ("rsync", _rsync)):
        try:
            version, taken, seconds = ask(scene, first, second)
        except Lacking as error:
            scene.tell(f"… {name}", f"skipped: {error}")
        else:
            scene.tell(f"… {version}", f"{taken / 1e6:.2f} MB: {taken / size:.2%}, in {seconds:.1f} s")


def _xet(scene: Scene, first: str, second: str) -> tuple[str, int, float]:
    """With a cache of chunks that takes all of the first."""
    with scene.scratch() as folder, contextlib.ExitStack() as stack:
        settings = {"HF_HOME": str(folder / "home"), "HF_XET_CHUNK_CACHE_SIZE_BYTES": str(2**36)}
        worker = stack.enter_context(scene.helper(settings))
        store = str(folder / "store")
        for name in (first, second):
            _, info = worker.ask("xet_upload", path=str(scene.home / name / "model.safetensors"), store=store)
            seconds, done = worker.ask("xet_download", **info, store=store, to=str(folder / "out"))
        check_same(folder / "out", scene.home / second / "model.safetensors")
    return version_of("hf-xet"), done["fetched"], seconds


def _rsync(scene: Scene, first: str, second: str) -> tuple[str, int, float]:
    peer = rsync()
    with scene.scratch() as folder:
        shutil.copy(scene.home / first / "model.safetensors", folder)
        began = os.times().elapsed
        done = subprocess.run(
            [peer.program, "--stats", "--no-whole-file", str(scene.home / second / "model.safetensors"), f"{folder}/"],
            env={**os.environ, **peer.environment, "LC_ALL": "C"}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        seconds = os.times().elapsed - began
        check_same(folder / "model.safetensors", scene.home / second / "model.safetensors")
    found = re.search(r"Total bytes sent: ([\d,]+)", done.stdout)
    assert found is not None
    return peer.version, int(found[1].replace(",", "")), seconds


def forget(scene: Scene, name: str) -> None:
    """A version's files, once nothing is compared with them any more."""
    shutil.rmtree(Path(scene.home / name))
