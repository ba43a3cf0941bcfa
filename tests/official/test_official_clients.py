"""The clients that others wrote, unchanged, against a whole Modelyard.

They stand in an environment of their own (.venv/clients, which `make test` makes): KServe's wants an older psutil
than Modelyard does, Triton's an older protobuf, and the two cannot be imported together.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.yard import Yard

PYTHON = Path(__file__).parents[2] / ".venv/clients/bin/python"

SIMPLE = """
import time
import numpy as np

class Model:
    inputs = [{"name": f"INPUT{n}", "datatype": "INT32", "shape": [-1, 2]} for n in range(2)]
    outputs = [{"name": f"OUTPUT{n}", "datatype": "INT32", "shape": [-1, 2]} for n in range(2)]

    def predict(self, inputs, parameters):
        time.sleep(float(parameters.get("sleep", 0)))
        first, second = inputs["INPUT0"], inputs["INPUT1"]
        return {"OUTPUT0": first + second, "OUTPUT1": first - second}
"""
ECHO = """
class Model:
    def predict(self, inputs):
        return inputs
"""
ROWS = """
class Model:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]

    def predict(self, inputs):
        return {"y": inputs["x"].sum(axis=1)}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its addresses and its token, as JSON."""
    assert PYTHON.exists(), "The official clients are not installed: run `make test` once."
    yard = Yard(environment={"MODELYARD_GRPC_PORT": "0"})
    try:
        yard.ok("up", "--detach")
        specs = []
        for name, code in (("simple", SIMPLE), ("echo", ECHO), ("rows", ROWS)):
            folder = tmp_path_factory.mktemp(name)
            (folder / "model.py").write_text(code)
            spec = {"engine": "python", "source": str(folder), "trusted": True, "limits": {"max_body": "16Mi"}}
            specs.append(json.dumps({"name": name, "spec": spec}))
        yard.ok("apply", "-f", "-", stdin="\n---\n".join(specs))
        gateway = json.loads((yard.home / "run/gateway.json").read_text())
        token = (yard.home / "admin.token").read_text().strip()
        yield json.dumps(
            {"http": f"127.0.0.1:{gateway['port']}", "grpc": f"127.0.0.1:{gateway['grpc_port']}", "token": token}
        )
    finally:
        yard.close()


@pytest.mark.parametrize("name", ["triton_http", "triton_grpc", "kserve_clients"])
def test_the_checks_of_a_client_pass(server, name):
    script = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([PYTHON, script, server], text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = re.findall(r"^(?:async )?def ([a-z]\w+)", script.read_text(), re.MULTILINE)
    assert re.findall(r"^passed (\w+)", done.stdout, re.MULTILINE) == checks
