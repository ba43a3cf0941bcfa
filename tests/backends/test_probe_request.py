"""Before a new instance gets requests it must answer one (rollout.probe)."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest

from modelyard.backends.local import LocalBackend
from modelyard.domain.model import InstancePhase, ModelRef
from modelyard.domain.spec import Engine, Probe, Rollout, Spec
from modelyard.settings import Settings
from tests.backends.conftest import WORKER, opened
from tests.backends.specs import log_lines, member, processes, run, worker_spec
from tests.backends.waiting import ended, gone, until

BODY = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1.5]}]}


def probed(spec: Spec, **fields: Any) -> Spec:
    return replace(spec, rollout=Rollout(probe=Probe(**{"body": BODY, **fields})))


async def until_asked(backend: LocalBackend, ref: ModelRef) -> None:
    async with asyncio.timeout(20):
        while not any(line.startswith("asked") for line in await log_lines(backend, ref)):
            await asyncio.sleep(0.01)


# -------------------------------------------------------------------------------------------- workers


async def test_a_worker_is_asked_once_before_it_is_ready(backend: LocalBackend, ref: ModelRef) -> None:
    instance = await run(backend, ref, probed(worker_spec()))
    asked = [line for line in await log_lines(backend, ref) if line.startswith("asked")]
    assert asked == ['asked {"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1.5]}]} application/json']
    assert instance.message == ""


async def test_a_worker_that_refuses_the_request_is_unfit_and_its_answer_quoted(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    await backend.converge(ref, member(probed(worker_spec(infer="refuse"))), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.code == "probe_failed"
    assert failure.message == 'The probe request was answered 400: {"error": "' + "x" * 289
    assert not failure.permanent
    assert failure.log
    assert processes(settings) == set()


async def test_a_worker_that_does_not_answer_in_time_is_unfit(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(probed(worker_spec(infer="hang"), timeout=0.3)), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.code == "probe_failed"
    assert failure.message == "The probe request was not answered within 300ms (rollout.probe.timeout)."


async def test_a_worker_that_dies_of_the_request_says_how_it_died(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(probed(worker_spec(infer="die"))), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.message == "The process was killed by SIGKILL before it was ready."


async def test_a_stop_wins_while_the_request_is_under_way(
    backend: LocalBackend, ref: ModelRef, settings: Settings
) -> None:
    await backend.converge(ref, member(probed(worker_spec(infer="hang"), timeout=600)), 5)
    await until_asked(backend, ref)
    (waiting,) = (await backend.observe(ref)).instances
    assert waiting.phase is InstancePhase.STARTING
    assert waiting.message == "Answering the probe request."
    await backend.release(ref, 5)
    await gone(backend, ref)
    assert (await backend.observe(ref)).exits == ()
    assert processes(settings) == set()


async def test_an_instance_that_was_ready_is_not_asked_again_when_adopted(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    instance = await run(first, ref, probed(worker_spec()))
    await first.close(release=False)
    async with opened(settings) as backend:
        assert [i.id for i in (await backend.observe(ref)).instances] == [instance.id]
        assert sum(line.startswith("asked") for line in await log_lines(backend, ref)) == 1


async def test_an_instance_that_was_not_ready_is_asked_when_adopted(settings: Settings, ref: ModelRef) -> None:
    first = LocalBackend(settings, worker=WORKER)
    await first.open()
    await first.converge(ref, member(probed(worker_spec(infer="hang"), timeout=0.5)), 5)
    await until_asked(first, ref)
    await first.close(release=False)
    async with opened(settings) as backend:
        assert (await ended(backend, ref)).failure.code == "probe_failed"
        assert sum(line.startswith("asked") for line in await log_lines(backend, ref)) == 2


async def test_the_real_worker_answers_it(settings: Settings, ref: ModelRef) -> None:
    backend = LocalBackend(settings)
    await backend.open()
    try:
        await run(backend, ref, probed(Spec(engine=Engine.MOCK)))
        other = ModelRef("u2", "default", "wine")
        await backend.converge(other, member(probed(Spec(engine=Engine.MOCK), body={"inputs": "none"})), 5)
        failure = (await ended(backend, other)).failure
        assert failure.code == "probe_failed"
        assert failure.message.startswith("The probe request was answered 422: {")
        assert "inputs must be an array of tensors" in failure.message
    finally:
        await backend.close(release=True)


# ------------------------------------------------------------------------------ servers of users' own

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print("asked", self.command, self.path, body.decode(), self.headers.get("Content-Type"), flush=True)
        if self.path == "/silent":
            return
        self.send_response({"/ok": 201, "/moved": 302}.get(self.path, 500))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"out of ", b"order" + b"!" * 5000):
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
        if self.path == "/endless":
            __import__("time").sleep(600)
        self.wfile.write(b"0\\r\\n\\r\\n")
    do_GET = do_POST = answer
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server_spec(**fields: Any) -> Spec:
    return probed(Spec(engine=Engine.COMMAND, options={"command": [sys.executable, "-c", SERVER, "{port}"]}), **fields)


async def test_a_server_is_sent_the_body_at_the_path(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, server_spec(path="/ok", body={"prompt": "hi"}))
    assert 'asked POST /ok {"prompt":"hi"} application/json' in await log_lines(backend, ref)


async def test_without_a_body_a_server_is_asked_with_get(backend: LocalBackend, ref: ModelRef) -> None:
    await run(backend, ref, server_spec(path="/ok", body={}))
    assert "asked GET /ok  None" in await log_lines(backend, ref)


@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/moved", 302)])
async def test_a_server_that_does_not_answer_with_success_is_unfit(
    backend: LocalBackend, ref: ModelRef, path: str, status: int
) -> None:
    await backend.converge(ref, member(server_spec(path=path)), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.code == "probe_failed"
    assert failure.message == f"The probe request was answered {status}: out of order" + "!" * 288


@pytest.mark.parametrize("path", ["/silent", "/endless"])
async def test_a_server_that_does_not_finish_its_answer_is_unfit(
    backend: LocalBackend, ref: ModelRef, path: str
) -> None:
    await backend.converge(ref, member(server_spec(path=path, timeout=0.5)), 5)
    failure = (await ended(backend, ref)).failure
    assert failure.code == "probe_failed"
    assert "within 500ms" in failure.message or "no HTTP answer" in failure.message


async def test_a_stop_wins_over_a_server_that_does_not_finish(backend: LocalBackend, ref: ModelRef) -> None:
    await backend.converge(ref, member(server_spec(path="/broken", timeout=600)), 5)
    await backend.release(ref, 0)
    await gone(backend, ref)
    await backend.converge(ref, member(server_spec(path="/endless", timeout=600)), 5)
    await until(backend, ref, lambda o: "probe request" in o.instances[0].message, lambda o: o)
    await backend.release(ref, 0)
    await gone(backend, ref)
    assert (await backend.observe(ref)).exits == ()
