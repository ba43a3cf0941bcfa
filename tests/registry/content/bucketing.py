"""Buckets to test with: one in memory, whose requests can be watched and whose times a test sets, and S3's API served
on this machine."""

from __future__ import annotations

import base64
import contextlib
import hmac
import logging
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final

import boto3
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from modelyard.registry.content.buckets import Bucket

# What Azurite has, as its documentation says.
_ACCOUNT: Final = "devstoreaccount1"
_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

# Before each request: what it does, and to which path.
Watch = Callable[[str, str], object]


class Watched:
    """A bucket in memory with times of its own: those of ``clock``, if there is one."""

    def __init__(self, watch: Watch = lambda what, path: None, clock: Callable[[], float] | None = None) -> None:
        self._store, self._clock = MemoryStore(), clock
        self._times: dict[str, float] = {}
        self.watch = watch

    def get(self, path: str, **options: Any) -> Any:
        self.watch("get", path)
        return self._store.get(path, **options)

    def get_range(self, path: str, **options: Any) -> Any:
        self.watch("get", path)
        return self._store.get_range(path, **options)

    def head(self, path: str) -> Any:
        self.watch("head", path)
        return self._timed(self._store.head(path))

    def list(self, prefix: str | None, **options: Any) -> Iterator[Any]:
        self.watch("list", prefix or "")
        return ([self._timed(meta) for meta in page] for page in self._store.list(prefix, **options))

    def put(self, path: str, content: Any, **options: Any) -> None:
        self.watch("put", path)
        self._store.put(path, content, **options)
        if self._clock is not None:
            self._times[path] = self._clock()

    def delete(self, path: str) -> None:
        self.watch("delete", path)
        self._store.head(path)  # as Azure's API, it does not delete what is not there
        self._store.delete(path)

    def _timed(self, meta: Any) -> Any:
        if self._clock is not None:
            meta["last_modified"] = datetime.fromtimestamp(self._times[meta["path"]], UTC)
        return meta

    def paths(self) -> dict[str, float]:
        """All that is in it, with its times, without a request."""
        return {
            meta["path"]: self._timed(meta)["last_modified"].timestamp()
            for page in self._store.list() for meta in page
        }  # fmt: skip


def in_memory(**options: Any) -> Bucket:
    return Bucket(Watched(**options), "memory://test")  # type: ignore[arg-type]


@contextlib.contextmanager
def served_bucket(name: str = "models") -> Iterator[dict[str, str]]:
    """S3's API with an empty bucket; the environment by which it is found."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-in-any-message",
        }  # fmt: skip
        client(environment).create_bucket(Bucket=name)
        yield environment
    finally:
        server.stop()


@contextlib.contextmanager
def served_container(name: str = "models") -> Iterator[dict[str, str]]:
    """Azure's API with an empty container, by the Azurite that is installed (npm install -g azurite)."""
    with tempfile.TemporaryDirectory(prefix="my-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", folder]
        process = subprocess.Popen(
            ["azurite-blob", *options, "--blobPort", str(port)], stdout=subprocess.PIPE, text=True, cwd=folder
        )
        try:
            assert process.stdout is not None
            while "successfully listens" not in (line := process.stdout.readline()):
                assert line, "Azurite has ended"
            _make_container(port, name)
            yield {
                "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_ACCOUNT}", "AZURE_ALLOW_HTTP": "true",
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            }  # fmt: skip
        finally:
            process.terminate()
            process.communicate()


def _make_container(port: int, name: str) -> None:
    """Shared Key authorisation: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key"""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "\n".join(f"{key}:{value}" for key, value in headers.items())
    text = f"PUT{12 * chr(10)}{named}\n/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), text.encode(), "sha256")).decode()
    url = f"http://127.0.0.1:{port}/{_ACCOUNT}/{name}?restype=container"
    headers |= {"Authorization": f"SharedKey {_ACCOUNT}:{signature}"}
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)) as answer:
        assert answer.status == 201


def client(environment: dict[str, str]) -> Any:
    """boto3's, for what a store does not do itself."""
    return boto3.client(
        "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=environment["AWS_REGION"],
        aws_access_key_id="tester", aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
