"""The registry's commands and SDK against a real Modelyard."""

from __future__ import annotations

import re

import pytest

from modelyard.client import AsyncModelyard, InvalidRequest, Modelyard, NotFound, Refused, VersionConflict
from tests.cli.yard import Yard
from tests.registry.stored import digest, stored

DIGEST = digest(1)


@pytest.fixture(autouse=True)
def _contents(yard: Yard) -> None:
    for number in (1, 2):
        stored(yard.home, number)


def publish(yard: Yard, name: str, *numbers: str, manifest: str = DIGEST, **metadata: object) -> None:
    with Modelyard(home=yard.home) as client:
        for number in numbers:
            client.registry.publish(name, number, manifest=manifest, **metadata)


def test_a_model_is_registered_listed_and_shown(yard: Yard) -> None:
    said = yard.ok("register", "reads", "--description", "Reads digits.", "--series", "mnist", "--label", "a=b")
    assert said == "reads is registered\n"
    again = yard.run("register", "reads")
    assert again.returncode == 4
    assert "apply" not in again.stderr
    wrong = yard.run("register", "Reads", "--series", "A B", "--licence", "x" * 300)
    assert wrong.returncode == 7
    assert re.findall(r"^  (\S+)  ", wrong.stderr, re.MULTILINE) == ["--series", "--licence", "NAME"]
    assert "No version is published yet." in yard.ok("registry", "show", "reads")
    publish(yard, "reads", "1.0.0", "1.1.0-rc.1", description="Better.", card="# Pat\n\nReads.", metrics={"f1": 0.75})
    listed = yard.ok("registry", "list", "--search", "DIGITS")
    assert re.search(r"NAME +LATEST +SERIES .*\nreads +1\.0\.0 +mnist +- +\w+ +Reads digits\.\n", listed)
    assert [m["name"] for m in yard.json("registry", "list", "--series", "mnist")] == ["reads"]
    assert "ModelRegistered  reads is registered." in yard.ok("events", "reads")
    assert "No registered models here" in yard.ok("registry", "list", "--framework", "nothing")
    shown = yard.ok("registry", "show", "reads")
    assert re.search(r"1\.1\.0-rc\.1 +- +- +[\d.]+ \w+ +1 +admin +\w+ +Better\.\n1\.0\.0 +latest ", shown)
    one = yard.ok("registry", "show", "reads@1.x")
    assert re.search(rf"Version +default/reads@1\.0\.0\n(.*\n)*Manifest +{DIGEST}\n(.*\n)*Metrics +f1=0\.75\n", one)
    assert "Reads." in one
    assert yard.json("registry", "show", "reads")["aliases"][0]["alias"] == "latest"
    missing = yard.run("registry", "show", "nobody")
    assert missing.returncode == 3
    assert "registry list" in missing.stderr
    assert [v["version"] for v in yard.json("registry", "versions", "reads", "--range", "^1")] == ["1.0.0"]


def test_versions_are_compared_deleted_and_restored(yard: Yard) -> None:
    yard.ok("register", "compared")
    publish(yard, "compared", "1.0.0", metrics={"f1": 0.5})
    publish(yard, "compared", "1.1.0", metrics={"f1": 0.75})
    told = yard.ok("registry", "diff", "compared", "1.0")
    assert re.search(r"From compared@1\.0\.0 to 1\.1\.0:\n\nFIELD .*\nmetrics\.f1 +0\.5 +0\.75\n", told)
    assert "nothing differs" in yard.ok("registry", "diff", "compared", "latest", "1.1.0")
    assert "give --yes" in yard.run("registry", "delete", "compared@1.1.0").stderr
    gone = yard.ok("registry", "delete", "compared@1.1.0", "-y", "--grace", "1h", "--reason", "wrong")
    assert "can be restored until" in gone
    assert yard.json("registry", "show", "compared")["latest"] == "1.0.0"
    assert "compared@1.1.0 is restored" in yard.ok("registry", "restore", "compared@1.1.0")
    yard.ok("registry", "delete", "compared", "-y")
    assert re.search(r"compared +.*deleted, until ", yard.ok("registry", "list", "--deleted"))
    assert yard.run("registry", "delete", "compared@1.1.0", "-y").returncode == 4
    assert "compared is restored" in yard.ok("registry", "restore", "compared")


def test_an_alias_is_set_listed_rolled_back_and_removed(yard: Yard) -> None:
    yard.ok("register", "aliased")
    publish(yard, "aliased", "1.0.0", "1.1.0")
    said = yard.ok("alias", "set", "aliased", "stable", "1.0.0", "--reason", "it works", "--expected", "none")
    assert said == "aliased@stable is now 1.0.0\n"
    conflict = yard.run("alias", "set", "aliased", "stable", "1.1.0", "--expected", "1.1.0")
    assert conflict.returncode == 4
    yard.ok("alias", "set", "aliased", "stable", "1.1.0", "--expected", "1.0.0")
    assert re.search(r"latest +1\.1\.0 .*\nstable +1\.1\.0 +\w+ +admin", yard.ok("alias", "list", "aliased"))
    assert "now 1.0.0" in yard.ok("alias", "rollback", "aliased", "stable", "--reason", "it lies")
    told = yard.ok("alias", "history", "aliased", "stable")
    assert re.search(r"3 +1\.1\.0 +1\.0\.0 .* rollback +admin +it lies\n2 +1\.0\.0 +1\.1\.0 .* move .*\n1 +- ", told)
    assert yard.run("alias", "set", "aliased", "latest", "1.0.0").returncode == 4
    assert yard.run("alias", "set", "aliased", "1.x", "1.0.0").returncode == 7
    assert "is removed" in yard.ok("alias", "remove", "aliased", "stable")
    assert "never had" in yard.ok("alias", "history", "aliased", "golden")


def test_the_sdk_drives_the_registry(yard: Yard) -> None:
    with Modelyard(home=yard.home) as client:
        shelf = client.registry
        model = shelf.register("sdk-r", description="a", labels={"k": "v"}, reason="test")
        assert shelf.describe("sdk-r", {"description": None, "task": "ocr"}, version=model.version).task == "ocr"
        with pytest.raises(VersionConflict):
            shelf.describe("sdk-r", {"task": ""}, version=model.version)
        version = shelf.publish("sdk-r", "1.0.0", manifest=DIGEST, framework={"name": "onnx"})
        assert (version.size, version.framework and version.framework.name, version.card) == ("1000", "onnx", "")
        assert shelf.publish("sdk-r", "1.0.0", manifest=DIGEST, framework={"name": "onnx"}) == version
        with pytest.raises(Refused) as refused:
            shelf.publish("sdk-r", "1.0.0", manifest=digest(2))
        assert refused.value.code == "version_exists"
        with pytest.raises(InvalidRequest):
            shelf.publish("sdk-r", "1.0", manifest=DIGEST)
        assert shelf.annotate("sdk-r", "1.0.0", {"metrics": {"f1": 1}}, edits=0).metrics == {"f1": 1.0}
        shelf.publish("sdk-r", "2.0.0", manifest=DIGEST)
        assert [v.version for v in shelf.versions("sdk-r", page_size=1)] == ["2.0.0", "1.0.0"]
        assert shelf.version("sdk-r", "1.0.0").edits == 1
        assert (shelf.resolve("sdk-r").version, shelf.resolve("sdk-r", "^1").version) == ("2.0.0", "1.0.0")
        assert {c.path for c in shelf.diff("sdk-r", "1.0.0").changes} == {"framework", "metrics.f1"}
        assert shelf.set_alias("sdk-r", "stable", "1.0.0", expected=None).moves == 1
        with pytest.raises(VersionConflict):
            shelf.set_alias("sdk-r", "stable", "2.0.0", expected=None)
        shelf.set_alias("sdk-r", "stable", "2.0.0", reason="new")
        assert shelf.roll_back_alias("sdk-r", "stable").version == shelf.alias("sdk-r", "stable").version == "1.0.0"
        moves = list(shelf.alias_history("sdk-r", "stable", page_size=2))
        assert [(m.before, m.after, m.kind) for m in moves] == [
            ("2.0.0", "1.0.0", "rollback"), ("1.0.0", "2.0.0", "move"), (None, "1.0.0", "move"),
        ]  # fmt: skip
        assert [a.alias for a in shelf.aliases("sdk-r")] == ["latest", "stable"]
        shelf.remove_alias("sdk-r", "stable")
        assert shelf.delete_version("sdk-r", "2.0.0", grace="1h").deleted_at is not None
        assert shelf.restore_version("sdk-r", "2.0.0").deleted_at is None
        assert [m.name for m in shelf.list(label={"k": "v"}, framework="onnx")] == ["sdk-r"]
        assert shelf.delete("sdk-r", grace=3600).purge_at is not None
        assert "sdk-r" in [m.name for m in shelf.list(namespace="*", deleted=True)]
        assert shelf.restore("sdk-r").latest == "2.0.0"
        assert shelf.get("sdk-r").latest == "2.0.0"
        types = [event.type for event in client.events(model="sdk-r", page_size=100)]
        assert (types[0], types[-1]) == ("RegisteredModelRestored", "ModelRegistered")


async def test_the_async_client_drives_it_too(yard: Yard) -> None:
    async with AsyncModelyard(home=yard.home) as client:
        shelf = client.registry
        await shelf.register("asdk-r")
        await shelf.publish("asdk-r", "1.0.0", manifest=DIGEST)
        assert (await shelf.set_alias("asdk-r", "stable", "1.0.0")).version == "1.0.0"
        assert [v.version async for v in shelf.versions("asdk-r")] == ["1.0.0"]
        assert [m.after async for m in shelf.alias_history("asdk-r", "stable")] == ["1.0.0"]
        assert "asdk-r" in [m.name async for m in shelf.list(search="asdk")]
        with pytest.raises(Refused):
            await shelf.delete_version("asdk-r", "1.0.0")
        with pytest.raises(NotFound):
            await shelf.resolve("asdk-r", "^2")


def test_what_is_said_of_a_model_and_of_a_version_is_edited_and_the_rest_stays(yard: Yard) -> None:
    yard.ok("register", "edited", "--description", "old", "--label", "a=1", "--label", "b=2", "--task", "reading")
    publish(yard, "edited", "1.0.0", metrics={"f1": 0.5, "auc": 0.5})
    said = yard.ok("registry", "edit", "edited", "--description", "new", "--label", "a=", "--label", "c=3")
    assert said == "edited is changed: description, labels\n"
    model = yard.json("registry", "show", "edited")
    assert (model["description"], model["task"], model["labels"]) == ("new", "reading", {"b": "2", "c": "3"})
    assert "edited@1.0.0 is changed: metrics" in yard.ok(
        "registry", "edit", "edited@latest", "--metric", "f1=0.75", "--metric", "auc="
    )
    assert yard.json("registry", "show", "edited@1.0.0")["metrics"] == {"f1": 0.75}
    for wrong in (("edited", "--metric", "f1=1"), ("edited@1.0.0", "--series", "x"), ("edited",)):
        assert yard.run("registry", "edit", *wrong).returncode == 2
