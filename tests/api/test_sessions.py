"""Signing browsers in and out, and what others try to make of their sessions."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from modelyard.access.sessions import LASTS
from modelyard.api import auditing
from tests.access.issuer import Issuer
from tests.api.conftest import TOKEN, Api, in_a_home, serving

OWN = {"Origin": "http://test"}
SESSION = "/api/v1/session"
COOKIE = "modelyard_session_8900"
STOPPED = {"name": "m", "spec": {"engine": "mock"}, "desired": "stopped"}


def browser(api: Api, **headers: str) -> httpx2.AsyncClient:
    """With a cookie jar of its own and no key; its pages are this origin's."""
    transport = httpx2.ASGITransport(app=api.app, raise_app_exceptions=False)
    sent = {name: value.encode("latin-1") for name, value in {**OWN, **headers}.items()}
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=sent)


async def key(api: Api, role: str = "operator", **more: Any) -> dict[str, Any]:
    made = await api.post("/namespaces/default/keys", {"name": "k", "role": role, **more})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def signed_in(api: Api, shown: str) -> httpx2.AsyncClient:
    http = browser(api)
    answer = await http.post(SESSION, json={"key": shown})
    assert answer.status_code == 200, answer.text
    return http


async def refused(answer: httpx2.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


async def entries(api: Api, action: str) -> list[dict[str, Any]]:
    """On record, the oldest first."""
    return list(reversed((await api.get(f"/audit?action={action}"))["items"]))


@pytest.fixture(autouse=True)
def _all_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share an application, which records so many strangers a minute."""
    monkeypatch.setattr(auditing, "_STRANGERS", 10_000)


@pytest.fixture
def homes() -> Iterator[Any]:
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="my-", dir="/tmp")))
        return made[-1]

    yield make
    for home in made:
        shutil.rmtree(home)


async def test_a_key_signs_a_browser_in_and_out_again(api: Api) -> None:
    http, shown = browser(api), (await key(api))["secret"]
    nobody = (await http.get(SESSION)).json()
    assert (nobody["signed_in"], nobody["ways"], nobody["issuer"]) == (False, ["key", "link"], "")
    await refused(await http.get("/api/v1/models"), 401, "unauthorized")
    begun = await http.post(SESSION, json={"key": f" {shown}\n"})
    assert begun.headers["cache-control"] == "no-store"
    sets = begun.headers["set-cookie"]
    assert sets.startswith(f"{COOKIE}=v1.")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} < set(sets.split("; "))
    assert "Secure" not in sets
    assert shown not in sets
    assert shown not in begun.text
    me = (await api.http.get("/api/v1/me", headers={"Authorization": f"Bearer {shown}"})).json()
    assert {name: value for name, value in begun.json().items() if name in me} == me
    assert begun.json()["signed_in"]
    lasts = datetime.fromisoformat(begun.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=LASTS - 60) < lasts <= timedelta(seconds=LASTS)
    assert (await http.get(SESSION)).json() == begun.json()
    assert (await http.get("/api/v1/models")).status_code == 200
    assert (await http.post("/api/v1/models", json=STOPPED)).status_code == 403, "it may what the key may"
    ended = await http.delete(SESSION)
    assert (ended.status_code, dict(http.cookies)) == (204, {})
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert not (await http.get(SESSION)).json()["signed_in"]
    assert (await http.delete(SESSION)).status_code == 204
    begins, ends = await entries(api, "sessions.begin"), await entries(api, "sessions.end")
    assert [(e["actor"], e["outcome"], e["change"]) for e in begins] == [
        ("key:default/k", "done", {"asked": {"way": "key"}})
    ]
    assert [(e["actor"], e["outcome"]) for e in ends] == [("key:default/k", "done")]


async def test_what_ends_a_key_ends_its_sessions_at_once(api: Api) -> None:
    made = await key(api)
    http = await signed_in(api, made["secret"])
    assert (await http.get("/api/v1/models")).status_code == 200
    await api.http.delete(f"/api/v1/namespaces/default/keys/{made['id']}")
    assert "revoked" in await refused(await http.get("/api/v1/models"), 401, "unauthorized")
    assert not (await http.get(SESSION)).json()["signed_in"]
    ends = datetime.now(UTC) + timedelta(minutes=5)
    brief = await key(api, expires_at=ends.isoformat())
    answer = await browser(api).post(SESSION, json={"key": brief["secret"]})
    assert datetime.fromisoformat(answer.json()["expires_at"]) == pytest.approx(ends, abs=timedelta(seconds=1))


async def test_a_session_is_over_at_its_end_whatever_the_browser_keeps(api: Api) -> None:
    http = await signed_in(api, TOKEN)
    sessions = api.services.sign_ins.sessions
    began = sessions._clock()
    sessions._clock = lambda: began + LASTS - 5
    assert (await http.get("/api/v1/models")).status_code == 200
    sessions._clock = lambda: began + LASTS + 1
    assert "Sign in again" in await refused(await http.get("/api/v1/models"), 401, "unauthorized")


async def test_pages_of_other_origins_change_nothing_with_a_session(api: Api) -> None:
    http = await signed_in(api, TOKEN)
    del http.headers["origin"]
    for told in (
        {}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://test:81"},
        {"Origin": "https://test"}, {"Origin": "http://test.evil.example"}, {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", **OWN}, {"Sec-Fetch-Site": "none", **OWN},
    ):  # fmt: skip
        for method, path in (
            ("POST", "/models"), ("PUT", "/models/m"), ("PATCH", "/models/m"), ("DELETE", "/models/m"),
            ("POST", "/session/links"), ("DELETE", "/session"),
        ):  # fmt: skip
            answer = await http.request(method, f"/api/v1{path}", json=STOPPED, headers=told)
            await refused(answer, 403, "cross_site")
    assert (await http.get("/api/v1/models", headers={"Origin": "http://evil.example"})).status_code == 200
    for told in (OWN, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy"}):
        answer = await http.put("/api/v1/models/m", json={"spec": {"engine": "mock"}}, headers=told)
        assert answer.status_code == 404, answer.text
    # An Authorization header is never sent by itself, so it is taken from anywhere, cookie or not.
    authorization = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    assert (await http.post("/api/v1/models", json=STOPPED, headers=authorization)).status_code == 200


async def test_behind_the_gateway_the_host_that_was_asked_counts(api: Api) -> None:
    http = await signed_in(api, TOKEN)
    forwarded = {"X-Forwarded-Host": "yard.example:8900", "X-Forwarded-Proto": "https"}
    for origin, status in (("https://yard.example:8900", 404), ("http://test", 403), ("http://yard.example:8900", 403)):
        answer = await http.delete("/api/v1/models/none", headers={**forwarded, "Origin": origin})
        assert answer.status_code == status, origin
    link = await http.post(f"{SESSION}/links", headers={**forwarded, "Origin": "https://yard.example:8900"})
    assert link.json()["url"] == f"https://yard.example:8900/#/sign-in?code={link.json()['code']}"


async def test_another_page_signs_nobody_in_as_somebody_else(api: Api) -> None:
    http, shown = browser(api), (await key(api))["secret"]
    for told in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await http.post(SESSION, json={"key": shown}, headers=told)
        await refused(answer, 403, "cross_site")
        assert "set-cookie" not in answer.headers
    assert (await api.http.post(SESSION, json={"key": shown})).status_code == 200, "no browser says nothing of a page"


async def test_a_cookie_that_was_not_made_here_is_nobodys(api: Api, homes: Any) -> None:
    good = dict((await signed_in(api, TOKEN)).cookies)[COOKIE]
    sessions = api.services.sign_ins.sessions
    async with serving(homes()) as other:
        foreign = dict((await signed_in(other, TOKEN)).cookies)[COOKIE]
    link = api.services.secrets.seal("/link", "", TOKEN).sealed
    on_the_way = sessions.seal("/sign-in", {"credential": TOKEN, "expires": 1e12})
    tampered = [good[:40] + ("A" if good[40] != "A" else "B") + good[41:], good[:-8], good.replace("v1.", "v2.")]
    for value in (foreign, link, on_the_way, *tampered, TOKEN, "v1..", "v1.x.y", "%", "a" * 5000, "\xe4"):
        answer = await browser(api, Cookie=f"{COOKIE}={value}").get("/api/v1/models")
        await refused(answer, 401, "unauthorized")
        shown = (await browser(api, Cookie=f"{COOKIE}={value}").get(SESSION)).json()
        assert not shown["signed_in"]
    assert (await browser(api, Cookie=f"a=b; {COOKIE}={good} ; c").get("/api/v1/models")).status_code == 200
    # A session that somebody has brought in is not gone on with.
    http = browser(api, Cookie=f"{COOKIE}={good}")
    assert (await http.post(SESSION, json={"key": (await key(api))["secret"]})).json()["name"] == "key:default/k"


async def test_what_is_wrong_is_refused_slowed_and_on_record_without_what_was_shown(api: Api, caplog: Any) -> None:
    http = browser(api, **{"X-Forwarded-For": "10.0.0.9"})
    wrong = "myk_0123456789ab_" + "5" * 64
    bodies = [
        {"key": wrong}, {"code": wrong}, {"kay": wrong}, {"key": wrong, "code": wrong}, {"key": [wrong]}, {},
        {"key": {"secret": wrong}}, {"key": wrong * 300},
    ]  # fmt: skip
    answers = [await http.post(f"{SESSION}?x={wrong}", json=body) for body in bodies]
    assert [a.status_code for a in answers] == [401, 401, 422, 422, 422, 422, 422, 422]
    assert "modelyard dashboard" in answers[1].json()["detail"]
    for answer in answers:
        assert wrong not in answer.text
        assert "set-cookie" not in answer.headers
    for _ in range(18):
        await refused(await http.post(SESSION, json={"key": wrong}), 401, "unauthorized")
    limited = await http.post(SESSION, json={"key": wrong})
    await refused(limited, 429, "rate_limited")
    assert int(limited.headers["retry-after"]) >= 1
    assert (await browser(api).post(SESSION, json={"key": wrong})).status_code == 401, "others have done nothing"
    assert (await http.post(SESSION, json={"key": TOKEN})).status_code == 200, "what is valid is never kept out"
    found = await entries(api, "sessions.begin")
    assert {(e["outcome"], e["code"]) for e in found} == {
        ("refused", "unauthorized"), ("refused", "invalid_request"), ("refused", "rate_limited"), ("done", ""),
    }  # fmt: skip
    assert {e["address"] for e in found if e["code"] == "rate_limited"} == {"10.0.0.9"}
    assert found[0]["change"] == {"asked": {"way": "key"}}
    assert wrong not in json.dumps(found)
    assert wrong not in caplog.text


async def test_a_link_signs_in_once_as_who_made_it(api: Api) -> None:
    shown = (await key(api))["secret"]
    authorization = {"Authorization": f"Bearer {shown}"}
    made = await api.http.post(f"{SESSION}/links", headers=authorization)
    link = made.json()
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert link["url"] == f"http://test/#/sign-in?code={link['code']}"
    assert len(link["code"]) == 43
    lasts = datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < lasts <= timedelta(minutes=10)
    http = browser(api)
    answers = await asyncio.gather(*(browser(api).post(SESSION, json={"code": link["code"]}) for _ in range(6)))
    assert sorted(a.status_code for a in answers) == [200, 401, 401, 401, 401, 401]
    (first,) = [a for a in answers if a.status_code == 200]
    assert first.json()["name"] == "key:default/k"
    # Of a session, too; and the key's end is the link's.
    http = await signed_in(api, shown)
    again = (await http.post(f"{SESSION}/links")).json()["code"]
    (found,) = (await api.get("/namespaces/default/keys"))["items"]
    await api.http.delete(f"/api/v1/namespaces/default/keys/{found['id']}")
    assert "revoked" in await refused(await browser(api).post(SESSION, json={"code": again}), 401, "unauthorized")
    assert (await browser(api).post(f"{SESSION}/links")).status_code == 401
    kept = [e["change"] for e in await entries(api, "sessions.begin") if e["outcome"] == "done"]
    assert {"asked": {"way": "link"}} in kept
    for path in api.home.rglob("*"):
        assert not path.is_file() or link["code"].encode() not in path.read_bytes(), path


async def test_nobody_makes_links_without_end(api: Api) -> None:
    answers = [await api.post("/session/links") for _ in range(31)]
    assert [a.status_code for a in answers] == [201] * 30 + [429]


async def test_behind_tls_the_cookie_is_for_this_host_and_for_https_alone() -> None:
    async with in_a_home(public_url="https://yard.example/") as api:
        http = browser(api, Origin="https://yard.example")
        answer = await http.post(SESSION, json={"key": TOKEN})
        sets = answer.headers["set-cookie"]
        assert sets.startswith("__Host-modelyard_session_8900=v1.")
        assert sets.endswith("; Secure")
        value = sets.partition("=")[2].partition(";")[0]
        plain = browser(api, Cookie=f"{COOKIE}={value}")
        assert (await plain.get("/api/v1/models")).status_code == 401
        prefixed = browser(api, Cookie=f"__Host-{COOKIE}={value}", Origin="https://yard.example")
        link = await prefixed.post(f"{SESSION}/links")
        assert link.json()["url"].startswith("https://yard.example/#/sign-in?code=")


# ------------------------------------------------------------------------------------------- the identity provider


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.person = {"email": "ada@example.com", "email_verified": True, "groups": ["staff"]}
    yield issuer
    issuer.close()


@pytest.fixture
async def with_oidc(issuer: Issuer) -> AsyncIterator[Api]:
    issuer.clients = {"dashboard": "s3cret"}
    async with in_a_home(
        oidc_issuer=issuer.url, oidc_client_id="dashboard", oidc_client_secret="s3cret",
        oidc_roles="staff=operator@default",
    ) as api:  # fmt: skip
        yield api


async def sent(http: httpx2.AsyncClient, to: str = "/#/models") -> str:
    """Where the browser is sent."""
    answer = await http.get(f"{SESSION}/oidc", params={"return_to": to})
    assert answer.status_code == 302, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert {"HttpOnly", "SameSite=Lax", "Max-Age=600"} < set(answer.headers["set-cookie"].split("; "))
    return answer.headers["location"]


async def passed(url: str) -> str:
    """Through the identity provider: where it sends the browser back to."""
    async with httpx2.AsyncClient() as outside:
        return (await outside.get(url)).headers["location"]


async def test_a_person_signs_in_by_the_identity_provider(with_oidc: Api, issuer: Issuer) -> None:
    api, http = with_oidc, browser(with_oidc)
    shown = (await http.get(SESSION)).json()
    assert (shown["ways"], shown["issuer"]) == (["key", "link", "oidc"], urlsplit(issuer.url).netloc)
    url = await sent(http)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert url.startswith(f"{issuer.url}/authorize?")
    assert asked["redirect_uri"] == "http://test/api/v1/session/oidc/callback"
    assert asked["scope"] == "openid email profile"
    back = await passed(url)
    # It comes from another site.
    answer = await http.get(back, headers={"Sec-Fetch-Site": "cross-site", "Origin": "null"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/#/models"), answer.text
    assert list(http.cookies) == [COOKIE], "what it was remembered by is forgotten"
    session = (await http.get(SESSION)).json()
    assert (session["name"], session["kind"], session["groups"]) == ("ada@example.com", "person", ["staff"])
    ends = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=590) < ends <= timedelta(seconds=600), "no longer than the token"
    assert (await http.post("/api/v1/models/none/start")).status_code == 404, "a member's rights by a group"
    (begun,) = await entries(api, "sessions.begin")
    assert (begun["actor"], begun["actor_kind"], begun["change"]) == (
        "ada@example.com", "person", {"asked": {"way": "oidc"}},
    )  # fmt: skip
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert code not in json.dumps(await entries(api, "sessions.begin"))


async def test_an_answer_for_another_sign_in_signs_nobody_in(with_oidc: Api, issuer: Issuer) -> None:
    """Each is an attacker's attempt to have a browser signed in as somebody else, or by what was used already."""
    ours, theirs = browser(with_oidc), browser(with_oidc)
    mine, foreign = await passed(await sent(ours)), await passed(await sent(theirs))
    # Another's whole answer, another's code with our state, nothing begun, no state, another issuer.
    state = parse_qs(urlsplit(mine).query)["state"][0]
    swapped = foreign.replace(parse_qs(urlsplit(foreign).query)["state"][0], state)
    callback = f"{SESSION}/oidc/callback"
    passage = dict(ours.cookies)
    attempts = (
        (foreign, passage), (swapped, passage), (mine, {}), (f"{callback}?code=x", passage), (callback, {}),
        (f"{callback}?state={state}&code=x&iss=https://evil.example", passage),
        (f"{callback}?state={state}&error=access_denied", passage), (f"{callback}?state={state}&code=x", passage),
        (mine, {name: value[:-6] + "AAAAAA" for name, value in passage.items()}),
    )  # fmt: skip
    for url, cookies in attempts:
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answer = await browser(with_oidc, Cookie=header).get(url)
        await refused(answer, 401, "sign_in_failed")
        assert COOKIE not in answer.headers.get("set-cookie", "")
    found = await entries(with_oidc, "sessions.begin")
    assert {(e["outcome"], e["code"]) for e in found} == {("refused", "sign_in_failed")}
    assert (await ours.get(mine)).status_code == 303
    await refused(await ours.get(mine), 401, "sign_in_failed")


async def test_a_token_with_another_nonce_or_for_others_signs_nobody_in(with_oidc: Api, issuer: Issuer) -> None:
    for person, code in (
        ({"nonce": "of another"}, "sign_in_failed"), ({"nonce": None}, "sign_in_failed"),
        ({"aud": "another"}, "unauthorized"), ({"exp": 1}, "unauthorized"), ({"groups": ["g" * 40] * 200}, ""),
    ):  # fmt: skip
        http = browser(with_oidc)
        issuer.person = person
        answer = await http.get(await passed(await sent(http)))
        if code:
            await refused(answer, 401, code)
        else:
            # All alike, they are small once they are compressed.
            assert answer.status_code == 303, answer.text
        assert (COOKIE in http.cookies) == (not code)


async def test_a_token_that_no_browser_would_keep_is_refused_in_words(with_oidc: Api, issuer: Issuer) -> None:
    http = browser(with_oidc)
    issuer.person = {"groups": [secrets.token_hex(20) for _ in range(120)]}
    answer = await http.get(await passed(await sent(http)))
    assert "fewer groups" in await refused(answer, 400, "credential_too_large")


async def test_a_browser_is_sent_back_to_paths_of_this_place_only(with_oidc: Api) -> None:
    http = browser(with_oidc)
    for to in (
        "https://evil.example", "//evil.example", "/\\evil.example", "\\/evil.example", "/\t/evil.example", "",
        "javascript:alert(1)", "/a\r\nSet-Cookie: a=b", "evil.example", "/ /evil.example", "/a\\b",
    ):  # fmt: skip
        await refused(await http.get(f"{SESSION}/oidc", params={"return_to": to}), 422, "invalid_request")
    for to in ("/", "/#/models?state=error", "/docs"):
        await sent(http, to)


async def test_a_person_is_told_in_a_page_what_went_wrong(with_oidc: Api, issuer: Issuer) -> None:
    http = browser(with_oidc, Accept="text/html,*/*;q=0.8")
    answer = await http.get(f"{SESSION}/oidc/callback?state=<b>&error=<script>")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "Begin anew" in answer.text
    assert "<script>" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    (found,) = await entries(with_oidc, "sessions.begin")
    assert (found["outcome"], found["code"]) == ("refused", "sign_in_failed")
    issuer.down = True
    away = await http.get(f"{SESSION}/oidc")
    assert (away.status_code, "cannot be asked" in away.text) == (503, True)


async def test_without_a_client_nobody_is_sent_anywhere(api: Api) -> None:
    for path in ("/oidc", "/oidc/callback"):
        await refused(await browser(api).get(f"{SESSION}{path}"), 404, "not_found")
