"""A Modelyard whose registered versions are in a bucket: the whole way, from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_push import factor_of, times
from tests.cli.yard import Yard
from tests.registry.content.bucketing import client, served_bucket


@pytest.fixture
def served() -> Iterator[dict[str, str]]:
    with served_bucket() as environment:
        yield environment


def test_versions_in_a_bucket_are_pushed_served_verified_mended_and_collected(
    own: Yard, served: dict[str, str], tmp_path: Path
) -> None:
    own.environment |= served | {"MODELYARD_REGISTRY_URL": "s3://models/yard"}
    own.ok("up", "--detach")
    own.ok("push", str(times(2, tmp_path / "2")), "factor@1.0.0", "--alias", "stable")
    own.ok("push", str(times(3, tmp_path / "3")), "factor@1.1.0")
    own.ok("deploy", "served", "factor@stable")
    assert factor_of(own, "served") == 2
    own.ok("pull", "factor@1.1.0", "--to", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.onnx").read_bytes() == (tmp_path / "3" / "model.onnx").read_bytes()
    assert not (own.home / "registry").exists()
    assert own.run("registry", "show", "factor").stdout.count(served["AWS_SECRET_ACCESS_KEY"]) == 0

    s3 = client(served)
    held = s3.list_objects_v2(Bucket="models", Prefix="yard/packs/")["Contents"]
    for found in held:
        body = bytearray(s3.get_object(Bucket="models", Key=found["Key"])["Body"].read())
        body[len(body) // 2] ^= 1
        s3.put_object(Bucket="models", Key=found["Key"], Body=bytes(body))
    assert own.run("verify", "factor@1.1.0").returncode == 1
    own.ok("push", str(tmp_path / "3"), "factor@1.1.0")
    own.ok("verify", "factor@1.1.0")

    own.ok("registry", "delete", "factor@1.1.0", "--yes")
    said = own.ok("gc", "--grace", "10m")
    assert re.search(r"^0 object\(s\) removed, 0 B freed; \d+ are in use, \d+ are too young to go", said)


def test_a_bucket_that_is_not_there_is_said_and_nothing_else_is_kept_from_work(
    own: Yard, served: dict[str, str], tmp_path: Path
) -> None:
    own.environment |= served | {"MODELYARD_REGISTRY_URL": "s3://nowhere/yard"}
    own.ok("up", "--detach")
    refused = own.run("push", str(times(2, tmp_path / "2")), "factor@1.0.0")
    assert "there is no such bucket: make it, or correct MODELYARD_REGISTRY_URL" in refused.stderr
    assert own.run("list").returncode == 0, "what is served from elsewhere goes on"


def test_one_store_is_set(own: Yard) -> None:
    both = {"MODELYARD_REGISTRY_URL": "s3://models", "MODELYARD_REGISTRY_PATH": "/tmp/store"}
    assert "MODELYARD_REGISTRY_URL or MODELYARD_REGISTRY_PATH, not both" in own.run("up", **both).stderr
    assert "MODELYARD_REGISTRY_URL is s3://bucket/prefix" in own.run("up", MODELYARD_REGISTRY_URL="http://a/b").stderr
