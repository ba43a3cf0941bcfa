"""Which peers there are, in which versions, and how each is started."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_APPS = "bench.peers.serving.apps"
_ONNX = "onnxruntime==1.31.1"
_RAY = ("ray[serve,haproxy]==2.60.0", _ONNX)
# Otherwise it leaves them behind.
_RAY_FILES = {
    "RAY_TMPDIR": "{folder}", "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "{folder}/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "{folder}/admin.sock", "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "{folder}",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "{folder}/server-state",
}  # fmt: skip
_MLSERVER = ("mlserver==1.7.1", "uvloop<0.22", _ONNX)  # a newer uvloop hangs its workers
_KSERVE = ("kserve==0.21.0", _ONNX)
_FASTAPI = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.13.0", _ONNX)


@dataclass(frozen=True)
class Peer:
    """``environment`` names its virtual environment, which has ``pins``; ``package`` is the one whose version is told.
    ``is_server``: a product that serves models; otherwise written by hand, to compare with only. ``settings`` are for
    the process's environment; ``{folder}`` in them is one that is gone afterwards."""

    title: str
    environment: str
    package: str
    pins: tuple[str, ...]
    app: str
    workers: int = 1
    has_binary: bool = False
    is_server: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def command(self, python: Path, ports: tuple[int, int, int]) -> list[str]:
        """HTTP on the first port; the others are for what it insists on."""
        if self.app == "bentoml_app":
            return [
                str(python.with_name("bentoml")), "serve", f"{_APPS}.bentoml_app:Digits", "--host", "127.0.0.1",
                "--port", str(ports[0]),
            ]  # fmt: skip
        return [
            str(python), "-m", f"{_APPS}.{self.app}", str(ports[0]), str(self.workers), str(ports[1]), str(ports[2]),
        ]  # fmt: skip


PEERS = (
    Peer("Ray Serve, HAProxy (opt-in)", "ray", "ray", _RAY, "ray_app",
         settings={"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", **_RAY_FILES}),
    Peer("Ray Serve, default proxy", "ray", "ray", _RAY, "ray_app", settings=_RAY_FILES),
    Peer("PyTriton", "pytriton", "nvidia-pytriton", ("nvidia-pytriton==0.7.0", _ONNX), "pytriton_app", has_binary=True,
         # Its worker takes the system's libpython, whose release need not be that of the standard library here.
         settings={"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}),
    Peer("MLServer, in process", "mlserver", "mlserver", _MLSERVER, "mlserver_app", workers=0),
    Peer("MLServer, 1 worker (default)", "mlserver", "mlserver", _MLSERVER, "mlserver_app"),
    Peer("KServe's Python server, 1 worker", "kserve", "kserve", _KSERVE, "kserve_app", has_binary=True),
    Peer("KServe's Python server, 2 workers", "kserve", "kserve", _KSERVE, "kserve_app", workers=2, has_binary=True),
    Peer("LitServe", "litserve", "litserve", ("litserve==0.2.19", _ONNX), "litserve_app"),
    Peer("BentoML", "bentoml", "bentoml", ("bentoml==1.4.39", _ONNX), "bentoml_app"),
    Peer("FastAPI by hand, 1 worker", "fastapi", "fastapi", _FASTAPI, "fastapi_app", is_server=False),
    Peer("FastAPI by hand, 2 workers", "fastapi", "fastapi", _FASTAPI, "fastapi_app", workers=2, is_server=False),
)  # fmt: skip
