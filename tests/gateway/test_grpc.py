"""V2 over gRPC, through a real gateway to real workers. Triton's and KServe's own clients: tests/clients."""

import array
import asyncio
import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from tests.access.issuer import AUDIENCE, RSA, Issuer

from modelyard.access.callers import Callers
from modelyard.access.fetching import fetch
from modelyard.access.tokens import Rules, Tokens
from modelyard.gateway.access import Access
from modelyard.gateway.grpc import InferenceService
from modelyard.gateway.grpc_server import listen
from modelyard.gateway.messages import MESSAGES
from modelyard.gateway.metrics import GatewayMetrics
from modelyard.gateway.routes import parse_route
from modelyard.gateway.served import RouteTable
from modelyard.runtime import frames
from modelyard.runtime.frames import Head

SERVICE = "/inference.GRPCInferenceService/"
MAIN = "import sys; from modelyard.gateway.server import main; sys.exit(main())"
TOKEN = (("authorization", "Bearer a-token-for-tests"),)


class Client:
    """What generated code would be."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def call(self, method: str, *, metadata=TOKEN, timeout=10, answer=None, **fields):
        message = MESSAGES[f"{answer or method}Request"](**fields)
        return self.raw(method, message.SerializeToString(), metadata, timeout)

    def raw(self, method: str, content: bytes, metadata=TOKEN, timeout=10):
        reply = MESSAGES.get(f"{method}Response", MESSAGES["ModelInferResponse"])
        unary = self.channel.unary_unary(SERVICE + method, response_deserializer=reply.FromString)
        return unary(content, metadata=metadata, timeout=timeout)


@pytest.fixture
async def client(gateway):
    async with grpc.aio.insecure_channel(gateway.grpc_address) as channel:
        yield Client(channel)


def tensor(datatype="FP32", shape=(2,), name="x", **contents):
    return {"name": name, "datatype": datatype, "shape": shape, "contents": contents or None}


def parameters(**given):
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return {name: MESSAGES["InferParameter"](**{fields[type(value)]: value}) for name, value in given.items()}


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def code_of(error: grpc.aio.AioRpcError) -> str:
    return dict(error.trailing_metadata() or ()).get("modelyard-code", "")


@asynccontextmanager
async def served(tmp_path, callers=None):
    """A service in this process, and a channel to it."""
    routes = RouteTable()
    access = Access(tmp_path, "secret", callers)
    service = InferenceService(routes, access, None, GatewayMetrics(lambda: routes), lambda: False)
    listening = await listen(service, "127.0.0.1", 0, 1000)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{listening.port}") as channel:
        yield service, channel
    await listening.server.stop(None)


async def test_the_server_says_that_it_lives_without_a_token(client):
    assert (await client.call("ServerLive", metadata=())).live is True
    assert (await client.call("ServerReady", metadata=())).ready is True
    metadata = await client.call("ServerMetadata", metadata=())
    assert (metadata.name, list(metadata.extensions)) == ("modelyard", ["binary_tensor_data", "model_repository"])


async def test_raw_tensors_pass_both_ways_untouched(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    parts = [array.array("f", [1.5, -2]).tobytes(), b"\x03\x00\x00\x00abc"]
    answer = await client.call(
        "ModelInfer", model_name=name, inputs=[tensor(), tensor("BYTES", (1,), "b")], raw_input_contents=parts
    )
    assert list(answer.raw_output_contents) == parts
    assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [("x", "FP32", [2]), ("b", "BYTES", [1])]
    assert not any(output.HasField("contents") for output in answer.outputs)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-(2**15), 5]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [1.5, -0.25]),
        ("FP64", "fp64_contents", [0.1, 1e300]),
        ("BYTES", "bytes_contents", [b"", b"\x00\xff"]),
    ],
)
async def test_typed_contents_are_answered_with_typed_contents(
    client, channel, worker, name, make_route, datatype, field, values
):
    await channel.set(make_route(name, worker))
    answer = await client.call("ModelInfer", model_name=name, inputs=[tensor(datatype, **{field: values})])
    assert not answer.raw_output_contents
    assert list(getattr(answer.outputs[0].contents, field)) == values


async def test_what_has_no_field_for_its_values_is_answered_raw(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    answer = await client.call("ModelInfer", model_name=name, inputs=[tensor("FP16", (0,)), tensor(fp32_contents=[1])])
    assert list(answer.raw_output_contents) == [b"", array.array("f", [1]).tobytes()]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"inputs": [tensor(fp64_contents=[1])]}, "inputs[0].contents.fp64_contents: values of FP32 stand in fp32_con"),
        ({"inputs": [tensor("FP16", fp32_contents=[1])]}, "stand in raw_input_contents"),
        ({"inputs": [tensor("INT8", int_contents=[128])]}, "inputs[0].contents.int_contents: a value is out of the ra"),
        ({"inputs": [tensor()], "raw_input_contents": [b"", b""]}, "raw_input_contents has 2 elements for 1 inputs"),
        ({"inputs": [tensor(fp32_contents=[1])], "raw_input_contents": [b""]}, "inputs[0].contents: with raw_input"),
    ],
)
async def test_contents_that_stand_in_the_wrong_place_are_refused(
    client, channel, worker, name, make_route, fields, told
):
    await channel.set(make_route(name, worker))
    error = await refused(client.call("ModelInfer", model_name=name, **fields))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
    assert told in error.details()


async def test_parameters_ids_and_versions_reach_the_worker(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    call = client.call(
        "ModelInfer", model_name=name, model_version="3", id="mine", inputs=[tensor(fp32_contents=[1, 2])],
        parameters=parameters(tell=True, number=7, half=0.5, text="a", binary_data_output=False),
        metadata=(*TOKEN, ("x-request-id", "my.id-1")),
    )  # fmt: skip
    asked, given_id, params = json.loads((await call).id)
    assert asked == {"tell": True, "number": 7, "half": 0.5, "text": "a", "binary_data_output": True}
    assert (given_id, params["id"], params["version"]) == ("mine", "my.id-1", "3")
    assert dict(await call.trailing_metadata())["x-request-id"] == "my.id-1"
    error = await refused(client.call("ModelInfer", model_name=name, model_version="4"))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.NOT_FOUND, "version_not_found")


async def test_a_namespace_is_named_by_metadata(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, namespace="team", uid=f"t-{name}"))
    in_team = (*TOKEN, ("modelyard-namespace", "team"))
    assert (await client.call("ModelReady", name=name, metadata=in_team)).ready
    assert (await refused(client.call("ModelReady", name=name))).code() is grpc.StatusCode.NOT_FOUND


async def test_who_has_no_token_uses_public_models_only(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    for method, field in (("ModelInfer", "model_name"), ("ModelReady", "name"), ("ModelMetadata", "name")):
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            error = await refused(client.call(method, metadata=metadata, **{field: name}))
            assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    await channel.set(make_route(name, worker, public=True))
    assert (await client.call("ModelReady", name=name, metadata=())).ready
    assert (await client.call("ModelInfer", model_name=name, metadata=())).model_name == worker.id
    assert (await refused(client.call("ModelReady", name="other", metadata=()))).code() is (
        grpc.StatusCode.UNAUTHENTICATED
    )
    await channel.set(make_route(name, worker, public=False))


async def test_metadata_and_readiness(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    metadata = await client.call("ModelMetadata", name=name)
    assert (metadata.platform, list(metadata.versions)) == ("echo_v1", ["3"])
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("input-0", "FP32", [-1, 64])]
    await channel.set(make_route(name, state="stopped"))
    assert (await client.call("ModelReady", name=name)).ready is False
    assert (await refused(client.call("ModelMetadata", name=name))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_model_that_does_not_serve_is_unavailable_with_the_reason(client, channel, name, make_route):
    await channel.set(make_route(name, state="stopped", message="for the night", public=True))
    error = await refused(client.call("ModelInfer", model_name=name))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAVAILABLE, "model_not_serving")
    assert "is stopped (for the night)" in error.details()
    without = await refused(client.call("ModelInfer", model_name=name, metadata=()))
    assert "for the night" not in without.details()
    await channel.set(make_route(name, state="stopped"))


@pytest.mark.parametrize(
    ("status", "code"),
    [(422, grpc.StatusCode.INVALID_ARGUMENT), (500, grpc.StatusCode.INTERNAL), (404, grpc.StatusCode.NOT_FOUND)],
)
async def test_what_the_worker_refuses_is_told(client, channel, worker, name, make_route, metrics, status, code):
    await channel.set(make_route(name, worker))
    error = await refused(client.call("ModelInfer", model_name=name, parameters=parameters(status=status)))
    assert (error.code(), code_of(error), error.details()) == (code, "asked_for", "inputs[0]: as you wished")
    await client.call("ModelInfer", model_name=name)
    assert await metrics.codes(name) == {str(status): 1, "200": 1}


async def test_limits_are_the_models_and_the_doors(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, max_body=2000, max_queue=1))
    error = await refused(client.call("ModelInfer", model_name=name, raw_input_contents=[b"x" * 2000]))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")
    error = await refused(client.call("ModelInfer", model_name=name, raw_input_contents=[b"x" * 2**21]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    slow = asyncio.ensure_future(client.call("ModelInfer", model_name=name, parameters=parameters(sleep=2.0)))
    await worker.until_count(waiting=1)
    error = await refused(client.call("ModelInfer", model_name=name))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAVAILABLE, "queue_full")
    slow.cancel()
    await worker.until_count(waiting=0)


async def test_a_deadline_is_the_callers_or_the_models(client, channel, new_worker, name, make_route, metrics):
    worker = new_worker()
    await channel.set(make_route(name, worker, request_timeout=0.3))
    error = await refused(client.call("ModelInfer", model_name=name, parameters=parameters(sleep=30.0)))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "request_timeout")
    await worker.until_count(waiting=0, cancelled=1)
    await channel.set(make_route(name, worker))
    error = await refused(client.call("ModelInfer", model_name=name, parameters=parameters(sleep=30.0), timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await worker.until_count(waiting=0, cancelled=2)
    await metrics.until_codes(name, {"504": 2})


async def test_a_caller_who_goes_away_takes_the_request_back(client, channel, new_worker, name, make_route, metrics):
    worker = new_worker()
    await channel.set(make_route(name, worker))
    call = client.call("ModelInfer", model_name=name, parameters=parameters(sleep=30.0))
    waiting = asyncio.ensure_future(call)
    await worker.until_count(waiting=1)
    waiting.cancel()
    await worker.until_count(waiting=0, cancelled=1)
    await metrics.until_codes(name, {"499": 1})


async def test_an_instance_that_is_lost_ends_its_own_requests_only(client, channel, new_worker, name, make_route):
    lost, other = new_worker(), new_worker()
    await channel.set(make_route(name, lost))
    error = await refused(client.call("ModelInfer", model_name=name, parameters=parameters(die=True)))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.UNAVAILABLE, "instance_lost")
    await channel.set(make_route(name, lost, other))
    for _ in range(4):
        assert (await client.call("ModelInfer", model_name=name)).model_name == other.id


async def test_a_request_waits_for_an_idle_model(client, channel, worker, name, make_route):
    hold = {"max_waiting": 4, "timeout": 10}
    await channel.set(make_route(name, state="idle", hold=hold))
    call = asyncio.ensure_future(client.call("ModelInfer", model_name=name))
    await channel.until_load(name, waiting=1)
    await channel.set(make_route(name, worker, hold=hold))
    assert (await call).model_name == worker.id


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\xff", b"\x2a\x02\x08", b"\x0a\x02\xff\xfe"])
async def test_what_is_no_message_is_refused(client, content):
    error = await refused(client.raw("ModelInfer", content))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed_message")


async def test_a_call_without_its_message_is_refused(client):
    call = client.channel.stream_unary(SERVICE + "ServerLive")(metadata=TOKEN)
    await call.done_writing()
    assert code_of(await refused(call)) == "malformed_message"


async def test_a_message_that_does_not_come_is_not_waited_for_for_ever(monkeypatch, tmp_path):
    monkeypatch.setattr("modelyard.gateway.grpc._MESSAGE_TIMEOUT", 0.1)
    async with served(tmp_path) as (_, channel):
        error = await refused(channel.stream_unary(SERVICE + "ServerLive")())
        assert (error.code(), code_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body_timeout")


async def test_a_stream_in_which_nothing_comes_ends_in_order(monkeypatch, tmp_path):
    monkeypatch.setattr("modelyard.gateway.grpc._STREAM_TIMEOUT", 0.2)
    secret = (("authorization", "Bearer secret"),)
    async with served(tmp_path) as (_, channel):
        stream = channel.stream_stream(SERVICE + "ModelStreamInfer")(metadata=secret)
        await stream.write(MESSAGES["ModelInferRequest"](model_name="none").SerializeToString())
        answers = [MESSAGES["ModelStreamInferResponse"].FromString(answer) async for answer in stream]
        assert ["has no model 'none'" in answer.error_message for answer in answers] == [True]
        assert await stream.code() is grpc.StatusCode.OK


async def test_who_only_says_to_have_a_token_of_the_identity_provider_holds_no_stream(tmp_path):
    issuer = Issuer()
    tokens = Tokens(Rules(issuer=issuer.url, audiences=frozenset({AUDIENCE})), fetch)
    forged, real = issuer.token(key=RSA[1]), issuer.token()
    try:
        async with served(tmp_path, Callers(tokens)) as (_, channel):
            stream = channel.stream_stream(SERVICE + "ModelStreamInfer")
            # Nothing is sent: it ends before anything is read.
            held = stream(metadata=(("authorization", f"Bearer {forged}"),), timeout=10)
            assert await held.code() is grpc.StatusCode.UNAUTHENTICATED
            let_in = stream(metadata=(("authorization", f"Bearer {real}"),), timeout=10)
            await let_in.done_writing()
            assert await let_in.code() is grpc.StatusCode.OK
    finally:
        issuer.close()


async def test_no_more_bytes_are_held_than_there_is_room_for(tmp_path):
    async with served(tmp_path) as (service, channel):
        client = Client(channel)
        call = {"method": "ModelReady", "name": "n" * 100, "metadata": (("authorization", "Bearer secret"),)}
        service.room.size = 50
        for _ in range(2):
            error = await refused(client.call(**call))
            assert (error.code(), code_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_bytes")
        service.room.size = 150
        for _ in range(2):
            # What is answered is held no longer.
            assert code_of(await refused(client.call(**call))) == "model_not_found"
        service.room.size = 0
        assert code_of(await refused(client.call(**call))) == "too_many_bytes"


async def test_how_long_a_message_took_to_come_is_not_the_models_time(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, request_timeout=0.5))
    call = client.channel.stream_unary(SERVICE + "ModelInfer")(metadata=TOKEN)
    await asyncio.sleep(0.7)
    await call.write(MESSAGES["ModelInferRequest"](model_name=name).SerializeToString())
    await call.done_writing()
    assert MESSAGES["ModelInferResponse"].FromString(await call).model_name == worker.id


async def test_large_typed_contents_are_answered_as_small_ones_are(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    values = [number / 2 for number in range(70_000)]
    inputs = [tensor(shape=(len(values),), fp32_contents=values)]
    answer = await client.call("ModelInfer", model_name=name, inputs=inputs)
    assert list(answer.outputs[0].contents.fp32_contents) == values


def test_whether_any_model_is_public_is_known_without_looking_at_all(make_route):
    def route(name, **of):
        return parse_route(json.dumps(make_route(name, **of)).encode())

    routes = RouteTable()
    routes.set(route("one", uid="1"))
    assert not routes.any_public
    routes.set(route("one", uid="1", public=True))
    assert routes.any_public
    routes.set(route("one", uid="2"))
    assert not routes.any_public, "its successor is not"
    routes.set(route("one", uid="2", public=True))
    routes.remove("2")
    assert not routes.any_public


async def test_what_is_not_there_is_unimplemented(client):
    error = await refused(client.raw("ModelStatistics", b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_users_own_server_is_not_spoken_to_in_grpc(client, channel, name, make_route):
    instances = {"s1": {"address": "http://127.0.0.1:1", "generation": 3}}
    await channel.set(make_route(name, instances=instances))
    assert (await client.call("ModelReady", name=name)).ready
    error = await refused(client.call("ModelInfer", model_name=name))
    assert (error.code(), code_of(error)) == (grpc.StatusCode.UNIMPLEMENTED, "not_over_grpc")


async def test_a_stream_answers_each_request_in_its_order(client, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    stream = client.channel.stream_stream(
        SERVICE + "ModelStreamInfer", request_serializer=MESSAGES["ModelInferRequest"].SerializeToString,
        response_deserializer=MESSAGES["ModelStreamInferResponse"].FromString,
    )(metadata=TOKEN)  # fmt: skip
    request = MESSAGES["ModelInferRequest"]
    for size in (1, 2):
        await stream.write(
            request(model_name=name, inputs=[tensor(shape=(size,))], raw_input_contents=[b"abcd" * size])
        )
    await stream.write(request(model_name="none"))
    await stream.write(request(model_name=name, parameters=parameters(status=422)))
    await stream.write(request(model_name=name))
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert [list(answer.infer_response.raw_output_contents) for answer in answers[:2]] == [[b"abcd"], [b"abcdabcd"]]
    assert "has no model 'none'" in answers[2].error_message
    assert answers[3].error_message == "inputs[0]: as you wished"
    assert answers[4].infer_response.model_name == worker.id


async def test_a_gateway_that_ends_finishes_what_it_has(own_gateway, new_worker, name, make_route):
    worker = new_worker()
    own_gateway.environment["MODELYARD_GRPC_PORT"] = "0"
    own_gateway.start()
    peer = await frames.connect(str(own_gateway.settings.gateway_socket))
    await peer.request(Head("set_route", 0, {"watch": []}), json.dumps(make_route(name, worker)).encode())
    async with grpc.aio.insecure_channel(own_gateway.grpc_address) as channel:
        call = asyncio.ensure_future(
            Client(channel).call("ModelInfer", model_name=name, parameters=parameters(sleep=0.5))
        )
        await worker.until_count(waiting=1)
        assert await asyncio.to_thread(own_gateway.end) == 0
        assert (await call).model_name == worker.id
    peer.close()


async def test_a_gateway_that_is_killed_has_its_port_back_at_once(own_gateway):
    own_gateway.environment["MODELYARD_GRPC_PORT"] = "0"
    own_gateway.start()
    address = own_gateway.grpc_address
    async with grpc.aio.insecure_channel(address) as channel:
        assert (await Client(channel).call("ServerLive")).live
        await asyncio.to_thread(own_gateway.end, signal.SIGKILL)
        own_gateway.environment["MODELYARD_GRPC_PORT"] = address.rpartition(":")[2]
        await asyncio.to_thread(own_gateway.start)
        assert own_gateway.grpc_address == address
    async with grpc.aio.insecure_channel(address) as channel:
        assert (await Client(channel).call("ServerLive")).live


def ended(gateway, program: str, port: str) -> str:
    """What a gateway that cannot start says."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={"MODELYARD_HOME": str(gateway.home), "MODELYARD_GRPC_PORT": port,
             "MODELYARD_LISTEN_FD": str(gateway.listener.fileno())},
        pass_fds=[gateway.listener.fileno()],
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_port_that_is_taken_is_named(gateway, own_gateway):
    said = ended(own_gateway, MAIN, gateway.grpc_address.rpartition(":")[2])
    assert "cannot serve gRPC on 127.0.0.1 port" in said


def test_without_grpcio_a_port_for_it_is_refused_with_what_to_install(own_gateway):
    said = ended(own_gateway, f"import sys; sys.modules['grpc'] = None; {MAIN}", "0")
    assert "pip install 'modelyard[grpc]'" in said


def test_a_gateway_that_is_told_no_port_imports_no_grpc(own_gateway):
    own_gateway.start()
    assert own_gateway.process is not None
    assert "cygrpc" not in Path(f"/proc/{own_gateway.process.pid}/maps").read_text()
    assert own_gateway.end(signal.SIGTERM) == 0


async def test_the_arms_of_a_models_traffic_are_shared_and_counted_over_grpc_too(
    client, channel, new_worker, name, make_route
):
    front, other = new_worker(), new_worker()
    await channel.set(make_route(f"{name}-b", other))
    traffic = {"split": {f"{name}-b": 50}, "shadow": {f"{name}-b": 100}, "by": "header", "name": "X-User-ID"}
    await channel.set(make_route(name, front, traffic=traffic))
    found = []
    for _ in range(2):
        arms = []
        for number in range(20):
            call = client.call(
                "ModelInfer", metadata=(*TOKEN, ("x-user-id", f"u{number}")), model_name=name, inputs=[tensor()],
                raw_input_contents=[array.array("f", [1.5, -2]).tobytes()],
            )  # fmt: skip
            await call
            arms.append(dict(await call.trailing_metadata())["x-modelyard-model"])
        found.append(arms)
    assert found[0] == found[1]
    assert set(found[0]) == {name, f"{name}-b"}
    counted = {(arm["kind"], arm["name"]): arm for arm in (await channel.load(name))["arms"]}
    assert counted["model", name]["requests"] == 2 * found[0].count(name)
    assert counted["model", f"{name}-b"]["requests"] == 2 * found[0].count(f"{name}-b")
    async with asyncio.timeout(10):
        while (await channel.load(f"{name}-b"))["requests"] != 40 + 2 * found[0].count(f"{name}-b"):
            await asyncio.sleep(0.01)
