"""The commands on what models share, on a machine that says it has two GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from modelyard.settings import Settings
from tests.cli.yard import Yard, eventually


@pytest.fixture(scope="module")
def gpus() -> Iterator[Yard]:
    made = Yard(environment={"MODELYARD_DEVICES": "gpu:2"})
    try:
        made.ok("up", "--detach")
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def nothing_runs(gpus: Yard) -> None:
    gpus.ok("stop", "--all", "--all-namespaces", "--force")


def deploy(gpus: Yard, name: str, count: int, *options: str) -> None:
    """Anew, holding as many devices."""
    gpus.run("delete", name, "--yes", "--force")
    gpus.ok("deploy", name, "--engine", "mock", "--gpus", str(count), *options)


def test_what_does_not_fit_is_listed_with_its_place_and_the_reason(gpus: Yard) -> None:
    deploy(gpus, "holder", 2)
    deploy(gpus, "later", 1, "--no-wait")
    deploy(gpus, "first", 1, "--no-wait", "--priority", "5")
    eventually(lambda: gpus.state("first") == gpus.state("later") == "queued", "both wait")
    listed = gpus.ok("list")
    assert re.search(r"holder +running +1/1 +mock +0, 1 ", listed)
    assert re.search(r"first +queued +0/1 .* place 1: 1 GPU needed, 0 free of 2; held by holder\n", listed)
    assert re.search(r"later +queued +0/1 .* place 2: ", listed)
    assert re.search(r"Waiting +place 1 in the queue, since \d+s\n", gpus.ok("status", "first"))
    shown = gpus.ok("capacity")
    assert re.search(r"GPUs +2 +2 +0\n", shown)
    assert re.search(r"\n0 +gpu .*default/holder .*\n1 +gpu .*default/holder ", shown)
    assert re.search(r"\n1 +default/first +5 +1 GPU +\d+s +1 GPU needed.*\n2 +default/later ", shown)


def test_a_dry_run_says_what_would_have_to_stop_and_starts_nothing(gpus: Yard) -> None:
    deploy(gpus, "one", 1)
    fits = gpus.ok("deploy", "new", "--engine", "mock", "--gpus", "1", "--dry-run")
    assert fits.startswith("new would fit\nNeeds  1 GPU\n")
    waits = gpus.ok("deploy", "new", "--engine", "mock", "--gpus", "2", "--dry-run")
    assert "new would wait: it does not fit now" in waits
    assert re.search(r"To fit +one would have to stop\n", waits)
    manifest = "name: new\nspec: {engine: mock, resources: {gpus: 2}, preempt: lower-priority, priority: 9}\n"
    assert re.search(r"Preempts +one\n", gpus.run("apply", "--dry-run", "-f", "-", stdin=manifest).stdout)
    deploy(gpus, "two", 2, "--stopped")
    assert gpus.json("start", "two", "--dry-run")["must_stop"] == [{"namespace": "default", "name": "one"}]
    assert gpus.state("two") == "stopped"
    assert gpus.run("status", "new").returncode == 3


def test_several_models_are_stopped_by_one_command_and_each_result_is_told(gpus: Yard) -> None:
    for name, label in (("s1", "team=x"), ("s2", "team=x"), ("s3", "team=y")):
        deploy(gpus, name, 0, "--label", label)
    done = gpus.run("stop", "s1", "nobody", "s3")
    assert done.returncode == 3
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["s1 is stopped", "s3 is stopped"]
    assert "Error: nobody: There is no model 'nobody'" in done.stderr
    assert "s2 is stopped: 1 instance" in gpus.ok("stop", "--label", "team=x")
    answers = gpus.json("stop", "--all", "--reason", "night")
    assert {a["operation"]["state"] for a in answers if a["name"].startswith("s")} == {"succeeded"}
    for wrong in ((), ("s1", "--all"), ("--all", "--label", "a=b")):
        assert gpus.run("stop", *wrong).returncode == 2


def test_a_namespace_has_a_quota_that_is_shown_with_what_is_held_of_it(gpus: Yard) -> None:
    gpus.ok("namespace", "create", "vision", "--gpus", "1", "--memory", "8Gi", "--description", "eyes")
    deploy(gpus, "eye", 1, "-n", "vision", "--memory", "1Gi")
    assert re.search(r"vision +1 of 1 +1 GiB of 8 GiB +0 +eyes\n", gpus.ok("namespace", "list"))
    refused = gpus.run("deploy", "eyes", "-n", "vision", "--engine", "mock", "--gpus", "2", "--memory", "1Gi")
    assert refused.returncode == 7
    assert "--gpus  One instance needs more than the whole quota" in refused.stderr
    assert re.search(
        r"vision +1 +1 GiB of 8 GiB +0 of 2 ", gpus.ok("namespace", "set", "vision", "--gpus", "none", "--cpu", "2")
    )
    assert gpus.run("namespace", "set", "vision").returncode == 2
    assert gpus.run("namespace", "set", "vision", "--gpus", "many").returncode == 2
    assert gpus.run("namespace", "delete", "vision").returncode == 4
    gpus.ok("delete", "eye", "-n", "vision", "--yes", "--force")
    assert gpus.ok("namespace", "delete", "vision") == "vision is deleted\n"


def test_the_doctor_shows_what_it_finds_and_clears_it_when_told_to(gpus: Yard) -> None:
    assert gpus.ok("doctor") == "Nothing is out of place.\n"
    stray = Settings(home=gpus.home).instances_dir / "stray"
    stray.mkdir()
    found = gpus.ok("doctor")
    assert re.search(r"folder +stray +", found)
    assert "modelyard doctor --fix" in found
    assert re.search(r"folder +stray +cleared ", gpus.ok("doctor", "--fix"))
    assert not stray.exists()


def test_the_doctor_of_a_modelyard_that_does_not_run_says_so(own: Yard) -> None:
    done = own.run("doctor")
    assert done.returncode == 5
    assert "modelyard up" in done.stderr
    assert "only it knows what belongs to what" in done.stderr
