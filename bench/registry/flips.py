"""Bits that the origin flips: who notices."""

from __future__ import annotations

import random
from pathlib import Path

from bench.lines import Refused
from bench.peers.installed import version_of
from bench.registry.scene import BUCKET, Scene

FLIPS, PEER_FLIPS = 200, 25
# Some of them in what says what the model is, of which there are far fewer bytes.
_IN_RECORDS = 20


def flips(scene: Scene, version: str) -> None:
    """The small model of this name has a store of its own, so that all that is in it belongs to it."""
    url, root = f"s3://{BUCKET}/flipped", scene.bucket / "flipped"
    _, pushed = scene.ours.ask("push", url=url, folder=str(scene.home / version), like=[])
    draw = random.Random(7)
    rejected = 0
    for number in range(FLIPS):
        kinds = ("manifests", "indexes") if number < _IN_RECORDS else ("objects", "packs")
        files = [path for kind in kinds for path in (root / kind).rglob("*") if path.is_file()]
        path, offset = _somewhere(draw, files)
        scene.origin.flip(path, offset)
        with scene.scratch() as folder:
            try:
                scene.ours.ask("pull", url=url, digest=pushed["digest"], to=str(folder / "out"))
            except Refused as error:
                rejected += str(error).startswith("Damaged") and not (folder / "out" / "model.safetensors").exists()
    scene.origin.reset()
    with scene.scratch() as folder:  # and what nobody flips is taken
        scene.ours.ask("pull", url=url, digest=pushed["digest"], to=str(folder / "out"))
    scene.report(f"a bit of {pushed['size'] / 1e6:.0f} MB flipped by the origin ({FLIPS} times)",
                 f"{rejected} rejected", f"{FLIPS} rejected", rejected == FLIPS)  # fmt: skip
    if scene.theirs is not None:
        _boto3(scene, version, draw)


def _boto3(scene: Scene, version: str, draw: random.Random) -> None:
    assert scene.theirs is not None
    path = scene.bucket / "peers" / "small.safetensors"
    path.symlink_to(scene.home / version / "model.safetensors")
    accepted = 0
    for _ in range(PEER_FLIPS):
        scene.origin.flip(*_somewhere(draw, [path]))
        with scene.scratch() as folder:
            try:
                scene.theirs.ask(
                    "boto3_and_sha256", bucket=BUCKET, key=str(path.relative_to(scene.bucket)), to=str(folder / "out")
                )
                accepted += 1
            except Refused:
                pass
    scene.origin.reset()
    scene.tell(f"… {version_of('boto3')} ({PEER_FLIPS} times)", f"{accepted} accepted")


def _somewhere(draw: random.Random, files: list[Path]) -> tuple[Path, int]:
    """A byte of these files, each as likely as another."""
    sizes = [path.stat().st_size for path in files]
    path, size = draw.choices(list(zip(files, sizes, strict=True)), sizes)[0]
    return path, draw.randrange(size)
