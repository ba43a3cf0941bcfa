"""Tokens of an identity provider that is really served: which are taken, and which are not."""

import asyncio
import base64
import json
import time

import pytest

from modelyard.access.errors import NotAccepted
from modelyard.access.fetching import fetch
from modelyard.access.issuing import FRESH, PAUSE, STALE, IssuerUnavailable
from modelyard.access.tokens import Rules, Tokens
from tests.access.issuer import AUDIENCE, RSA, ECKey, OKPKey, signed_by_hand


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def monotonic():
    return Clock(1000.0)


@pytest.fixture
def tokens(issuer, monotonic):
    return Tokens(Rules(issuer=issuer.url, audiences=frozenset({AUDIENCE, "other"})), fetch, monotonic=monotonic)


def tampered(token, **changes):
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | changes
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


async def refusal(tokens, token):
    with pytest.raises(NotAccepted) as caught:
        await tokens.identify(token)
    for part in token.split("."):
        assert len(part) < 8 or part not in caught.value.message
    return caught.value.message


async def test_a_valid_token_says_who_it_is(issuer, tokens):
    identity = await tokens.identify(
        issuer.token(email="Ada@example.com", email_verified=True, groups=["science", 7, "staff"])
    )
    assert (identity.subject, identity.name, identity.email) == ("u-1", "Ada@example.com", "Ada@example.com")
    assert identity.groups == {"science", "staff"}
    assert identity.expires_at.timestamp() == pytest.approx(time.time() + 600, abs=5)
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    await tokens.identify(issuer.token(aud=["x", "other"]))
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("claims", [{}, {"email_verified": False}, {"email_verified": "true"}])
async def test_an_address_that_the_issuer_has_not_verified_is_nobodys(issuer, tokens, claims):
    identity = await tokens.identify(issuer.token(email="ada@example.com", **claims))
    assert (identity.name, identity.email) == ("subject:u-1", "")


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("ES256", ECKey.generate_key("P-256")), ("PS256", RSA[0]), ("Ed25519", OKPKey.generate_key("Ed25519"))],
)
async def test_each_kind_of_key_signs(issuer, tokens, algorithm, key):
    issuer.keys = {"k": key}
    assert (await tokens.identify(issuer.token("k", algorithm=algorithm))).subject == "u-1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"exp": None}, "exp is missing"),
        ({"exp": "soon"}, "exp is missing or no time"),
        ({"exp": True}, "exp is missing or no time"),
        ({"exp": float("inf")}, "exp is missing or no time"),
        ({"exp": float("nan")}, "exp is missing or no time"),
        ({"nbf": int(time.time()) + 120}, "not valid yet"),
        ({"iat": int(time.time()) + 120}, "made in the future"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "theirs"}, "another audience"),
        ({"aud": ["theirs", 3]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {"modelyard": 1}}, "another audience"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": "a\nadmin"}, "no subject"),
        ({"header": {"crit": ["x"], "x": 1}}, "demands what is not understood"),
        ({"header": {"b64": False}}, "demands what is not understood"),
        ({"header": {"typ": "logout+jwt"}}, "of another kind"),
        ({"header": {"typ": "dpop+jwt"}}, "of another kind"),
        ({"algorithm": "RS512"}, "algorithms that are taken here"),
        ({"kid": None, "key": RSA[1]}, "signature is wrong"),
        ({"key": RSA[1]}, "signature is wrong"),
        ({"kid": "two", "key": RSA[1]}, "does not have"),
    ],
)
async def test_what_is_wrong_with_a_token_is_said(issuer, tokens, changes, said):
    assert said in await refusal(tokens, issuer.token(**changes))


async def test_clocks_may_differ_a_little(issuer, tokens):
    now = int(time.time())
    await tokens.identify(issuer.token(exp=now - 20, nbf=now + 20, iat=now + 20))


async def test_what_is_no_token_is_refused(issuer, tokens):
    good = issuer.token()
    head, body, signature = good.split(".")
    for text in (
        "", "a", "..", "a.b.c", f"{head}.{body}", f"{head}.{body}.", f"{head}..{signature}", f".{body}.{signature}",
        f"{good}.x", f"{head}.{body}.{signature[:-4]}AAAA", "é.ü.ß", "x" * 20_000,
        base64.urlsafe_b64encode(b"[" * 5000).decode() + f".{body}.{signature}",
    ):  # fmt: skip
        await refusal(tokens, text)
    assert "signature is wrong" in await refusal(tokens, tampered(good, sub="root"))


async def test_no_algorithm_but_a_public_key_s_is_taken(issuer, tokens):
    """Algorithm confusion: a signature made with the public key, as a secret, or none at all."""
    content = json.dumps(issuer.claims()).encode()
    for secret in (issuer.keys["one"].as_pem(private=False), json.dumps(issuer.keys["one"].as_dict()).encode()):
        forged = signed_by_hand({"alg": "HS256", "typ": "JWT", "kid": "one"}, content, secret)
        assert "algorithms" in await refusal(tokens, forged)
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    _, body, signature = issuer.token().split(".")
    for token in (f"{head}.{body}.", f"{head}.{body}.{signature}"):
        assert "algorithms" in await refusal(tokens, token)
    assert issuer.asked == []
    for name in ("HS256", "none", "HS512"):
        with pytest.raises(ValueError, match="public keys"):
            Rules(issuer="x", audiences=frozenset("y"), algorithms=(name,))
    with pytest.raises(ValueError, match="audience"):
        Rules(issuer="x", audiences=frozenset())


async def test_a_key_that_comes_with_the_token_is_not_asked(issuer, tokens):
    theirs = RSA[1]
    header = {"jwk": theirs.as_dict(private=False), "jku": f"{issuer.url}/keys?theirs"}
    assert "signature is wrong" in await refusal(tokens, issuer.token(key=theirs, header=header))
    assert "/keys?theirs" not in issuer.asked


async def test_a_key_of_another_kind_or_curve_does_not_sign(issuer, tokens):
    issuer.keys = {"one": ECKey.generate_key("P-384")}
    await refusal(tokens, issuer.token(key=RSA[0]))
    await refusal(tokens, issuer.token(key=ECKey.generate_key("P-256"), algorithm="ES256"))


async def test_keys_for_encryption_shared_ones_and_short_ones_are_left_out(issuer, tokens, monkeypatch):
    answer = issuer.answer

    def served(path):
        document = answer(path)
        if path == "/keys":
            document["keys"][0]["use"] = "enc"
            document["keys"].append({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"})
            document["keys"] += ["text", {"kty": "RSA", "kid": "broken", "n": "AQ", "e": "AQAB"}]
        return document

    monkeypatch.setattr(issuer, "answer", served)
    with pytest.raises(IssuerUnavailable):
        await tokens.identify(issuer.token())


async def test_a_new_key_is_asked_for_once_in_a_while_whatever_tokens_name(issuer, tokens, monotonic):
    await tokens.identify(issuer.token())
    issuer.keys["two"] = RSA[1]
    # A moment after the keys were asked for, they are not asked for again.
    assert "does not have" in await refusal(tokens, issuer.token("two"))
    assert issuer.asked.count("/keys") == 1
    monotonic.now += PAUSE
    version = tokens.version
    assert await tokens.identify(issuer.token("two"))
    assert issuer.asked.count("/keys") == 2
    assert tokens.version == version + 1
    for number in range(20):
        await refusal(tokens, issuer.token(f"made-up-{number}", key=RSA[1]))
    assert issuer.asked.count("/keys") == 2


async def test_a_key_that_is_withdrawn_goes_when_the_keys_are_no_longer_fresh(issuer, tokens, monotonic):
    old = issuer.token()
    await tokens.identify(old)
    issuer.keys = {"two": RSA[1]}
    monotonic.now += FRESH
    # Nobody waits for newer keys while there are some that hold; what was known by those before is asked anew.
    version = tokens.version
    await tokens.identify(old)
    async with asyncio.timeout(5):
        while tokens.version == version:
            await asyncio.sleep(0.01)
    assert "does not have" in await refusal(tokens, old)


async def test_nobody_waits_for_newer_keys_and_who_goes_away_takes_the_question_for_them_not_back(issuer, monotonic):
    answering, asked = asyncio.Event(), []

    async def slowly(url):
        asked.append(url)
        await answering.wait()
        return await fetch(url)

    rules = Rules(issuer=issuer.url, audiences=frozenset({AUDIENCE}), jwks_url=f"{issuer.url}/keys")
    tokens = Tokens(rules, slowly, monotonic=monotonic)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tokens.identify(issuer.token()), 0.05)
    answering.set()
    # By the question that the first has begun: another one is not due.
    await tokens.identify(issuer.token())
    assert len(asked) == 1
    answering.clear()
    monotonic.now += FRESH
    async with asyncio.timeout(5):
        await tokens.identify(issuer.token())
        await tokens.identify(issuer.token())
    answering.set()
    await tokens._keys._asking
    assert len(asked) == 2


async def test_keys_survive_an_issuer_that_is_away_for_a_day_and_no_longer(issuer, tokens, monotonic):
    await tokens.identify(issuer.token())
    issuer.down = True
    monotonic.now += STALE - 1
    await tokens.identify(issuer.token())
    monotonic.now += 1
    with pytest.raises(IssuerUnavailable) as error:
        await tokens.identify(issuer.token())
    assert error.value.http_status == 503
    issuer.down = False
    monotonic.now += PAUSE
    await tokens.identify(issuer.token())


async def test_a_discovery_document_of_another_issuer_is_not_followed(issuer, tokens):
    issuer.document = {"issuer": "https://elsewhere.example", "jwks_uri": f"{issuer.url}/keys"}
    with pytest.raises(IssuerUnavailable):
        await tokens.identify(issuer.token())
    assert "/keys" not in issuer.asked


async def test_the_keys_place_may_be_given_instead_of_discovered(issuer):
    rules = Rules(issuer=issuer.url, audiences=frozenset({AUDIENCE}), jwks_url=f"{issuer.url}/keys")
    await Tokens(rules, fetch).identify(issuer.token())
    assert issuer.asked == ["/keys"]


@pytest.mark.parametrize(
    ("path", "claims", "groups"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["a", "b"]}}, {"a", "b"}),
        ("https://x.example/groups", {"https://x.example/groups": ["a"]}, {"a"}),
        ("groups", {"groups": "a"}, {"a"}),
        ("groups", {"groups": {"a": 1}}, set()),
        ("groups.deep", {"groups": ["a"]}, set()),
        ("groups", {}, set()),
    ],
)
async def test_groups_are_where_the_settings_say(issuer, path, claims, groups):
    rules = Rules(issuer=issuer.url, audiences=frozenset({AUDIENCE}), groups_claim=path)
    assert (await Tokens(rules, fetch).identify(issuer.token(**claims))).groups == groups


async def test_what_is_fetched_is_small_and_from_where_it_was_asked(issuer, monkeypatch):
    monkeypatch.setattr(issuer, "answer", lambda path: "x" * 2**21)
    with pytest.raises(OSError, match="larger than"):
        await fetch(issuer.url)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", ""):
        with pytest.raises(OSError, match="no http"):
            await fetch(url)
