"""A control process of its own, to be killed: ``python control.py HOME OPTIONS REPLICAS GPUS`` converges one
model on the test worker (so many GPUs an instance), says ``ready ID...`` when its instances are, releases it
with the grace that it reads from stdin, and otherwise waits."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from modelyard.backends.local import LocalBackend
from modelyard.domain.model import ModelRef
from modelyard.domain.spec import Resources
from modelyard.settings import Settings
from tests.backends.specs import member, worker_spec
from tests.backends.waiting import ready

WORKER = (sys.executable, str(Path(__file__).with_name("worker.py")))


async def main(home: str, options: str, replicas: str, gpus: str) -> None:
    backend = LocalBackend(Settings(home=Path(home)), worker=WORKER)
    ref = ModelRef("u1", "default", "digits")
    await backend.open()
    spec = replace(worker_spec(**json.loads(options)), resources=Resources(gpus=int(gpus)))
    await backend.converge(ref, member(spec, int(replicas)), 5)
    if "load" not in json.loads(options):
        instances = await ready(backend, ref, int(replicas))
        print("ready", *(i.id for i in instances), flush=True)
    else:
        print("converged", *(i.id for i in (await backend.observe(ref)).instances), flush=True)
    grace = await asyncio.to_thread(sys.stdin.readline)
    await backend.release(ref, float(grace))
    print("releasing", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
