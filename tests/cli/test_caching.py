"""The cache on the command line and in the SDK, with a real Modelyard: seen, pinned, laid out ahead, made smaller."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.caching import why_kept
from modelyard.cli.differing import SHOWN
from modelyard.client import AsyncModelyard, Evicted, Modelyard, NotFound
from modelyard.client.cache_types import CachedVersion, KeptFolder
from tests.cli.test_push import factor_of, pushed
from tests.cli.yard import Yard, eventually
from tests.registry.content.making import checkpoint, tensors


def folder_of(yard: Yard, reference: str) -> Any:
    manifest = yard.json("registry", "show", reference)["manifest"]
    found = [f for f in yard.json("cache")["folders"] if f["manifest"] == manifest]
    return found[0] if found else {}


def test_what_is_preloaded_is_there_before_it_is_deployed_and_seen_in_the_table(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "ahead", v1_0_0=31)
    yard.ok("alias", "set", "ahead", "stable", "1.0.0")
    said = yard.ok("cache", "preload", "ahead@stable", "--reason", "for the evening")
    assert re.match(r"ahead@stable \(now 1\.0\.0\) is (being )?laid out, and stays in the cache\n", said)
    eventually(lambda: folder_of(yard, "ahead@1.0.0"), "it is laid out")
    before = yard.json("cache")
    yard.ok("deploy", "from-ahead", "ahead@stable")
    assert factor_of(yard, "from-ahead") == 31
    after = yard.json("cache")
    assert (after["hits"], after["misses"]) == (before["hits"] + 1, before["misses"])
    shown = yard.ok("cache")
    assert re.search(
        r"^ahead@1\.0\.0 +tensors +\S+ \w+ +\S+ \w+ +\d+\w +model default/from-ahead, preload default/ahead@stable$",
        shown, re.M,
    )  # fmt: skip
    assert re.search(r"^default/ahead@stable +1\.0\.0 +preload +there +admin +for the evening$", shown, re.M)
    yard.ok("delete", "from-ahead", "--yes")
    assert yard.ok("cache", "preload", "ahead@stable", "--remove") == "ahead@stable is no longer laid out ahead\n"
    assert "ahead@stable" not in yard.ok("cache")


def test_a_model_that_follows_a_preloaded_alias_finds_the_new_version_there(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "rolled", v1_0_0=41)
    yard.ok("cache", "preload", "rolled@^1")
    yard.ok("deploy", "rolls", "rolled@^1", "--follow", "auto")
    before = yard.json("cache")
    pushed(yard, tmp_path, "rolled", v1_1_0=42)
    eventually(lambda: yard.json("status", "rolls")["artifact"]["version"] == "1.1.0", "it follows")
    eventually(lambda: yard.state("rolls") == "running", "the update is done")
    after = yard.json("cache")
    assert (after["hits"] > before["hits"], after["misses"]) == (True, before["misses"])
    assert factor_of(yard, "rolls") == 42
    yard.ok("cache", "preload", "rolled@^1", "--remove")
    yard.ok("delete", "rolls", "--yes")


def test_what_is_pinned_outlives_a_cleanup(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "tight", v1_0_0=51)
    yard.ok("cache", "preload", "tight@1.0.0")
    folder = eventually(lambda: folder_of(yard, "tight@1.0.0"), "it is laid out")
    assert yard.ok("cache", "pin", "tight@^1") == "tight@^1 (now 1.0.0) stays in the cache\n"
    yard.ok("cache", "preload", "tight@1.0.0", "--remove")
    os.utime(yard.home / "cache" / "laid" / f"{folder['manifest'][7:]}.{folder['layout']}", (0, 0))
    assert "; no limit is set (--max-size-gb, or MODELYARD_CACHE_SIZE)" in yard.ok("cleanup")
    yard.ok("cleanup", "--max-size-gb", "0")
    assert folder_of(yard, "tight@1.0.0")["pinned"] == ["default/tight@^1"]
    assert yard.ok("cache", "unpin", "tight@^1") == "tight@^1 is no longer pinned\n"


def test_what_is_in_the_way_of_a_smaller_cache_is_said_a_line_each() -> None:
    versions = [
        CachedVersion(namespace="default", name="pat", version=v, deleted=v == "1.0.0") for v in ("1.0.0", "2.0.0")
    ]
    kept = [
        KeptFolder(manifest="sha256:" + "0" * 64, layout="exact", size=2000, reason="pinned", versions=versions),
        KeptFolder(manifest="sha256:" + "ab" * 32, layout="exact", size=10, reason="in_use"),
    ]  # fmt: skip
    assert why_kept(Evicted(removed=0, freed=0, size=2010, folders=2, limit=10, over=2000, kept=kept)).splitlines() == [
        "That is 1.95 KiB more than it was to be:",
        "  pat@1.0.0 (deleted), pat@2.0.0 (1.95 KiB) stays: pinned",
        "  abababababab (10 B) stays: in use",
    ]


def test_what_cannot_be_pinned_is_said_with_what_there_is(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "unpinned", v1_0_0=1)
    refused = yard.run("cache", "pin", "unpinned@^2")
    assert (refused.returncode, "the latest version is 1.0.0" in refused.stderr) == (3, True)
    assert yard.run("cache", "unpin", "unpinned").returncode == 3
    made = yard.json("cache", "pin", "unpinned")
    assert (made["reference"], made["version"]) == ("unpinned@latest", "1.0.0")
    yard.ok("registry", "delete", "unpinned", "-y", "--grace", "0s")
    assert re.search(r"^default/unpinned@latest +- +pin +means nothing now", yard.ok("cache"), re.M)
    yard.ok("cache", "unpin", "unpinned")


def test_a_diff_of_a_thousand_tensors_fits_on_a_screen(yard: Yard, tmp_path: Path) -> None:
    old = tensors(count=1000, size=64)
    new = {name: value + 1 if number % 2 else value for number, (name, value) in enumerate(old.items())}
    new["head"] = np.zeros((3, 4), np.float16)
    for number, content in (("1.0.0", old), ("1.1.0", new)):
        checkpoint(tmp_path / number / "model.safetensors", content)
        yard.ok("push", str(tmp_path / number), f"wide@{number}")
    told = yard.ok("registry", "diff", "wide", "1.0.0")
    assert re.search(r"^To fetch +\S+ KiB \(\d+\.\d %\), where the first is already$", told, re.M)
    assert "Tensors of model.safetensors: 500 changed, 1 added, 500 the same\n" in told
    assert re.search(r"^layer\.1 +other values +F32 64 +the same shape +256 B$", told, re.M)
    assert re.search(r"^head +added +- +F16 3×4 +24 B$", told, re.M)
    assert f"… and {500 - SHOWN} more" in told
    assert len(told.splitlines()) < 50
    assert yard.ok("diff", "wide@1.0.0", "wide@1.1.0") == yard.ok("diff", "wide@1.0.0", "latest") == told
    for wrong in (
        ("diff", "wide@1.0.0", "other@1.0.0"),
        ("diff", "wide@1.0.0", "1.0.0", "1.1.0"),
        ("diff", "wide", "x"),
    ):
        assert yard.run(*wrong).returncode == 2
    content = yard.json("registry", "diff", "wide", "1.0.0")["content"]
    assert [t["changed"]["count"] for t in content["tensors"]["items"]] == [500]


async def test_the_sdk_pins_and_sees_the_cache(yard: Yard, tmp_path: Path) -> None:
    pushed(yard, tmp_path, "sdk-cached", v1_0_0=61)
    with Modelyard(home=yard.home) as client:
        made = client.cache.pin("sdk-cached", "1.0.0", reason="kept")
        assert (made.reference, made.version, made.preload, made.reason) == ("sdk-cached@1.0.0", "1.0.0", False, "kept")
        found = client.cache.get()
        assert made.reference in [pin.reference for pin in found.pins]
        assert found.path == str(yard.home / "cache")
        diff = client.registry.diff("sdk-cached", "1.0.0", "1.0.0", limit=0)
        assert diff.content is not None
        assert (diff.content.fetch, diff.content.same) == (0, 2)
        client.cache.unpin("sdk-cached", "1.0.0")
    async with AsyncModelyard(home=yard.home) as client_:
        await client_.cache.pin("sdk-cached", preload=True)
        assert any(pin.reference == "sdk-cached@latest" for pin in (await client_.cache.get()).pins)
        await client_.cache.unpin("sdk-cached", preload=True)
        with pytest.raises(NotFound):
            await client_.cache.unpin("sdk-cached", preload=True)
