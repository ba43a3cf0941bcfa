"""How soon a server answers for the one model that matters, with ten large ones beside it: loaded progressively, alone,
and after all the others (``python -m bench.progressive FOLDER`` is that server, as one writes it by hand)."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.house import free_port

LARGE, LAYERS, WIDTH, ROUNDS = 10, 36, 1024, 7  # models of 36 matrices of 4 MiB
_THREADS = {"OMP_NUM_THREADS": "1"}

Report = Callable[[str, str, str, bool], None]


def progressive(report: Report) -> None:
    """From the start of the process to the first answer of digits, in turns, medians."""
    folder = Path(tempfile.mkdtemp(prefix="my-bench-", dir="/tmp"))
    try:
        subprocess.run([sys.executable, "-m", "modelyard.demo", str(folder / "demo")], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        models = folder / "models"
        models.mkdir()
        for number in range(LARGE):
            _write(models / f"large{number}.onnx", number)
        size = (models / "large0.onnx").stat().st_size / 1e6
        shutil.copy(folder / "demo" / "digits" / "model.onnx", models / "digits.onnx")
        sample = (folder / "demo" / "digits" / "sample.json").read_bytes()
        serve = ["-m", "modelyard.runtime", "serve", "--environment", "production", "--critical", "digits"]
        ways = {
            "alone": [*serve, str(models / "digits.onnx")],
            "progressive": [*serve, str(models)],
            "all first": ["-m", "bench.progressive", str(models)],
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, words in ways.items():
                took[way].append(_first_answer(words, sample))
        alone, ours, last = (statistics.median(took[way]) for way in ways)
        report(f"digits beside {LARGE} models of {size:.0f} MB, start to answer ({ROUNDS} rounds)",
               f"{ours * 1e3:.0f} ms, alone {alone * 1e3:.0f} ms: {ours / alone:.2f} x", "<= 1.1 x alone",
               ours <= 1.1 * alone)  # fmt: skip
        report("... against loading all of them first", f"{last * 1e3:.0f} ms: {last / ours:.1f} x sooner",
               ">= 5 x sooner", last >= 5 * ours)  # fmt: skip
    finally:
        shutil.rmtree(folder)


def _write(path: Path, seed: int) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(random.standard_normal((WIDTH, WIDTH), np.float32) / WIDTH**0.5, f"w{n}")
        for n in range(LAYERS)
    ]
    nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(LAYERS)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH]) for name in ("x0", f"x{LAYERS}")]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def _first_answer(words: list[str], sample: bytes) -> float:
    """Seconds from the start of the process."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words, "--port", str(port)], env={**kept, **_THREADS}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("POST", "/v2/models/digits/infer", sample)
                if connection.getresponse().status == 200:
                    return time.perf_counter() - began
            except (OSError, http.client.HTTPException):
                time.sleep(0.001)
            finally:
                connection.close()
        raise RuntimeError(f"the server has ended: {words}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def main(arguments: list[str]) -> None:
    """Load every model in a folder, then serve the one."""
    folder, port = Path(arguments[0]), int(arguments[2])
    import uvicorn

    from modelyard.runtime import engines
    from modelyard.runtime.engines.base import LoadOptions
    from modelyard.runtime.http import create_app

    others = [
        engines.load("onnx", LoadOptions(path)) for path in sorted(folder.glob("*.onnx")) if path.stem != "digits"
    ]
    app = create_app(folder / "digits.onnx")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    del others


if __name__ == "__main__":
    main(sys.argv[1:])
