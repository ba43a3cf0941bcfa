"""Start-up, liveness and command checks, as in containers."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.backends.local.probe import CheckFailed, ServerProbe, run_command
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import Container, Engine, HealthCheck, Spec
from modelyard.settings import Settings
from tests.backends.specs import member, processes, run, worker_spec
from tests.backends.waiting import ended, gone, ready, until

QUICK = {"interval": 0.05, "timeout": 0.3, "retries": 2}


async def test_a_worker_whose_loop_hangs_is_unhealthy(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, worker_spec(hang_after=0.2, check=HealthCheck(**QUICK)))
    failing = await until(backend, ref, lambda o: bool(o.instances[0].message), lambda o: o.instances[0])
    assert failing.phase is InstancePhase.READY
    assert failing.message.startswith("The health check failed (1 of 2).")
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "unhealthy"
    assert "did not answer within 300ms" in exit_.failure.message


async def test_a_failing_command_is_unhealthy_with_its_output(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    flag = home / "sick"
    command = ("/bin/sh", "-c", f"if [ -e {flag} ]; then echo the disk is on fire; exit 3; fi")
    await run(backend, ref, worker_spec(check=HealthCheck(command=command, **QUICK)))
    flag.touch()
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "unhealthy"
    assert "'/bin/sh' exited with code 3: the disk is on fire" in exit_.failure.message


async def test_one_failure_between_successes_is_forgiven(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    flag = home / "sick"
    command = ("/bin/sh", "-c", f"test ! -e {flag}")
    check = HealthCheck(command=command, interval=0.05, timeout=1, retries=50)
    await run(backend, ref, worker_spec(check=check))
    flag.touch()
    await until(backend, ref, lambda o: bool(o.instances[0].message), lambda o: o)
    flag.unlink()
    await until(backend, ref, lambda o: not o.instances[0].message, lambda o: o)
    assert (await backend.observe(ref)).exits == ()


async def test_an_instance_is_not_ready_before_its_command_passes(
    backend: LocalBackend, ref: ModelRef, home: Path
) -> None:
    flag = home / "warm"
    command = ("/bin/sh", "-c", f"test -e {flag}")
    await backend.converge(ref, member(worker_spec(check=HealthCheck(command=command))), 5)
    waiting = await until(backend, ref, lambda o: bool(o.instances[0].message), lambda o: o.instances[0])
    assert waiting.phase is InstancePhase.STARTING
    flag.touch()
    await ready(backend, ref, 1)


async def test_a_start_that_times_out_says_which_check_failed(backend: LocalBackend, ref: ModelRef) -> None:
    check = HealthCheck(command=("/bin/sh", "-c", "echo still cold; exit 1"), start_period=0.8)
    await backend.converge(ref, member(worker_spec(check=check)), 5)
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "start_timeout"
    assert exit_.failure.message.endswith("The command '/bin/sh' exited with code 1: still cold.")


async def test_a_command_that_takes_too_long_is_killed_with_its_group(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    check = HealthCheck(command=("/bin/sh", "-c", "sleep 600 & sleep 600"), start_period=0.8, timeout=0.2)
    await backend.converge(ref, member(worker_spec(check=check)), 5)
    exit_ = await ended(backend, ref)
    assert "did not end within 200ms" in exit_.failure.message
    assert processes(settings) == set()


async def test_what_a_passing_command_leaves_behind_is_killed(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    check = HealthCheck(command=("/bin/sh", "-c", "sleep 600 & exit 0"), **QUICK)
    instance = await run(backend, ref, worker_spec(check=check))
    async with asyncio.timeout(10):
        while processes(settings) != {instance.pid}:
            await asyncio.sleep(0.01)


async def test_a_command_sees_the_instances_environment_and_folder(
    backend: LocalBackend, ref: ModelRef, home: Path
) -> None:
    check = HealthCheck(command=("/bin/sh", "-c", 'echo "$COLOUR $PWD $MODELYARD_INSTANCE" > seen'))
    container = Container(environment={"COLOUR": "red"}, working_dir=str(home), health_check=check)
    instance = await run(backend, ref, worker_spec(container=container))
    assert (home / "seen").read_text().split() == ["red", str(home), instance.id]


async def test_a_command_that_does_not_exist_is_named(backend: LocalBackend, ref: ModelRef) -> None:
    check = HealthCheck(command=("no-such-program",), start_period=0.5)
    await backend.converge(ref, member(worker_spec(check=check)), 5)
    exit_ = await ended(backend, ref)
    assert "'no-such-program' cannot be run: No such file or directory" in exit_.failure.message


# ------------------------------------------------------------------------------ servers of users' own

SERVER = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if pathlib.Path(os.environ["SICK"]).exists() else 204)
        self.end_headers()
print("port", os.environ["PORT"], sys.argv[1], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server_spec(home: Path, check: HealthCheck, port: int | None = None) -> Spec:
    options: dict[str, object] = {"command": [sys.executable, "-c", SERVER, "{port}"]}
    if port is not None:
        options["port"] = port
    container = Container(environment={"SICK": str(home / "sick")}, health_check=check)
    return Spec(engine=Engine.COMMAND, options=options, container=container)


async def test_a_server_is_ready_when_its_path_answers_and_unhealthy_when_it_fails(
    backend: LocalBackend, ref: ModelRef, home: Path
) -> None:
    instance = await run(backend, ref, server_spec(home, HealthCheck(path="/health", **QUICK)))
    port = int(instance.address.removeprefix("http://127.0.0.1:"))
    lines = [line.text async for line in backend.logs(ref, None, follow=False, tail=10)]
    assert f"port {port} {port}" in lines
    (home / "sick").touch()
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "unhealthy"
    assert "GET /health answered 500" in exit_.failure.message


async def test_a_path_cannot_end_the_requests_line() -> None:
    """Specs are checked for such paths; the probe does not rely on it."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await ServerProbe(port, "/a b%20c?d=\u00e9&e HTTP/1.1\r\nX: y\x00", 5).health()
    lines = (await heard).split(b"\r\n")
    assert lines[0] == b"GET /a%20b%20c?d=%C3%A9&e%20HTTP/1.1%0D%0AX:%20y%00 HTTP/1.1"
    assert [line.split(b":")[0] for line in lines[1:-2]] == [b"Host", b"Connection", b"Accept"]


async def test_a_command_that_cannot_be_started_for_want_of_descriptors_has_failed_once(
    no_descriptors: Callable[[], AbstractContextManager[None]],
) -> None:
    with no_descriptors(), pytest.raises(CheckFailed, match="Too many open files"):
        await run_command(["true"], env={}, cwd="/", timeout=5)
    await run_command(["/bin/true"], env={}, cwd="/", timeout=5)


async def test_without_a_path_a_connection_suffices(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    (home / "sick").touch()
    await run(backend, ref, server_spec(home, HealthCheck()))
    await backend.release(ref, 0)
    await gone(backend, ref)


async def test_replicas_of_a_server_get_ports_of_their_own(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    await backend.converge(ref, member(server_spec(home, HealthCheck()), 2), 5)
    instances = await ready(backend, ref, 2)
    assert len({i.address for i in instances}) == 2


async def test_a_port_that_is_taken_is_named(backend: LocalBackend, ref: ModelRef, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await backend.converge(ref, member(server_spec(home, HealthCheck(), port)), 5)
        exit_ = await ended(backend, ref)
    assert exit_.failure.code == "port_in_use"
    assert f"Port {port} cannot be used" in exit_.failure.message


async def test_a_fixed_port_is_waited_for_while_an_instance_leaves_it(
    backend: LocalBackend, ref: ModelRef, home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spec = server_spec(home, HealthCheck(), port)
    await run(backend, ref, spec)
    await backend.release(ref, 1)
    await backend.converge(ref, member(spec), 5)
    new = await until(
        backend,
        ref,
        lambda o: len(o.instances) == 1 and o.instances[0].phase is InstancePhase.READY,
        lambda o: o.instances[0],
    )
    assert new.address == f"http://127.0.0.1:{port}"
    assert (await backend.observe(ref)).exits == ()


async def test_a_command_that_cannot_be_run_is_a_load_failure(backend: LocalBackend, ref: ModelRef) -> None:
    spec = Spec(engine=Engine.COMMAND, options={"command": ["no-such-server"]})
    await backend.converge(ref, member(spec), 5)
    exit_ = await ended(backend, ref)
    assert exit_.failure.code == "command_not_found"
    assert exit_.failure.permanent
