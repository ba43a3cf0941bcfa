"""A Modelyard behind a certificate: its own command line knows it by that, others are told of it."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.cli.test_readme import lines
from tests.cli.yard import Yard
from tests.gateway.test_front_door import certify


@pytest.fixture
def secured() -> Iterator[Yard]:
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    certify(folder, 7)
    found = Yard(
        environment={"MODELYARD_TLS_CERT": str(folder / "cert.pem"), "MODELYARD_TLS_KEY": str(folder / "key.pem")}
    )
    yield found
    found.close()
    shutil.rmtree(folder)


def test_the_command_line_talks_to_its_own_modelyard_over_tls(secured):
    assert f"https://127.0.0.1:{secured.port}" in secured.ok("up", "--detach")
    secured.ok("deploy", "digits", "--engine", "mock")
    sample = secured.home / "models" / "digits" / "sample.json"
    sample.parent.mkdir(parents=True)
    sample.write_text('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}')
    told = secured.ok("up", "--detach").split("\nTry\n")[1]
    asked = subprocess.run(next(lines(told)), shell=True, text=True, capture_output=True, check=True)
    assert json.loads(asked.stdout)["model_name"] == "digits"
    load = ("load-test", "digits", "--file", str(sample), "--duration", "1s", "--warm-up", "0s")
    assert "Errors" in secured.ok(*load)
    with pytest.raises(httpx2.ConnectError, match="certificate"):
        httpx2.get(f"https://127.0.0.1:{secured.port}/v2")

    elsewhere = Yard(environment={"MODELYARD_URL": f"https://localhost:{secured.port}", "MODELYARD_TOKEN": "none"})
    try:
        unknown = elsewhere.run("list")
        assert unknown.returncode == 5
        assert "is not trusted: self-signed certificate" in unknown.stderr
        assert "--ca FILE" in unknown.stderr
        certificate = secured.environment["MODELYARD_TLS_CERT"]
        assert elsewhere.run("list", "--ca", certificate).returncode == 4  # the token is wrong, the certificate right
        assert elsewhere.run("list", MODELYARD_CA_FILE=certificate).returncode == 4
    finally:
        shutil.rmtree(elsewhere.home)
