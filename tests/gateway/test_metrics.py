"""The exposition that Prometheus reads."""

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from modelyard.gateway.metrics import BOUNDS, merge


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def read(http):
    async with http.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return await answer.text()


async def test_requests_are_counted_by_model_and_code_and_their_latency_kept(http, channel, worker, name, make_route):
    await channel.set(make_route(name, worker))
    for parameters in ({"echo": 1}, {"echo": 1}, {"status": 400}):
        async with http.post(f"/v2/models/{name}/infer", json={"parameters": parameters}):
            pass
    await channel.set(make_route(name, state="stopped"))
    async with http.post(f"/v2/models/{name}/infer", json={}):
        pass
    found = samples(await read(http))
    labels = (("model", name), ("namespace", "default"))
    by_code = {code: found[("model_inference_total", (("code", code), *labels))] for code in ("200", "400", "503")}
    assert by_code == {"200": 2, "400": 1, "503": 1}
    assert found[("model_inference_latency_seconds_count", labels)] == 3
    assert found[("model_inference_latency_seconds_bucket", (("le", "+Inf"), *labels))] == 3
    assert sum(1 for key in found if key[0].endswith("_bucket") and set(labels) <= set(key[1])) == len(BOUNDS) + 1
    assert found[("modelyard_gateway_requests_refused_total", (("reason", "model_not_serving"),))] >= 1


async def test_the_control_process_adds_its_own_and_may_be_away(http, gateway, serve_http):
    async def metrics(request):
        assert request.path == "/internal/metrics"
        return web.Response(
            text="# HELP model_memory_usage_mb Memory.\n# TYPE model_memory_usage_mb gauge\n"
            'model_memory_usage_mb{model="digits"} 12\n'
        )

    gateway.settings.control_socket.unlink(missing_ok=True)
    async with serve_http(metrics, path=gateway.settings.control_socket):
        found = samples(await read(http))
    assert found[("model_memory_usage_mb", (("model", "digits"),))] == 12
    gateway.settings.control_socket.unlink(missing_ok=True)
    assert "modelyard_gateway_requests_refused_total" in await read(http)


def test_a_family_of_both_is_written_once():
    ours = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 1\n"
    theirs = '# HELP a_total Other.\n# TYPE a_total counter\na_total{x="# HELP y"} 2\n# TYPE c gauge\nc 3\n'
    assert merge(ours, theirs) == (
        '# HELP a_total A.\n# TYPE a_total counter\na_total 1\na_total{x="# HELP y"} 2\n'
        "# HELP b B.\n# TYPE b gauge\nb 1\n# TYPE c gauge\nc 3\n"
    )
