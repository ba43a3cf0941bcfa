"""The bundled samples: small real models, trained on this machine when somebody first wants them."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from modelyard.demo import ABOUT, MEMORY, SAMPLES
from modelyard.domain.errors import NotFound, Unavailable

log = logging.getLogger("modelyard.control.samples")


class NotTrained(Unavailable):
    """The samples could not be trained. The server's log says why."""

    code = "not_trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    name: str
    description: str
    path: Path
    memory: str


class Samples:
    """Those of :mod:`modelyard.demo`, laid down in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._training = asyncio.Lock()

    def all(self) -> list[Sample]:
        return [
            Sample(name=name, description=about, path=self._folder / name / file, memory=MEMORY)
            for name, (file, about) in SAMPLES.items()
        ]

    async def have(self, name: str) -> Sample:
        """The sample with its file in place; the first time that takes seconds.

        Raises:
            NotFound: there is none of that name.
            NotTrained: its file could not be made.
        """
        sample = next((one for one in self.all() if one.name == name), None)
        if sample is None:
            raise NotFound(f"There is no sample {name!r}: there are {', '.join(SAMPLES)}.")
        async with self._training:
            # Written last: with it the folder is whole.
            if not await asyncio.to_thread((sample.path.parent / ABOUT).exists):
                await self._train()
        return sample

    async def _train(self) -> None:
        """In a process of its own: what it imports would stay in this one for good."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "modelyard.demo", str(self._folder),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.error("The samples could not be trained: %s", output.decode(errors="replace")[-2000:])
            raise NotTrained
