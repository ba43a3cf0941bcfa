"""What it costs to find out who asks and whether it may: of each way in which a caller can show who it is."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey

from modelyard.access.callers import Callers, Snapshot
from modelyard.access.keys import ApiKey, digest, new_key
from modelyard.access.members import Member, MemberKind
from modelyard.access.tokens import Rules, Tokens
from modelyard.domain.access import Role
from modelyard.domain.rates import Rate
from modelyard.gateway.access import Access
from modelyard.gateway.routes import Route, parse_route

KEYS, MEMBERS, ROUNDS, BATCH = 10_000, 1_000, 300, 100
ISSUER = "https://issuer.example"
_ROUTE = (
    b'{"uid":"u","namespace":"default","name":"digits","state":"running","generation":1,"request_timeout":60,'
    b'"max_body":1000,"max_queue":10,"groups":["science","finance"]%s}'
)


def access(report: Callable[[str, str, str, bool], None]) -> None:
    """Authorization of a request to a model of two groups, beside 10,000 keys and 1,000 members."""
    with tempfile.TemporaryDirectory(prefix="my-") as folder:
        gate, shown = asyncio.run(_prepared(Path(folder)))
    route, limited = parse_route(_ROUTE % b""), parse_route(_ROUTE % b',"rate":{"per_second":1000000}')
    for way, header in shown.items():
        for what, asked in (("", route), (", with a rate", limited)):
            took = _median(lambda h=header, r=asked: _ask(gate, h, r))  # type: ignore[misc]
            report(f"authorization by {way}{what}, median", f"{took:.1f} µs", "<= 50 µs", took <= 50)
    _first_sight(report)


def _first_sight(report: Callable[[str, str, str, bool], None]) -> None:
    """Of keys that are not remembered yet."""
    made = [_key(f"k{number}") for number in range(ROUNDS)]
    callers = Callers()
    callers.replace(Snapshot(keys=tuple(key for _, key in made)))
    took = []
    for secret, _ in made:
        header = f"Bearer {secret}".encode()
        began = time.perf_counter()
        assert callers.known(header) is not None
        took.append((time.perf_counter() - began) * 1e6)
    median = statistics.median(took)
    report("authorization by a key that comes for the first time", f"{median:.1f} µs", "<= 50 µs", median <= 50)


async def _prepared(folder: Path) -> tuple[Access, dict[str, bytes]]:
    """A gate that knows them all, and what each shows."""
    key = RSAKey.generate_key(2048, {"kid": "k"})

    async def fetch(url: str) -> bytes:
        return json.dumps({"keys": [key.as_dict(private=False)]}).encode()

    tokens = Tokens(Rules(issuer=ISSUER, audiences=frozenset({"m"}), jwks_url=ISSUER), fetch)
    callers = Callers(tokens)
    (secret, mine), others = _key("mine"), [_key(f"k{number}")[1] for number in range(KEYS - 1)]
    members = [
        Member(namespace="default", kind=MemberKind.GROUP, value=f"g{number}", role=Role.USER)
        for number in range(MEMBERS - 1)
    ]
    members.append(Member(namespace="default", kind=MemberKind.SUBJECT, value="ada", role=Role.USER))
    callers.replace(Snapshot(keys=(mine, *others), members=tuple(members)))
    (folder / "token").write_text("an-administrator")
    claims = {"iss": ISSUER, "aud": "m", "sub": "ada", "exp": int(time.time()) + 3600, "groups": ["science"]}
    token = f"Bearer {jwt.encode({'alg': 'RS256', 'kid': 'k'}, claims, key)}".encode()
    gate = Access(folder / "token", "an-administrator", callers)
    await gate.identify(token)
    return gate, {
        "the administrator's token": b"Bearer an-administrator",
        "an API key": f"Bearer {secret}".encode(),
        "a token of an identity provider": token,
    }


def _key(name: str) -> tuple[str, ApiKey]:
    secret, key_id = new_key()
    key = ApiKey(
        id=key_id, name=name, digest=digest(secret), namespace="default", role=Role.USER, groups=("science",),
        models=("dig*",), rate=Rate(per_second=1_000_000), created_at=datetime.now(UTC),
    )  # fmt: skip
    return secret, key


def _ask(gate: Access, header: bytes, route: Route) -> None:
    assert gate.may_infer(header, route)


def _median(call: Callable[[], None]) -> float:
    """Microseconds a call."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(BATCH):
            call()
        took.append((time.perf_counter() - began) / BATCH * 1e6)
    return statistics.median(took)
