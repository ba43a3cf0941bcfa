"""Several control processes on one PostgreSQL: one drives a home, and another takes over when it dies or hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from modelyard.supervisor.processes import (
    Identity,
    instance_processes,
    read_record,
    recorded,
    service_processes,
)
from tests.cli.yard import Yard, eventually
from tests.faults.load import load

# What the issue calls "within seconds".
PATIENCE = 10.0


def made(postgres_url: str, controls: int) -> Yard:
    environment = {"MODELYARD_DATABASE_URL": postgres_url, "MODELYARD_CONTROL_PROCESSES": str(controls)}
    return Yard(environment=environment)


@pytest.fixture
def yard(postgres_url: str) -> Iterator[Yard]:
    """Two control processes in one home, and a model."""
    found = made(postgres_url, 2)
    try:
        found.ok("up", "--detach")
        eventually(lambda: len(controls(found)) == 2 and active(found), "two control processes, of which one drives")
        found.ok("deploy", "m", "--engine", "mock")
        yield found
    finally:
        found.close()


def controls(yard: Yard) -> list[Identity]:
    return service_processes(yard.home, "control")


def active(yard: Yard) -> Identity | None:
    """The control process that drives the home."""
    return recorded(read_record(yard.home / "run" / "control.lock"))


def driving(yard: Yard) -> Identity:
    found = active(yard)
    assert found is not None
    return found


def launches(yard: Yard, model: str = "m") -> int:
    """How many instances of it there ever were: each has a log."""
    return len(list((yard.home / "logs" / "instances" / "default" / model).glob("*/*.log")))


def pids(yard: Yard, model: str = "m") -> list[int]:
    return [instance["pid"] for instance in yard.json("status", model)["instances"]]


def sites(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, home, token, down, holder FROM sites ORDER BY home").fetchall()


def test_of_two_processes_one_acts_and_both_answer(yard: Yard) -> None:
    yard.ok("deploy", "n", "--engine", "mock")
    for _ in range(3):
        yard.ok("stop", "n")
        yard.ok("start", "n")
    assert (launches(yard), launches(yard, "n")) == (1, 4)
    assert len(instance_processes(yard.home)) == 2
    assert sum("Driving the site" in log.read_text() for log in (yard.home / "logs").glob("control*.log")) == 1


def test_a_killed_one_is_followed_within_seconds_and_no_request_fails(yard: Yard) -> None:
    before, victim = pids(yard), driving(yard)
    with load(yard, "m") as outcomes:
        outcomes.wait_for_more()
        begun = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: active(yard) not in (None, victim), "another one drives", PATIENCE)
        taken = time.monotonic() - begun
        # It drives: what is asked is done, whoever of the two is asked.
        eventually(lambda: yard.run("deploy", "n", "--engine", "mock").returncode == 0, "a deploy", PATIENCE)
        worked = time.monotonic() - begun
        outcomes.wait_for_more()
    print(f"\ntaken over after {taken:.2f} s, a deploy done after {worked:.2f} s")
    assert outcomes.bad == {}
    assert taken < PATIENCE
    assert pids(yard) == before
    assert launches(yard) == 1
    eventually(lambda: len(controls(yard)) == 2, "the dead one's successor stands by")
    yard.ok("stop", "m")


def test_one_that_hangs_is_killed_and_followed(yard: Yard) -> None:
    before, victim = pids(yard), driving(yard)
    with load(yard, "m", callers=2) as outcomes:
        outcomes.wait_for_more()
        begun = time.monotonic()
        os.kill(victim.pid, signal.SIGSTOP)
        eventually(lambda: active(yard) not in (None, victim), "another one drives", PATIENCE)
        taken = time.monotonic() - begun
        outcomes.wait_for_more()
    print(f"\ntaken over after {taken:.2f} s")
    assert outcomes.bad == {}
    assert not victim.is_alive, "it can do no more harm"
    assert taken < PATIENCE
    eventually(lambda: yard.run("status", "m").returncode == 0, "an answer")
    assert pids(yard) == before
    assert launches(yard) == 1


def test_a_standby_that_dies_changes_nothing(yard: Yard) -> None:
    before = driving(yard)
    (standby,) = [process for process in controls(yard) if process != before]
    os.kill(standby.pid, signal.SIGKILL)
    eventually(lambda: len(controls(yard)) == 2 and standby not in controls(yard), "another one stands by")
    assert driving(yard) == before
    yard.ok("stop", "m")


def test_down_ends_both_and_the_site_is_down_until_the_next_up(yard: Yard, postgres_url: str) -> None:
    yard.ok("down")
    assert yard.is_silent()
    assert [row[3] for row in sites(postgres_url)] == [True]
    yard.ok("up", "--detach")
    eventually(lambda: yard.state("m") == "running", "it runs again")
    assert [row[3] for row in sites(postgres_url)] == [False]


def test_two_homes_on_one_database_drive_what_is_theirs(postgres_url: str) -> None:
    one, two = made(postgres_url, 1), made(postgres_url, 1)
    try:
        for up in [found.begin("up", "--detach") for found in (one, two)]:
            assert up.wait(60) == 0
            assert up.stdout is not None
            up.stdout.close()
        one.ok("deploy", "of-one", "--engine", "mock")
        two.ok("deploy", "of-two", "--engine", "mock")
        assert [model["name"] for model in one.json("list")] == ["of-one", "of-two"], "every API shows all"
        assert [len(instance_processes(found.home)) for found in (one, two)] == [1, 1]
        assert (launches(one, "of-two"), launches(two, "of-one")) == (0, 0)
        # Whoever is asked, the one whose model it is does it.
        begun = time.monotonic()
        two.ok("stop", "of-one")
        print(f"\na stop through the other home's API took {time.monotonic() - begun:.2f} s")
        assert instance_processes(one.home) == []
        elsewhere = two.run("logs", "of-one")
        assert elsewhere.returncode != 0
        assert one.url in elsewhere.stderr
        two.ok("down")
        one.ok("start", "of-one")
        assert [bool(row[4]) for row in sites(postgres_url)] == [row[1] == str(one.home) for row in sites(postgres_url)]
    finally:
        one.close()
        two.close()


def test_models_of_a_machine_that_is_lost_can_be_taken_over_by_name(postgres_url: str) -> None:
    lost, kept = made(postgres_url, 1), made(postgres_url, 1)
    try:
        lost.ok("up", "--detach")
        kept.ok("up", "--detach")
        lost.ok("deploy", "m", "--engine", "mock")
        assert kept.ok("doctor") == "Nothing is out of place.\n"
        for name in ("supervisor", "control", "gateway"):
            for process in service_processes(lost.home, name):
                os.kill(process.pid, signal.SIGKILL)
        for process in instance_processes(lost.home):
            os.kill(process.pid, signal.SIGKILL)
        with psycopg.connect(postgres_url) as connection:
            then = "now() - interval '5 minutes'"
            where = f"WHERE home = '{lost.home}'"
            connection.execute(f"UPDATE sites SET seen_at = {then}, expires_at = {then} {where}")
        (site,) = [row[0] for row in sites(postgres_url) if row[1] == str(lost.home)]

        def status() -> Any:
            return kept.json("status", "m")

        eventually(lambda: "has not been heard of since" in status()["message"], "the status says so")
        assert [c["reason"] for c in status()["conditions"] if c["type"] == "SiteReachable"] == ["SiteSilent"]
        assert "has not been heard of since" in kept.json("list")[0]["status"]["message"]
        assert f"--site {site}" in kept.ok("doctor")
        left = kept.run("doctor", "--fix")
        assert left.returncode != 0
        assert "by name" in " ".join(left.stdout.split())
        assert kept.run("doctor", "--fix", "--site", "nowhere").returncode != 0
        assert "cleared" in kept.ok("doctor", "--fix", "--site", site)
        eventually(lambda: len(instance_processes(kept.home)) == 1 and kept.state("m") == "running", "it runs here")
        kept.ok("stop", "m")
        assert "SiteChanged" in [found["type"] for found in kept.json("events", "m")]
        assert kept.ok("doctor") == "Nothing is out of place.\n"
    finally:
        lost.close()
        kept.close()


def test_several_processes_on_sqlite_are_refused_with_what_to_do() -> None:
    found = Yard(environment={"MODELYARD_CONTROL_PROCESSES": "2"})
    try:
        refused = found.run("up", "--detach")
        assert refused.returncode == 2
        assert "control_processes: Several control processes need PostgreSQL" in refused.stderr
        assert "MODELYARD_DATABASE_URL" in refused.stderr
    finally:
        found.close()
