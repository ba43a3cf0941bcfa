"""V2 through a real gateway to real workers."""

import asyncio
import io
import json
import signal

import pytest


def ask(**parameters):
    return {"parameters": parameters}


async def test_server_metadata_and_health_need_no_token(gateway, http):
    for path in ("/v2", "/v2/", "/namespaces/any/v2"):
        async with http.get(path, headers={"Authorization": ""}) as answer:
            assert answer.status == 200
            body = await answer.json()
            assert body["name"] == "modelyard"
            assert body["extensions"] == ["binary_tensor_data", "model_repository"]
    for path in ("/v2/health/live", "/v2/health/ready"):
        async with http.get(path, headers={"Authorization": ""}) as answer:
            assert answer.status == 200
        async with http.head(path) as answer:
            assert answer.status == 200


async def test_a_body_reaches_the_worker_and_comes_back_untouched(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    body = b'{"inputs": [ ]  }'
    async with http.post(
        f"/v2/models/{name}/infer", data=body, headers={"Content-Type": "application/json", "X-Request-ID": "my.id-1"}
    ) as answer:
        assert answer.status == 200
        assert await answer.read() == body
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Request-ID"] == "my.id-1"


async def test_a_request_without_a_usable_id_gets_one_and_the_worker_sees_it(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with http.post(
        f"/v2/models/{name}/infer", json=ask(echo=1), headers={"X-Request-ID": "not usable!"}
    ) as answer:
        seen = await answer.json()
        assert answer.headers["X-Request-ID"] != "not usable!"
        assert seen["params"]["id"] == answer.headers["X-Request-ID"]


async def test_binary_tensors_pass_both_ways(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    header = json.dumps({"inputs": [{"parameters": {"binary_data_size": 3}}]}).encode()
    # As Triton's own client sends it: the length says what the type does not.
    async with http.post(
        f"/v2/models/{name}/infer", data=header + b"\x00\x01\x02", skip_auto_headers=("Content-Type",),
        headers={"Inference-Header-Content-Length": str(len(header))},
    ) as answer:  # fmt: skip
        assert answer.status == 200
        assert answer.headers["Inference-Header-Content-Length"] == str(len(header))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert await answer.read() == header + b"\x00\x01\x02"


@pytest.mark.parametrize("length", ["-1", "x", "99", "1" * 20])
async def test_a_header_length_that_cannot_be_is_refused(http, channel, worker, name, make_route, length):
    await channel.set(make_route(name, worker))
    headers = {"Inference-Header-Content-Length": length, "Content-Type": "application/octet-stream"}
    async with http.post(f"/v2/models/{name}/infer", data=b"{}", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["code"] == "invalid_header"


async def test_both_path_forms_and_versions(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(name, worker, namespace="team", uid=f"t-{name}", generation=7))
    for path, status in (
        (f"/v2/models/{name}/infer", 200),
        (f"/v2/models/{name}/versions/3/infer", 200),
        (f"/v2/models/{name}/versions/4/infer", 404),
        (f"/v2/models/{name}/versions//infer", 404),
        (f"/namespaces/default/v2/models/{name}/infer", 200),
        (f"/namespaces/team/v2/models/{name}/versions/7/infer", 200),
        (f"/namespaces/team/v2/models/{name}/versions/3/infer", 404),
        (f"/namespaces/other/v2/models/{name}/infer", 404),
        (f"/v2/models/%6d{name[1:]}/infer", 200),
        (f"/v2/models/{name}%2Fx/infer", 404),
        ("/v2/models/%FF%00/infer", 404),
        ("/v2/models//infer", 404),
        (f"/v2/models/{name}/other", 404),
    ):
        async with http.post(path, json={}) as answer:
            assert answer.status == status, path
            if status == 404:
                problem = await answer.json()
                assert problem["code"] in ("model_not_found", "version_not_found", "not_found")
                assert problem["error"] == problem["detail"]
                assert answer.headers["Content-Type"] == "application/problem+json"


async def test_metadata_is_the_routes_or_else_the_workers(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, metadata={"platform": "onnx_onnxv1", "inputs": [], "outputs": []}))
    async with http.get(f"/v2/models/{name}") as answer:
        assert await answer.json() == {
            "name": name, "versions": ["3"], "platform": "onnx_onnxv1", "inputs": [], "outputs": [],
        }  # fmt: skip
    await channel.set(make_route(name, worker))
    async with http.get(f"/v2/models/{name}/versions/3") as answer:
        assert (await answer.json())["inputs"][0]["shape"] == [-1, 64]
    async with http.get(f"/v2/models/{name}/ready") as answer:
        assert (await answer.json())["ready"] is True


async def test_wrong_methods_and_content_types(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with http.get(f"/v2/models/{name}/infer") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
    async with http.post(f"/v2/models/{name}/ready") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
    async with http.post(f"/v2/models/{name}/infer", data={"a": "b"}) as answer:
        assert answer.status == 415
        assert (await answer.json())["code"] == "unsupported_media_type"
    async with http.post(
        f"/v2/models/{name}/infer", data=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "br"}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_content_encoding")
    async with http.post(
        f"/v2/models/{name}/infer", data=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"}
    ) as answer:
        assert answer.status == 200


async def test_what_the_worker_refuses_is_passed_on(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    async with http.post(f"/v2/models/{name}/infer", json=ask(status=422)) as answer:
        assert answer.status == 422


async def test_requests_go_to_the_least_loaded_instance_in_turns_among_equals(
    http, channel, new_worker, name, make_route, metrics
):
    first, second = new_worker(), new_worker()
    await channel.set(make_route(name, first, second))

    async def who(**parameters):
        async with http.post(f"/v2/models/{name}/infer", json=ask(**parameters)) as answer:
            return (await answer.json())["worker"]

    assert {await who(echo=1), await who(echo=1)} == {first.id, second.id}
    slow = asyncio.create_task(who(sleep=1.0))
    await metrics.until_in_flight(name, 1)
    quick = {await who(echo=1) for _ in range(6)}
    assert len(quick) == 1
    assert quick | {await slow} == {first.id, second.id}


async def test_an_instance_that_says_it_is_ending_is_passed_over(http, channel, new_worker, name, make_route):
    ending, other = new_worker(), new_worker()
    await channel.set(make_route(name, ending, other))
    ending.process.send_signal(signal.SIGUSR1)
    for _ in range(6):
        async with http.post(f"/v2/models/{name}/infer", json=ask(echo=1)) as answer:
            assert answer.status == 200
    async with http.get("/metrics") as answer:
        assert answer.status == 200


async def test_a_large_body_and_a_large_answer(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker, max_body=64 * 2**20))
    body = json.dumps({"inputs": ["x" * (20 * 2**20)]}).encode()
    json_type = {"Content-Type": "application/json"}
    async with http.post(f"/v2/models/{name}/infer", data=io.BytesIO(body), headers=json_type) as answer:
        assert await answer.read() == body
    async with http.post(f"/v2/models/{name}/infer", json=ask(bytes=30 * 2**20)) as answer:
        assert len(await answer.read()) == 30 * 2**20
