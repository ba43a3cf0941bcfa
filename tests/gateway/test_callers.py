"""API keys and tokens of an identity provider on the inference path: who gets what, at once and everywhere."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import aiohttp
import grpc
import pytest
from tests.access.issuer import AUDIENCE, Issuer
from tests.gateway.conftest import AUTH, Channel, running_gateway

from modelyard.access.callers import Snapshot
from modelyard.access.keys import ApiKey, digest, new_key, new_secret
from modelyard.access.members import Member, MemberKind
from modelyard.domain.access import EVERYWHERE, Role
from modelyard.domain.rates import Rate
from modelyard.gateway.client import GatewayChannel
from modelyard.gateway.messages import MESSAGES
from modelyard.runtime import frames
from modelyard.runtime.frames import Head

INFER = "/inference.GRPCInferenceService/ModelInfer"


def new(name="ci", **changes):
    secret, key_id = new_key()
    fields = {"namespace": "default", "role": Role.USER, "created_at": datetime.now(UTC)} | changes
    return secret, ApiKey(id=key_id, name=name, digest=digest(secret), **fields)


def bearing(credential):
    return {"Authorization": f"Bearer {credential}"}


@pytest.fixture(scope="module")
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def house(issuer):
    """A gateway that has an identity provider; each test says anew who may come in."""
    with running_gateway(
        MODELYARD_GRPC_PORT="0",
        MODELYARD_OIDC_ISSUER=issuer.url,
        MODELYARD_OIDC_AUDIENCE=AUDIENCE,
        MODELYARD_OIDC_ROLES="staff=user@default, looks=viewer@default",
    ) as gateway:
        yield gateway


@pytest.fixture
async def channel(house):
    peer = await frames.connect(str(house.settings.gateway_socket))
    yield Channel(peer)
    peer.close()


async def admit(channel, *keys, members=()):
    await channel.ask("set_access", Snapshot(keys=keys, members=members).document())


@pytest.fixture
async def http(house):
    async with aiohttp.ClientSession(house.url) as session:
        yield session


async def infer(http, name, credential, namespace=None):
    where = f"/namespaces/{namespace}" if namespace else ""
    async with http.post(f"{where}/v2/models/{name}/infer", json={}, headers=bearing(credential)) as answer:
        return answer.status, await answer.json()


async def test_a_key_opens_the_models_of_its_namespace_and_no_others(house, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    await channel.set(make_route(f"{name}-b", worker, namespace="other"))
    (user, key), (elsewhere, other) = new(), new("theirs", namespace="other")
    some, patterned = new("some", models=("nothing-*",))
    await admit(channel, key, other, patterned)
    assert (await infer(http, name, user))[0] == 200
    assert (await infer(http, name, user))[0] == 200
    missing = await infer(http, "not-there", user)
    for credential in (elsewhere, some):
        status, problem = await infer(http, name, credential)
        # As of a model that is not there.
        assert (status, problem["code"]) == (404, missing[1]["code"])
        assert problem["detail"] == missing[1]["detail"].replace("not-there", name)
    assert (await infer(http, f"{name}-b", user, "other"))[0] == 404
    assert (await infer(http, f"{name}-b", elsewhere, "other"))[0] == 200
    for wrong in (new_secret(key.id), "myk_x_y", "nonsense", user.upper()):
        status, problem = await infer(http, name, wrong)
        assert (status, problem["code"]) == (401, "unauthenticated")
        assert wrong not in json.dumps(problem)


async def test_who_may_only_look_is_told_so(house, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    secret, key = new("looks", role=Role.VIEWER)
    await admit(channel, key)
    async with http.get(f"/v2/models/{name}/ready", headers=bearing(secret)) as answer:
        assert answer.status == 200
    status, problem = await infer(http, name, secret)
    assert (status, problem["code"]) == (403, "forbidden")
    assert "the role user" in problem["detail"]


async def test_a_model_of_groups_is_there_for_their_members_and_its_editors(channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker, groups=["science"]))
    keys = [
        new("none"), new("member", groups=("science", "x")), new("theirs", groups=("finance",)),
        new("editor", role=Role.EDITOR),
    ]  # fmt: skip
    await admit(channel, *(key for _, key in keys))
    statuses = [(await infer(http, name, secret))[0] for secret, _ in keys]
    assert statuses == [404, 200, 404, 200]
    # A model that changes its groups closes at once to those of the former ones.
    await channel.set(make_route(name, worker, groups=["finance"]))
    assert [(await infer(http, name, secret))[0] for secret, _ in keys] == [404, 404, 200, 200]


async def test_lists_show_what_the_caller_sees(channel, worker, name, make_route, http):
    space = f"space-{name}"
    for model, changes in (
        ("a", {}),
        ("b", {"groups": ["science"]}),
        ("c", {"public": True}),
        ("d", {"state": "stopped"}),
    ):
        await channel.set(
            make_route(f"{name}-{model}", worker, namespace=space, message="no such file: /secret/path", **changes)
        )
    (one, first), (two, second) = new(namespace=space), new("theirs", namespace="other")
    await admit(channel, first, second)
    shown = {}
    for who, header in {"one": bearing(one), "two": bearing(two), "admin": AUTH, "nobody": {}}.items():
        async with http.post(f"/namespaces/{space}/v2/repository/index", headers=header) as answer:
            assert answer.status == 200
            shown[who] = {entry["name"].rpartition("-")[2] for entry in await answer.json()}
            assert ("/secret/path" in await answer.text()) == (who in ("one", "admin"))
    assert shown == {"one": set("acd"), "two": {"c"}, "admin": set("abcd"), "nobody": {"c"}}


async def test_a_revoked_key_and_a_rotated_one_end_at_once_on_every_way(house, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    secret, key = new()
    await admit(channel, key)
    message = MESSAGES["ModelInferRequest"](model_name=name).SerializeToString()

    async def ask_grpc(credential):
        async with grpc.aio.insecure_channel(house.grpc_address) as client:
            call = client.unary_unary(INFER)(message, metadata=(("authorization", f"Bearer {credential}"),), timeout=10)
            return await call.code()

    for _ in range(3):  # the same head: the short way
        assert (await infer(http, name, secret))[0] == 200
    assert await ask_grpc(secret) is not grpc.StatusCode.UNAUTHENTICATED
    fresh = new_secret(key.id)
    await admit(channel, key.rotated(fresh, datetime.now(UTC) + timedelta(seconds=0.5)))
    assert (await infer(http, name, secret))[0] == (await infer(http, name, fresh))[0] == 200
    await asyncio.sleep(0.5)
    assert [(await infer(http, name, each))[0] for each in (secret, fresh)] == [401, 200]
    await admit(channel)
    assert (await infer(http, name, fresh))[0] == 401
    assert await ask_grpc(fresh) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_gateway_that_starts_alone_lets_in_whom_it_was_told_last(new_worker, name, make_route):
    worker = new_worker()
    secret, key = new()
    with running_gateway(start=False) as gateway:
        told = GatewayChannel(gateway.settings)
        await told.set_access(Snapshot(keys=(key,)))
        assert gateway.settings.access_file.stat().st_mode & 0o777 == 0o600
        assert secret.rpartition("_")[2] not in gateway.settings.access_file.read_text()
        (gateway.settings.routes_dir / "u.json").write_text(json.dumps(make_route(name, worker)))
        gateway.start()
        async with aiohttp.ClientSession(gateway.url) as http:
            assert (await infer(http, name, secret))[0] == 200
            # And a control process that comes back tells it anew.
            await told.set_access(Snapshot())
            await told.open()
            assert (await infer(http, name, secret))[0] == 401
            await told.set_access(Snapshot(keys=(key,)))
            assert (await infer(http, name, secret))[0] == 200
        await told.close()


async def test_uses_of_keys_are_told_once(house, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    (secret, key), (_, unused) = new(), new("unused")
    await admit(channel, key, unused)
    for _ in range(3):
        await infer(http, name, secret)

    async def uses():
        head, body = await channel.peer.request(Head("uses"))
        assert head.status == 200
        return json.loads(bytes(body))

    told = await uses()
    told = {key_id: at for key_id, at in told.items() if key_id in (key.id, unused.id)}  # not of other tests
    assert list(told) == [key.id]
    assert abs(told[key.id] - datetime.now(UTC).timestamp()) < 5
    await infer(http, name, secret)
    assert await uses() == {}


async def test_a_token_of_the_identity_provider_is_taken_on_every_way(
    house, channel, worker, name, make_route, http, issuer
):
    await channel.set(make_route(name, worker))
    member = Member(namespace="default", kind=MemberKind.EMAIL, value="ADA@example.com", role=Role.USER)
    await admit(channel, members=(member,))
    tokens = {
        "staff": issuer.token(groups=["staff"]), "looks": issuer.token(groups=["looks"]), "nobody": issuer.token(),
        "ada": issuer.token(email="ada@example.com", email_verified=True),
        "unverified": issuer.token(email="ada@example.com"), "expired": issuer.token(groups=["staff"], exp=1),
    }  # fmt: skip
    for _ in range(2):
        found = {who: (await infer(http, name, token))[0] for who, token in tokens.items()}
        assert found == {"staff": 200, "looks": 403, "nobody": 404, "ada": 200, "unverified": 404, "expired": 401}
    message = MESSAGES["ModelInferRequest"](model_name=name).SerializeToString()
    codes = {}
    for who, token in (tokens | {"expired": issuer.token(exp=2)}).items():
        async with grpc.aio.insecure_channel(house.grpc_address) as client:
            metadata = (("authorization", f"Bearer {token}"),)
            codes[who] = await client.unary_unary(INFER)(message, metadata=metadata, timeout=10).code()
    hidden = grpc.StatusCode.NOT_FOUND
    assert (codes["looks"], codes["nobody"]) == (grpc.StatusCode.PERMISSION_DENIED, hidden)
    assert (codes["unverified"], codes["expired"]) == (hidden, grpc.StatusCode.UNAUTHENTICATED)
    assert codes["staff"] not in (hidden, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    # One who is no member any more is let in no longer, whatever was known of the token.
    await admit(channel)
    assert (await infer(http, name, tokens["ada"]))[0] == 404


async def test_a_token_ends_at_its_time_though_it_is_known(house, channel, worker, name, make_route, http, issuer):
    await channel.set(make_route(name, worker))
    # Clocks may differ by 30 s, which does not make what is remembered last longer.
    short = issuer.token(groups=["staff"], exp=issuer.claims()["iat"] - 28)
    assert (await infer(http, name, short))[0] == 200
    deadline = asyncio.get_running_loop().time() + 5
    while (await infer(http, name, short))[0] == 200:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


async def test_no_server_behind_the_door_sees_a_key_or_a_token(
    house, channel, name, make_route, http, serve_http, issuer
):
    seen = []

    async def handler(request):
        seen.append(request.headers.getall("Authorization", []))
        return aiohttp.web.Response()

    secret, key = new()
    await admit(channel, key)
    async with serve_http(handler) as origin:
        server = {"instances": {"i": {"address": origin, "generation": 3}}, "public": True}
        await channel.set(make_route(name) | server)
        for credential in (secret, new_secret("0" * 12), issuer.token(), issuer.token(exp=1), "theirs"):
            async with http.get(f"/proxy/default/{name}/x", headers=bearing(credential)) as answer:
                assert answer.status == 200
    assert seen == [[], [], [], [], ["Bearer theirs"]]


async def test_metrics_are_for_those_who_may_read_everywhere(channel, http):
    (here, one), (all_, two) = new(role=Role.ADMINISTRATOR), new("scraper", role=Role.VIEWER, namespace=EVERYWHERE)
    await admit(channel, one, two)
    for credential, expected in ((here, 403), (all_, 200), ("x", 401)):
        async with http.get("/metrics", headers=bearing(credential)) as answer:
            assert answer.status == expected


async def test_a_rate_of_a_key_or_a_model_is_kept_to_and_says_when_to_come_again(
    house, channel, worker, name, make_route, http
):
    slow = {"per_second": 0.05, "burst": 2}
    await channel.set(make_route(name, worker))
    await channel.set(make_route(f"{name}-slow", worker, rate=slow))
    (limited, key), (free, other) = new(rate=Rate(**slow)), new("free")
    await admit(channel, key, other)
    assert [(await infer(http, name, limited))[0] for _ in range(4)] == [200, 200, 429, 429]
    assert [(await infer(http, f"{name}-slow", free))[0] for _ in range(3)] == [200, 200, 429]
    assert [(await infer(http, name, free))[0] for _ in range(4)] == [200] * 4
    async with http.post(f"/v2/models/{name}/infer", json={}, headers=bearing(limited)) as answer:
        problem = await answer.json()
        assert (answer.status, problem["code"]) == (429, "rate_limited")
        assert 15 <= int(answer.headers["Retry-After"]) == problem["retry_after"] <= 20
        assert "key:default/ci" in problem["detail"]
    message = MESSAGES["ModelInferRequest"](model_name=f"{name}-slow").SerializeToString()
    async with grpc.aio.insecure_channel(house.grpc_address) as client:
        call = client.unary_unary(INFER)(message, metadata=(("authorization", f"Bearer {free}"),), timeout=10)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_snapshot_that_cannot_be_read_changes_nothing(house, channel, worker, name, make_route, http):
    await channel.set(make_route(name, worker))
    secret, key = new()
    await admit(channel, key)
    for text in (b"", b"[]", b'{"keys":[{"id":1}]}'):
        head, _ = await channel.peer.request(Head("set_access"), text)
        assert head.status == 400
    assert (await infer(http, name, secret))[0] == 200
