"""A Modelyard behind a certificate: its own command line knows it by that, and nothing else trusts it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

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
    assert secured.json("list") == []
    with pytest.raises(httpx2.ConnectError, match="certificate"):
        httpx2.get(f"https://127.0.0.1:{secured.port}/v2")
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://127.0.0.1:{secured.port}/v2")
