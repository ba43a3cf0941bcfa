"""``up``, ``down`` and the supervisor: what starts, what survives a kill, and that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.supervisor.processes import Identity, instance_processes, service_processes
from tests.cli.yard import COMMAND, Yard, eventually


def alive(yard: Yard, name: str) -> Identity:
    process = yard.process(name)
    assert process is not None, f"the {name} process does not run"
    return process


def pid(yard: Yard, name: str) -> int | None:
    process = yard.process(name)
    return process.pid if process is not None else None


def instance_pids(yard: Yard, model: str) -> list[int]:
    return [instance["pid"] for instance in yard.json("status", model)["instances"]]


def kill(process: Identity) -> None:
    process.signal(signal.SIGKILL)
    eventually(lambda: not process.is_alive, "the killed process is gone")


def test_up_makes_a_private_home_and_down_leaves_nothing_running(own: Yard) -> None:
    out = own.ok("up", "--detach")
    assert f"{own.url}/docs" in out
    token = own.home / "admin.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 43
    for folder in (own.home, own.home / "run", own.home / "logs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    own.ok("deploy", "m", "--engine", "mock")
    assert instance_processes(own.home)
    assert "is down" in own.ok("down")
    assert own.is_silent()
    assert not list((own.home / "run").glob("*.json"))
    assert not list((own.home / "run").glob("*.sock"))
    assert "Nothing runs" in own.ok("down")


def test_what_ran_runs_again_after_down_and_up_and_what_was_stopped_stays_so(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "ran", "--engine", "mock")
    own.ok("deploy", "rested", "--engine", "mock")
    own.ok("stop", "rested")
    own.ok("down")
    own.ok("up", "--detach")
    eventually(lambda: own.state("ran") == "running", "the model runs again")
    assert own.state("rested") == "stopped"


def test_a_second_up_attaches_and_says_so(own: Yard) -> None:
    own.ok("up", "--detach")
    first = pid(own, "supervisor")
    assert "is running already" in own.ok("up", "--detach")
    assert pid(own, "supervisor") == first
    refused = own.run("up", "--detach", "--port", str(own.port + 1))
    assert refused.returncode == 4
    assert "modelyard down" in refused.stderr


def test_two_homes_run_side_by_side(own: Yard) -> None:
    other = Yard()
    try:
        own.ok("up", "--detach")
        other.ok("up", "--detach")
        own.ok("deploy", "mine", "--engine", "mock")
        assert [model["name"] for model in own.json("list")] == ["mine"]
        assert other.json("list") == []
        other.ok("down")
        assert own.state("mine") == "running"
    finally:
        other.close()


def test_a_port_in_use_is_named_with_how_to_choose_another(own: Yard) -> None:
    with socket.create_server(("127.0.0.1", own.port)):
        done = own.run("up", "--detach")
    assert done.returncode == 1
    assert f"Port {own.port} on 127.0.0.1 is in use" in done.stderr
    assert "--port" in done.stderr
    assert own.is_silent()


def test_a_home_that_cannot_be_written_is_named(own: Yard) -> None:
    blocked = own.home / "file"
    blocked.write_text("")
    done = own.run("up", "--detach", "--home", str(blocked / "home"))
    assert done.returncode == 1
    assert f"The home {blocked}/home cannot be used: Not a directory." in done.stderr
    assert "--home" in done.stderr


@pytest.mark.parametrize("token_exists", [False, True])
def test_a_full_disk_is_named_and_leaves_nothing_running(own: Yard, token_exists: bool) -> None:
    if token_exists:
        (own.home / "admin.token").write_text("t")
    # Nothing can be written any more: a full disk for those who may not mount a small one.
    words = shlex.join([*COMMAND, "up", "--detach"])
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 0; exec {words}"], env=own.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"The home {own.home} cannot be used: File too large." in done.stderr
    assert own.is_silent()


def test_settings_that_are_wrong_are_all_named(own: Yard) -> None:
    done = own.run("up", "--detach", MODELYARD_PORT="99999", MODELYARD_LOG_LEVEL="loud")
    assert done.returncode == 2
    assert "port: " in done.stderr
    assert "log_level: " in done.stderr


def test_a_flag_outranks_the_environment_and_that_the_toml_file(own: Yard) -> None:
    (own.home / "modelyard.toml").write_text('port = 1\nlog_level = "debug"\n')
    own.ok("up", "--detach")
    assert own.record()["port"] == own.port
    eventually(lambda: "DEBUG" in (own.home / "logs" / "control.log").read_text(), "the file's log level is used")


def test_a_public_address_is_refused_before_there_is_a_token(own: Yard) -> None:
    done = own.run("up", "--detach", "--host", "0.0.0.0")
    assert done.returncode == 4
    assert "MODELYARD_TOKEN" in done.stderr
    assert own.is_silent()


def test_a_token_of_the_environment_is_the_only_one(own: Yard) -> None:
    own.environment["MODELYARD_TOKEN"] = "of-my-own"
    own.ok("up", "--detach")
    assert not (own.home / "admin.token").exists()
    assert own.json("list") == []
    assert own.run("list", MODELYARD_TOKEN="another").returncode == 4


def test_a_control_process_that_cannot_start_is_reported_with_its_log(own: Yard) -> None:
    own.environment["MODELYARD_DATABASE_URL"] = "nonsense://"
    done = own.run("up", "--detach")
    assert done.returncode == 1
    assert "The control process cannot start" in done.stderr
    assert "control.log" in done.stderr
    assert own.is_silent()


@pytest.mark.parametrize("name", ["gateway", "control"])
def test_a_killed_service_is_back_at_once_and_the_model_is_the_same(own: Yard, name: str) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    workers, before = instance_pids(own, "m"), alive(own, name)
    kill(before)
    eventually(lambda: pid(own, name) not in (None, before.pid), f"the {name} process is started again")
    eventually(lambda: own.run("predict", "m", "--sample").returncode == 0, "the model answers")
    assert own.state("m") == "running"
    assert instance_pids(own, "m") == workers


def test_a_service_that_keeps_dying_is_restarted_with_growing_pauses(own: Yard) -> None:
    own.ok("up", "--detach")
    for _ in range(3):
        kill(alive(own, "gateway"))
        eventually(lambda: pid(own, "gateway"), "the gateway is started again")
    log = (own.home / "logs" / "supervisor.log").read_text()
    pauses = [float(line.split("again in ")[1].split()[0]) for line in log.splitlines() if "again in" in line]
    assert pauses == [0.0, 0.1, 0.2]


def test_a_killed_supervisor_leaves_all_running_and_the_next_up_adopts_them(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    gateway, control, workers = pid(own, "gateway"), pid(own, "control"), instance_pids(own, "m")
    kill(alive(own, "supervisor"))
    assert own.state("m") == "running"
    own.ok("up", "--detach")
    assert (pid(own, "gateway"), pid(own, "control")) == (gateway, control)
    assert instance_pids(own, "m") == workers
    # An adopted service is watched like a child.
    kill(alive(own, "gateway"))
    eventually(lambda: pid(own, "gateway") not in (None, gateway), "the adopted gateway is started again")
    eventually(lambda: own.run("predict", "m", "--sample").returncode == 0, "the model answers")
    own.ok("down")
    assert own.is_silent()


def test_after_a_kill_other_settings_replace_the_services_but_not_the_workers(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    control, workers = pid(own, "control"), instance_pids(own, "m")
    kill(alive(own, "supervisor"))
    own.environment["MODELYARD_LOG_LEVEL"] = "warning"
    own.ok("up", "--detach")
    assert pid(own, "control") not in (None, control)
    eventually(lambda: own.state("m") == "running", "the model is adopted")
    assert instance_pids(own, "m") == workers


def test_down_ends_what_a_killed_supervisor_has_left(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    kill(alive(own, "supervisor"))
    assert "is down" in own.ok("down")
    assert own.is_silent()


def test_down_ends_workers_when_everything_else_was_killed(own: Yard) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    for name in ("supervisor", "control", "gateway"):
        kill(alive(own, name))
    assert instance_processes(own.home)
    assert "is down" in own.ok("down")
    assert own.is_silent()


def forget(yard: Yard, *names: str) -> None:
    """As a supervisor leaves a home that is killed between starting a process and writing that down."""
    kill(alive(yard, "supervisor"))
    for name in names:
        (yard.home / "run" / name).unlink()


@pytest.mark.parametrize("lost", [["up.json"], ["up.json", "gateway.json", "control.json"]])
def test_services_that_were_never_written_down_are_adopted_all_the_same(own: Yard, lost: list[str]) -> None:
    own.ok("up", "--detach")
    own.ok("deploy", "m", "--engine", "mock")
    before = (pid(own, "gateway"), pid(own, "control"), instance_pids(own, "m"))
    forget(own, *lost)
    own.ok("up", "--detach")
    assert (pid(own, "gateway"), pid(own, "control"), instance_pids(own, "m")) == before
    assert own.ok("predict", "m", "--sample")


@pytest.mark.parametrize("lost", [["up.json"], ["up.json", "gateway.json", "control.json"]])
def test_down_finds_services_that_were_never_written_down(own: Yard, lost: list[str]) -> None:
    own.ok("up", "--detach")
    services = [alive(own, "gateway"), alive(own, "control")]
    forget(own, *lost)
    assert "is down" in own.ok("down")
    assert not any(process.is_alive for process in services)
    assert own.is_silent()


def test_the_gateways_own_record_tells_it_apart_for_good(own: Yard) -> None:
    own.ok("up", "--detach")
    read = json.loads((own.home / "run" / "gateway.json").read_text())
    gateway = alive(own, "gateway")
    assert (read["pid"], read["ticks"], read["boot"], read["port"]) == (
        gateway.pid, gateway.ticks, gateway.boot, own.port,
    )  # fmt: skip


def test_a_process_of_another_home_or_of_a_model_is_no_service_of_this_one(own: Yard) -> None:
    """A model may start what it likes with the environment that it was given."""
    words = [sys.executable, "-c", "import time; time.sleep(60)", "-m", "modelyard.gateway", "."]
    home = {"MODELYARD_HOME": str(own.home)}
    for environ, expected in (
        (home, True),
        ({**home, "MODELYARD_HOME_ID": "x"}, False),
        ({"MODELYARD_HOME": "/"}, False),
    ):
        with subprocess.Popen(words, env=environ) as process:
            found = [service.pid for service in service_processes(own.home, "gateway")]
            process.kill()
        assert (process.pid in found) is expected


def test_the_services_do_not_hold_the_pipe_that_tells_up_of_the_supervisors_end(own: Yard) -> None:
    with foreground(own) as up:
        for name in ("gateway", "control"):
            assert not pipes(up.pid) & pipes(alive(own, name).pid)
        kill(alive(own, "supervisor"))
        assert up.wait(30) == 1
        assert up.stdout is not None
        assert "The supervisor was killed" in up.stdout.read()


def pipes(pid: int) -> set[str]:
    targets = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return {target for target in targets if target.startswith("pipe:")}


def test_down_kills_what_does_not_end_within_the_timeout(own: Yard, tmp_path: Path) -> None:
    own.ok("up", "--detach")
    server = tmp_path / "server.py"
    server.write_text(
        "import signal, socket, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True: s.accept()[0].close()\n"
    )
    own.ok("deploy", "stubborn", "--command", f"python3 {server} {{port}}")
    begun = time.monotonic()
    own.ok("down", "--timeout", "1s")
    assert time.monotonic() - begun < 10
    assert own.is_silent()


@contextmanager
def foreground(yard: Yard) -> Iterator[subprocess.Popen[str]]:
    process = yard.begin("up")
    assert process.stdout is not None
    try:
        eventually(lambda: pid(yard, "control") and yard.run("list").returncode == 0, "it is up")
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, "up has ended"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_foreground_cleanly(own: Yard, number: int) -> None:
    with foreground(own) as up:
        own.ok("deploy", "m", "--engine", "mock")
        up.send_signal(number)
        assert up.wait(30) == 0
        assert up.stdout is not None
        out = up.stdout.read()
        assert "default/m  running" in out
        assert "Modelyard is down" in out
    assert own.is_silent()


def test_an_attached_foreground_leaves_modelyard_running(own: Yard) -> None:
    own.ok("up", "--detach")
    with foreground(own) as up:
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0
    assert pid(own, "supervisor")


def test_the_foreground_ends_when_modelyard_is_stopped_elsewhere(own: Yard) -> None:
    with foreground(own) as up:
        own.ok("down")
        assert up.wait(30) == 0
        assert up.stdout is not None
        assert "was stopped" in up.stdout.read()


def test_only_one_of_many_ups_at_once_starts_it(own: Yard) -> None:
    ups = [own.begin("up", "--detach") for _ in range(4)]
    outputs = [up.communicate(timeout=60)[0] for up in ups]
    assert [up.returncode for up in ups] == [0] * 4, outputs
    assert sum("is running already" not in output for output in outputs) == 1


def test_a_large_log_is_put_aside_on_start(own: Yard) -> None:
    logs = own.home / "logs"
    logs.mkdir(mode=0o700)
    (logs / "gateway.log").write_bytes(b"x" * (11 * 2**20))
    own.ok("up", "--detach")
    assert (logs / "gateway.log.1").stat().st_size > 10 * 2**20
    assert (logs / "gateway.log").stat().st_size < 2**20


def test_a_record_of_a_process_that_is_another_now_is_not_believed(own: Yard) -> None:
    """A process id is given out again; the start time tells the two apart."""
    me = {"pid": os.getpid(), "started": 1.0, "ticks": 1, "boot": "another"}
    (own.home / "run").mkdir(mode=0o700)
    (own.home / "run" / "up.json").write_text(json.dumps({**me, "gateway": me, "control": me, "url": own.url}))
    assert "Nothing runs" in own.ok("down")
    own.ok("up", "--detach")
    assert pid(own, "supervisor") != os.getpid()
