"""The short way of inference requests must be told from the long one by nothing but its speed."""

import asyncio
import contextlib
import json
import signal
from unittest.mock import Mock

import psutil
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import TOKEN
from uvicorn.server import ServerState

from modelyard.gateway import protocol
from modelyard.gateway.access import Access
from modelyard.gateway.direct import Direct
from modelyard.gateway.metrics import GatewayMetrics
from modelyard.gateway.served import RouteTable
from modelyard.runtime.frames import Head

WORKER = {"address": "unix:/nowhere", "generation": 3}


def request(name, body=b'{"parameters":{"echo":1}}', *fields, length=None, target=None):
    lines = [
        f"POST {target or f'/v2/models/{name}/infer'} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Line:
    """A connection by bytes."""

    def __init__(self, gateway) -> None:
        self.socket = gateway.connect()
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        fields = {}
        while line := self.file.readline().strip():
            key, _, value = line.decode().partition(": ")
            assert key not in fields
            fields[key] = value
        return status, fields, self.file.read(int(fields["content-length"]))

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.send(data)
        return self.answer()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def line(gateway):
    line = Line(gateway)
    yield line
    line.close()


async def ask(line, data):
    return await asyncio.to_thread(line.ask, data)


async def test_a_head_that_is_sent_again_means_the_same_with_another_body(channel, worker, name, make_route, line):
    await channel.set(make_route(name, worker))
    ids = set()
    for text in (b'{"n":1}', b'{"n":2}', b'{"n":3}'):
        status, fields, body = await ask(line, request(name, text))
        assert (status, body) == (200, text)
        ids.add(fields["x-request-id"])
    assert len(ids) == 3


async def test_a_remembered_head_is_nobody_s_once_the_model_or_the_token_has_gone(own_gateway, new_worker, make_route):
    worker = new_worker()
    route = own_gateway.settings.routes_dir / "u-m.json"
    route.write_text(json.dumps(make_route("m", worker)))
    own_gateway.start()
    line = Line(own_gateway)
    for _ in range(2):
        assert (await ask(line, request("m")))[0] == 200
    own_gateway.settings.token_file.write_text("another\n")

    async with asyncio.timeout(10):
        while (await ask(line, request("m")))[0] != 401:
            await asyncio.sleep(0.05)
    line.close()


async def test_requests_sent_all_at_once_are_answered_in_their_order(channel, worker, name, make_route, line):
    await channel.set(make_route(name, worker))
    bodies = [b'{"n":%d}' % n for n in range(20)]
    other = f"GET /v2/models/{name}/ready HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    slow = b'{"parameters":{"sleep":0.2}}'
    line.send(request(name, slow) + b"".join(request(name, body) + other for body in bodies))
    assert json.loads((await asyncio.to_thread(line.answer))[2])["size"] == len(slow)
    for body in bodies:
        assert (await asyncio.to_thread(line.answer))[2] == body
        assert json.loads((await asyncio.to_thread(line.answer))[2])["ready"] is True


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_requests_cut_into_any_pieces_are_read_as_they_were_meant(gateway, cut_route, data):
    """Each of several requests, remembered ones among them, in pieces of any sizes."""
    bodies = data.draw(
        st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: b"parameters" not in b), max_size=4)
    )
    stream = b"".join(request(cut_route, body) for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=6)))
    line = Line(gateway)
    try:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            line.send(stream[start:end])
        assert [line.answer()[::2] for _ in bodies] == [(200, body) for body in bodies]
    finally:
        line.close()


@pytest.fixture
async def cut_route(channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    return name


async def test_a_head_whose_end_can_be_seen_in_two_places_is_never_remembered(channel, worker, name, make_route, line):
    """A bare line feed ends no line here; whoever sends one gets no second reading of what follows."""
    await channel.set(make_route(name, worker))
    inner = b'\r\n\r\n{"n":1}'
    odd = request(name, inner).replace(b"Host: x\r\n", b"Host: x\n")
    first = await ask(line, odd)
    assert first[0] in (200, 400)
    if first[0] == 200:
        assert first[2] == inner
        assert (await ask(line, odd))[2] == inner


async def test_a_lost_request_is_asked_again_once_where_that_harms_nobody(
    http, channel, new_worker, name, make_route, metrics
):
    workers = [new_worker() for _ in range(3)]
    await channel.set(make_route(name, *workers, repeatable=True))
    stopped = [asyncio.create_task(infer(http, name, sleep=0.4)) for _ in range(3)]
    await asyncio.gather(*(worker.until_count(waiting=1) for worker in workers))
    workers[0].kill()
    assert [status for status, _ in await asyncio.gather(*stopped)] == [200, 200, 200]
    # One that ends every instance that it reaches ends two, never all.
    status, problem = await infer(http, name, die=True)
    assert (status, problem["code"]) == (503, "instance_lost")
    assert [worker.process.poll() for worker in workers].count(None) <= 1
    assert sum((await metrics.in_flight(name)).values()) == 0


async def infer(http, name, **parameters):
    async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}) as answer:
        return answer.status, await answer.json()


async def test_a_caller_who_leaves_takes_the_request_back(channel, new_worker, name, make_route, gateway, metrics):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    line = Line(gateway)
    line.send(request(name, b'{"parameters":{"sleep":30}}'))
    await worker.until_count(waiting=1)
    line.close()
    await worker.until_count(waiting=0, cancelled=1)
    await metrics.until_codes(name, {"499": 1})


async def test_a_body_that_stops_coming_is_told_so_and_may_still_end(channel, worker, name, make_route, line):
    await channel.set(make_route(name, worker, request_timeout=0.2))
    line.send(request(name, b'{"n":', length=7))
    status, _, body = await asyncio.to_thread(line.answer)
    assert (status, json.loads(body)["code"]) == (408, "body_timeout")
    line.send(b"1}")
    assert (await ask(line, request(name)))[0] == 200


async def test_a_gateway_that_is_stopped_says_so_to_what_does_not_end(own_gateway, new_worker, make_route):
    worker = new_worker()
    (own_gateway.settings.routes_dir / "u-m.json").write_text(json.dumps(make_route("m", worker)))
    own_gateway.start()
    line = Line(own_gateway)
    line.send(request("m", b'{"parameters":{"sleep":30}}'))
    await worker.until_count(waiting=1)
    own_gateway.process.send_signal(signal.SIGTERM)
    status, fields, body = await asyncio.to_thread(line.answer)
    assert (status, json.loads(body)["code"], fields["connection"]) == (503, "gateway_stopping", "close")
    line.close()
    assert await asyncio.to_thread(own_gateway.process.wait, 10) == 0


async def test_a_connection_that_only_sends_known_heads_is_not_taken_for_one_that_sends_none(
    monkeypatch, tmp_path, make_route
):
    """Its first bytes are never parsed, but they are a head."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.05)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "m.json").write_text(json.dumps(make_route("m") | {"instances": {"w": WORKER}}))
    routes = RouteTable()
    routes.load(tmp_path)
    peer = Mock(open=True)
    routes.find("default", "m").workers[0].link.peer = peer
    direct = Direct(routes, Access(tmp_path / "token"), GatewayMetrics(lambda: routes))
    monkeypatch.setattr(protocol.FrontProtocol, "direct", direct, raising=False)
    config = uvicorn.Config(Mock(), http=protocol.FrontProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    for _ in range(2):
        transport = Mock(**{"is_closing.return_value": False, "get_extra_info.return_value": None})
        connection = protocol.FrontProtocol(config, ServerState(), {})
        connection.connection_made(transport)
        connection.data_received(request("m"))
        await asyncio.sleep(0.1)
        transport.close.assert_not_called()
        take = peer.send.call_args.args[2]
        take(Head(status=200, params={"content_type": "application/json"}), memoryview(b"{}"))
        assert transport.write.call_args.args[0].startswith(b"HTTP/1.1 200 OK")
        connection._unset_keepalive_if_required()
    assert len(direct._plans) == 1


async def test_a_caller_who_does_not_read_its_answers_gets_no_more_of_them(
    channel, new_worker, name, make_route, gateway
):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    line = Line(gateway)
    line.socket.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 200:
            line.send(request(name, b'{"parameters":{"bytes":1000000}}'))
            sent += 1
            await asyncio.sleep(0.01)
    before = psutil.Process(gateway.process.pid).memory_info().rss
    assert before < 400 * 2**20
    line.close()


@pytest.mark.parametrize("status", [100, 204, 304, 700])
async def test_a_status_that_is_none_for_an_answer_harms_only_its_own_request(
    http, channel, worker, name, make_route, status
):
    await channel.set(make_route(name, worker))
    other = asyncio.create_task(infer(http, name, sleep=0.3))
    found, problem = await infer(http, name, status=status)
    assert (found, problem["code"]) == (500, "model_error")
    assert (await other)[0] == 200
