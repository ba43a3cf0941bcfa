"""Every route with every role: each lets in who holds what it declares, and nobody else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from modelyard.api.app import create_app
from modelyard.api.context import Needs, Reach
from modelyard.domain.access import EVERYWHERE, PERMISSIONS, Permission, Role
from tests.api.conftest import Api

# What needs no token, and why: whether the house stands is no secret, the gateway alone reaches the metrics, and who
# signs in has none yet, or nothing to lose by signing out, for which there is a page.
OPEN = {
    "GET /health", "GET /internal/metrics", "GET /docs", "GET /docs/oauth2-redirect", "GET /session", "POST /session",
    "DELETE /session", "GET /session/oidc", "GET /session/oidc/callback", "GET /", "GET /mark.svg",
    "GET /assets/{name}",
}  # fmt: skip

# By hand, so that a wrong declaration is seen: what changes or tells of more than models does. {ns} is both forms.
SENSITIVE = {
    "POST {ns}/models": Permission.EDIT,
    "PUT {ns}/models/{name}": Permission.EDIT,
    "PATCH {ns}/models/{name}": Permission.EDIT,
    "DELETE {ns}/models/{name}": Permission.EDIT,
    "POST {ns}/models/{name}/start": Permission.OPERATE,
    "POST {ns}/models/{name}/stop": Permission.OPERATE,
    "POST {ns}/models/{name}/rollback": Permission.OPERATE,
    "POST {ns}/models/stop": Permission.OPERATE,
    "POST {ns}/samples/{name}": Permission.EDIT,
    "PUT {ns}/models/{name}/schedule": Permission.OPERATE,
    "GET {ns}/models/{name}/logs": Permission.READ,
    "POST {ns}/registry/models/{name}/versions": Permission.EDIT,
    "PUT {ns}/registry/models/{name}/aliases/{alias}": Permission.EDIT,
    "POST {ns}/registry/models/{name}/imports": Permission.EDIT,
    "POST {ns}/registry/models/{name}/versions/{version}/signatures": Permission.EDIT,
    "PUT {ns}/registry/keys/{key}": Permission.ADMINISTER,
    "DELETE {ns}/registry/keys/{key}": Permission.ADMINISTER,
    "PUT {ns}/registry/policy": Permission.ADMINISTER,
    "GET /namespaces/{namespace}/members": Permission.ADMINISTER,
    "PUT /namespaces/{namespace}/members/{member}": Permission.ADMINISTER,
    "DELETE /namespaces/{namespace}/members/{member}": Permission.ADMINISTER,
    "GET /namespaces/{namespace}/keys": Permission.ADMINISTER,
    "POST /namespaces/{namespace}/keys": Permission.ADMINISTER,
    "POST /namespaces/{namespace}/keys/{key}/rotate": Permission.ADMINISTER,
    "DELETE /namespaces/{namespace}/keys/{key}": Permission.ADMINISTER,
    "PUT /namespaces/{namespace}/policies/{policy}": Permission.ADMINISTER,
    "PUT {ns}/models/{name}/overrides/{policy}": Permission.ADMINISTER,
    "GET /namespaces/{namespace}/audit": Permission.ADMINISTER,
    "PUT /namespaces/{namespace}/webhooks/{webhook}": Permission.ADMINISTER,
    "GET /members": Permission.OVERSEE,
    "PUT /members/{member}": Permission.OVERSEE,
    "POST /keys": Permission.OVERSEE,
    "POST /keys/{key}/rotate": Permission.OVERSEE,
    "PUT /policies/{policy}": Permission.OVERSEE,
    "PUT /webhooks/{webhook}": Permission.OVERSEE,
    "POST /namespaces": Permission.OVERSEE,
    "PATCH /namespaces/{namespace}": Permission.OVERSEE,
    "DELETE /namespaces/{namespace}": Permission.OVERSEE,
    "POST /doctor": Permission.OVERSEE,
    "GET /installation": Permission.OVERSEE,
    "GET /audit": Permission.OVERSEE,
    "GET /audit/export": Permission.OVERSEE,
    "POST /registry/gc": Permission.OVERSEE,
    "POST /registry/cleanup": Permission.OVERSEE,
    "GET /registry/cache": Permission.OVERSEE,
    "GET /registry/objects": Permission.OVERSEE,
    "PUT /registry/objects/{kind}/{shard}/{label}": Permission.EDIT,
}
# What is no secret among those who may come in.
FOR_ALL = {"GET /version", "GET /me", "GET /samples", "POST /session/links"}
# Gives away no more than its caller has shown; works out what it was sent, and keeps nothing.
HARMLESS = ["POST /session/links", "POST /schedules/preview"]

HOME, TEAM, ELSEWHERE = "default", "team", "elsewhere"
_VALUES = {"generation": "1", "number": "1", "kind": "objects", "shard": "ab", "label": "ab" * 32, "key": "0" * 12}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    needs: Needs | None

    @property
    def called(self) -> str:
        return f"{self.method} {re.sub(':path', '', self.path).removeprefix('/api/v1')}"

    @property
    def namespace(self) -> str:
        return TEAM if "/namespaces/{namespace}" in self.path else HOME

    @property
    def url(self) -> str:
        """Of things that are not there: what is let in answers 404, or 422 for a body without anything."""
        path = self.path.replace("{namespace}", TEAM)
        return re.sub(r"\{(\w+)(:path)?\}", lambda m: _VALUES.get(m[1], "nothing"), path)


@dataclass(frozen=True)
class Bearer:
    """Of a key for ``role`` in ``namespace``."""

    namespace: str
    role: Role

    def may(self, permission: Permission, namespace: str | None) -> bool:
        """In ``namespace``; None: in any."""
        if permission is Permission.OVERSEE:
            return self.namespace == EVERYWHERE and self.role is Role.ADMINISTRATOR
        return permission in PERMISSIONS[self.role] and self.namespace in (EVERYWHERE, namespace or self.namespace)


def routes(app: Any) -> list[Route]:
    found = []
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context, "dependant", None)
        if dependant is not None:
            declared = list(_needs(dependant))
            assert len(declared) < 2, f"{context.path} declares more than one permission"
            found += [
                Route(method, context.path, declared[0] if declared else None) for method in sorted(context.methods)
            ]
    return found


def _needs(dependant: Dependant) -> Iterator[Needs]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Needs):
            yield dependency.call
        yield from _needs(dependency)


def test_every_route_declares_what_it_needs_and_the_sensitive_ones_the_right_thing() -> None:
    found = routes(create_app(None))
    assert {r.called for r in found if r.needs is None} == OPEN
    assert {r.called for r in found if r.needs is not None and r.needs.permission is None} == FOR_ALL
    declared = {r.called: r.needs.permission for r in found if r.needs is not None}
    wanted = {
        name.replace("{ns}", form): permission
        for name, permission in SENSITIVE.items()
        for form in ("", "/namespaces/{namespace}")
    }
    assert {name: declared.get(name) for name in wanted} == wanted
    changing = [r for r in found if r.method not in ("GET", "HEAD") and r.needs is not None]
    assert [r.called for r in changing if r.needs and r.needs.permission in (None, Permission.READ)] == HARMLESS
    # Both path forms of one route need the same.
    for name, permission in declared.items():
        method, _, path = name.partition(" ")
        short = f"{method} {path.removeprefix('/namespaces/{namespace}')}"
        if "/models" in path and short in declared:
            assert declared[short] == permission, name


def expected(route: Route, bearer: Bearer) -> str:
    """``in``, ``forbidden`` or ``missing``: as if there were no such namespace."""
    assert route.needs is not None
    permission = route.needs.permission
    if permission is None:
        return "in"
    somewhere = route.needs.reach is Reach.SOMEWHERE
    if bearer.may(permission, None if somewhere else route.namespace):
        # Of a list in the short form the namespace is looked at afterwards.
        if somewhere and route.called in LISTS and bearer.namespace not in (EVERYWHERE, HOME):
            return "missing"
        return "in"
    if not somewhere and permission is not Permission.OVERSEE and bearer.namespace not in (EVERYWHERE, route.namespace):
        return "missing"
    return "forbidden"


# These mean the default namespace unless they are told otherwise.
LISTS = {"GET /models", "GET /registry/models", "POST /models/stop"}


async def test_each_route_lets_in_just_the_roles_that_hold_what_it_needs(api: Api) -> None:
    for namespace in (TEAM, ELSEWHERE):
        assert (await api.post("/namespaces", {"name": namespace})).status_code == 201
    # So that the namespace cannot be deleted by those who may.
    await api.wait(await api.post(f"/namespaces/{TEAM}/models", {"name": "kept", **_STOPPED}))
    roles = {namespace: [Bearer(namespace, role) for role in Role] for namespace in (HOME, TEAM)}
    others = [Bearer(ELSEWHERE, Role.ADMINISTRATOR), Bearer(EVERYWHERE, Role.EDITOR)]
    others += [Bearer(EVERYWHERE, Role.ADMINISTRATOR)]
    bearers = [*roles[HOME], *roles[TEAM], *others]
    tokens = {bearer: await _token(api, bearer) for bearer in bearers}
    wrong = []
    app = create_app(api.services)
    for route in routes(app):
        if route.needs is None:
            continue
        told = {}
        for bearer in [None, *roles[route.namespace], *others]:
            status, text = await _ask(app, route, tokens[bearer] if bearer else "")
            outcome = _outcome(status, text, route)
            wanted = "unknown" if bearer is None else expected(route, bearer)
            if outcome != wanted:
                told[bearer] = f"{outcome} ({status}) instead of {wanted}: {text[:120]}"
        wrong += [f"{route.called} as {bearer}: {text}" for bearer, text in told.items()]
    assert not wrong, "\n".join(wrong)


async def _ask(app: FastAPI, route: Route, token: str) -> tuple[int, str]:
    """The status and the text of the answer to a caller who has gone when it comes: nothing streams on for it. Without
    an HTTP client between, which would take most of the time."""
    path, _, query = route.url.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": route.method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(b"host", b"x"), (b"authorization", f"Bearer {token}".encode() if token else b""),
                    (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("x", 80), "state": {},
    }  # fmt: skip
    body = b"" if route.method in ("GET", "HEAD") else b"{}"
    received = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Any] = []

    begun = asyncio.Event()

    async def receive() -> Any:
        if (message := next(received, None)) is not None:
            return message
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    async with asyncio.timeout(20):
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent).decode(errors="replace")


_STOPPED = {"spec": {"engine": "mock"}, "desired": "stopped"}


async def _token(api: Api, bearer: Bearer) -> str:
    scope = "" if bearer.namespace == EVERYWHERE else f"/namespaces/{bearer.namespace}"
    made = await api.post(f"{scope}/keys", {"name": bearer.role, "role": bearer.role})
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def _outcome(status: int, text: str, route: Route) -> str:
    if status == 401:
        return "unknown"
    if status == 403:
        return "forbidden"
    # HEAD has no text; nothing that has it is of one namespace.
    if status == 404 and "There is no namespace" in text and route.method != "HEAD":
        return "missing"
    return "in"
