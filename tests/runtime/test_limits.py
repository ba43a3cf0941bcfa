"""Limits as they hold in real worker and command processes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.runtime.frames import Head

StartWorker = Callable[..., Any]
MIB = 2**20
LAUNCH = ("modelyard.runtime.launch",)


def namespaces_are_refused() -> bool:
    script = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10020000 if len(sys.argv) > 1 else 0x20000))"
    return all(subprocess.run([sys.executable, "-c", script, *more]).returncode for more in ([], ["user"]))


needs_namespaces = pytest.mark.skipif(
    namespaces_are_refused(), reason="this machine permits neither mount nor user namespaces"
)


async def infer(peer: Any, data: list[float]) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"inputs": [{"name": "x", "shape": [len(data)], "datatype": "FP64", "data": data}]}).encode()
    head, answer = await asyncio.wait_for(peer.request(Head(op="infer"), body), 60)
    return head.status, json.loads(bytes(answer))


async def test_memory_limit_is_enforced_on_requests_and_survived(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model(
        "import numpy as np\nclass Model:\n  def predict(self, inputs):\n"
        "    return {'sum': np.ones(int(inputs['x'][0]) * 2**17).sum()}\n"
    )
    worker = start_worker("python", source=str(folder), resources={"cpu": 1, "memory": 160 * MIB})
    peer = await worker.ready()
    assert resource.prlimit(worker.process.pid, resource.RLIMIT_DATA)[0] == 160 * MIB
    assert (await infer(peer, [8]))[0] == 200
    status, problem = await infer(peer, [400])
    assert (status, problem["code"]) == (500, "out_of_memory")
    assert "resources.memory" in problem["detail"]
    assert (await infer(peer, [8]))[0] == 200


async def test_model_that_does_not_fit_in_its_memory_fails_with_advice(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model(
        "import numpy as np\nclass Model:\n  def load(self, folder): self.w = np.ones(400 * 2**17)\n"
        "  def predict(self, i): return i\n"
    )
    worker = start_worker("python", source=str(folder), resources={"cpu": 1, "memory": 160 * MIB})
    assert await worker.wait() == 3
    assert (worker.failure["code"], worker.failure["permanent"]) == ("out_of_memory", True)
    assert "160 MiB: raise resources.memory" in worker.failure["message"]


@pytest.mark.parametrize("engine", ["mock", "onnx", "sklearn", "python"])
async def test_memory_below_what_the_engine_itself_takes_fails_at_once(start_worker: StartWorker, engine: str) -> None:
    worker = start_worker(engine, resources={"cpu": 1, "memory": 16 * MIB})
    assert await worker.wait() == 3
    assert worker.failure["code"] == "out_of_memory"
    assert "resources.memory is 16 MiB" in worker.log


@pytest.mark.parametrize(("engine", "source"), [("onnx", "digits/model.onnx"), ("sklearn", "wine/model.skops")])
async def test_the_least_memory_that_is_accepted_suffices(
    start_worker: StartWorker, demo: Path, engine: str, source: str
) -> None:
    from modelyard.runtime.engines import ENGINES

    memory = ENGINES[engine].minimum_memory * MIB
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    worker = start_worker(
        engine, source=str(demo / source), resources={"cpu": 1, "memory": memory}, environment=environment
    )
    await worker.ready()


async def test_mapped_weights_do_not_count_as_memory(start_worker: StartWorker, home: Path) -> None:
    """400 MiB of external weights under a limit of 128 MiB."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.zeros((100, 2**20), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "i"], ["row"])],
        "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, [None, 2**20])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, str(home / "m.onnx"), save_as_external_data=True, location="w.bin")
    worker = start_worker("onnx", source=str(home / "m.onnx"), resources={"cpu": 1, "memory": 128 * MIB})
    await worker.ready()
    assert "w.bin" in Path(f"/proc/{worker.process.pid}/maps").read_text()


async def test_files_are_raised_and_core_dumps_are_off(start_worker: StartWorker) -> None:
    worker = start_worker("mock")
    await worker.ready()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert resource.prlimit(worker.process.pid, resource.RLIMIT_CORE) == (0, 0)


async def test_working_dir_is_entered_or_the_reason_given(start_worker: StartWorker, home: Path) -> None:
    worker = start_worker("mock", working_dir=str(home))
    await worker.ready()
    assert Path(f"/proc/{worker.process.pid}/cwd").readlink() == home
    gone = start_worker("mock", working_dir=str(home / "gone"))
    assert await gone.wait() == 4
    assert gone.failure["code"] == "working_dir_unavailable"
    assert gone.log.splitlines()[-1] == gone.failure["message"]


SHM = (
    "import os, json\nclass Model:\n  def load(self, folder):\n    s = os.statvfs('/dev/shm')\n"
    "    open('/dev/shm/mine', 'w').close()\n    (folder / 'size').write_text(str(s.f_blocks * s.f_frsize))\n"
    "  def predict(self, i): return i\n"
)


@needs_namespaces
async def test_shared_memory_has_its_size_and_is_the_instances_own(
    start_worker: StartWorker, python_model: Callable[[str], Path]
) -> None:
    folder = python_model(SHM)
    worker = start_worker("python", source=str(folder), shared_memory=8 * MIB)
    await worker.ready()
    assert int((folder / "size").read_text()) == 8 * MIB
    assert not Path("/dev/shm/mine").exists()


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_shared_memory_works_for_an_ordinary_user(home: Path) -> None:
    """As nobody: the mount namespace then needs a user namespace around it."""
    home.chmod(0o755)
    script = (
        "import os, ctypes\n"
        "from modelyard.runtime import limits\n"  # first: nobody may be unable to read where it lies
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # PR_SET_DUMPABLE: as after an exec, /proc/self is one's own
        "limits.apply(memory=None, shared_memory=4 * 2**20, working_dir=None)\n"
        "s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize, os.getuid())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(4 * MIB), "65534"], done.stderr


def test_shared_memory_that_cannot_be_had_says_what_to_do() -> None:
    """A process that already has a second thread gets no user namespace; without privilege it needs one."""
    script = (
        "import ctypes, os, threading\n"
        "from modelyard.runtime import limits\n"
        "from modelyard.runtime.errors import LimitsFailure\n"
        "if os.geteuid() == 0:\n"
        "    ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)\n"  # PR_CAPBSET_DROP CAP_SYS_ADMIN
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "try:\n    limits.apply(memory=None, shared_memory=2**20, working_dir=None)\n"
        "except LimitsFailure as failure:\n    print(failure.code, failure.message, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("shared_memory_unavailable container.shared_memory needs"), done.stderr
    assert "leave container.shared_memory out" in done.stdout


# ------------------------------------------------------------------ the command engine's launcher


async def test_command_runs_under_its_limits_with_its_port(start_worker: StartWorker, home: Path) -> None:
    words = ["sh", "-c", "echo port $PORT arg $0; ulimit -d; ulimit -c; pwd; exec sleep 300", "{port}"]
    worker = start_worker(
        "command",
        module=LAUNCH,
        options={"command": words},
        environment={"PORT": "4711"},
        resources={"cpu": 1, "memory": 64 * MIB},
        working_dir=str(home),
    )
    while worker.log.count("\n") < 4:
        assert worker.process.poll() is None, worker.log
        await asyncio.sleep(0.005)
    assert worker.log.split("\n")[:4] == ["port 4711 arg 4711", str(64 * 1024), "0", str(home)]
    written = json.loads((worker.folder / "process.json").read_text())
    assert written == {"pid": worker.process.pid, "started": psutil.Process(worker.process.pid).create_time()}
    worker.process.terminate()
    assert await worker.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("fields", "code", "exit_code"),
    [
        ({"options": {"command": ["surely-not-a-program"], "port": 1}}, "command_not_found", 3),
        ({"options": {"command": ["/etc/hostname"], "port": 1}}, "command_not_runnable", 3),
        ({"options": {"command": ["true"]}}, "no_port", 3),
        ({"options": {"command": ["true"], "port": 1}, "working_dir": "/surely/gone"}, "working_dir_unavailable", 4),
    ],
)
async def test_command_that_cannot_be_run_says_why(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], code: str, exit_code: int
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    worker = start_worker("command", module=LAUNCH, **fields)
    assert await worker.wait() == exit_code
    assert worker.failure["code"] == code
    assert worker.log.splitlines()[-1] == worker.failure["message"]


def test_launcher_imports_no_library() -> None:
    script = (
        "import sys, modelyard.runtime.launch; print([m for m in sys.modules if m in ('numpy', 'msgspec', 'asyncio')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
