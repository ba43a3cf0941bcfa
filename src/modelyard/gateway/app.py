"""The ASGI application: from what a request's path asks for to the part that answers it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from modelyard.domain.access import Permission
from modelyard.gateway import inference, repository, streaming, v1
from modelyard.gateway.access import Access
from modelyard.gateway.browsers import Browsers
from modelyard.gateway.cors import Cors
from modelyard.gateway.dividing import Dividing
from modelyard.gateway.exchange import JSON_TYPE, ClientGone, Deadlines, Exchange, Receive, Scope, Send
from modelyard.gateway.holding import hold
from modelyard.gateway.metrics import TEXT_TYPE, GatewayMetrics
from modelyard.gateway.paths import FORMS, Kind, Target, target_of
from modelyard.gateway.problems import (
    Refusal,
    method_not_allowed,
    model_not_found,
    retry_after,
    stopping,
)
from modelyard.gateway.proxy import Proxy
from modelyard.gateway.routes import NotServing
from modelyard.gateway.served import RouteTable, ServedModel, Wanted

log = logging.getLogger(__name__)

# Where servers commonly answer health checks and scrapers, by the last segment of the path.
_PROBED: Final = frozenset({"health", "healthz", "live", "livez", "metrics", "ping", "ready", "readyz"})


class GatewayApp:
    """The front door; made inside the loop it runs in. ``closing`` is set when no new work should be sent here."""

    def __init__(
        self,
        routes: RouteTable,
        access: Access,
        proxy: Proxy,
        metrics: GatewayMetrics,
        browsers: Browsers,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        self._routes = routes
        self._access = access
        self._proxy = proxy
        self._metrics = metrics
        self._browsers = browsers
        self._cors = Cors(origins)
        self._dividing = Dividing(routes)
        self._deadlines = Deadlines(asyncio.get_running_loop())
        self.closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._deadlines)
        try:
            if self._cors.allow(exchange):
                await exchange.respond(200, TEXT_TYPE, b"")
            else:
                await self._answer(exchange)
        except Refusal as refusal:
            if refusal.status == 401:
                refusal = self._browsers.refusal(exchange) or refusal
            self._metrics.refuse(refusal.code)
            if isinstance(refusal, NotServing) and not self._access.reads(_shown(exchange), refusal.route):
                refusal = refusal.without_reason()
            await exchange.refuse(refusal)
        except ClientGone:
            exchange.connection.abort()
        except asyncio.CancelledError:
            # The process is being stopped and this request has had its time.
            await exchange.refuse(stopping())
        except Exception:
            log.exception("%s %s failed (request %s)", exchange.method, exchange.path, exchange.id.decode())
            await exchange.refuse(
                Refusal(500, "internal_error", "The gateway failed on this request; its log says more.")
            )

    async def _answer(self, exchange: Exchange) -> None:
        target = target_of(exchange.scope["raw_path"])
        kind = target.kind
        if kind is not Kind.CONTROL:
            self._browsers.present(exchange)
        if kind in FORMS:
            model = await self._model(exchange, target, Permission.INFER)
            self._access.count(exchange.caller, model.route)
            if model.divided and target.version is None:
                await self._dividing.answer(exchange, model, partial(self._infer, exchange, target))
            else:
                await self._infer(exchange, target, model, None)
        elif kind is Kind.CONTROL:
            await self._proxy.to_control(exchange)
        elif kind is Kind.PROXY:
            model, probe = await self._called(exchange, target)
            if not model.serves and not probe:
                await hold(exchange, model, None)
            await self._proxy.to_instance(exchange, model, Wanted(server=True), target.rest, probe=probe)
        elif kind is Kind.UNKNOWN and target.name:
            await self._other_model_path(exchange, target)
        elif kind in (Kind.HIDDEN, Kind.UNKNOWN):
            raise _not_found(exchange)
        elif kind in (Kind.REPOSITORY_INDEX, Kind.MODEL_LOAD, Kind.MODEL_UNLOAD):
            await self._repository(exchange, target)
        elif exchange.method not in ("GET", "HEAD"):
            raise method_not_allowed("GET, HEAD")
        else:
            await self._read(exchange, target)

    async def _infer(self, exchange: Exchange, target: Target, model: ServedModel, generation: int | None) -> None:
        if not model.serves:
            await hold(exchange, model, target.version)
        # Which kind answers is known only now that an instance is there.
        wanted = model.v2(target.version)._replace(generation=generation)
        if wanted.server:
            await self._proxy.to_instance(exchange, model, wanted, target.rest)
        elif exchange.method != "POST":
            raise method_not_allowed("POST")
        elif target.kind is Kind.MODEL_STREAM:
            await streaming.stream(exchange, model, wanted)
        else:
            await inference.infer(exchange, model, wanted, FORMS[target.kind])

    async def _read(self, exchange: Exchange, target: Target) -> None:
        kind = target.kind
        if kind is Kind.SERVER:
            await exchange.respond(200, JSON_TYPE, inference.SERVER_METADATA)
        elif kind is Kind.LIVE:
            await exchange.respond(200, JSON_TYPE, b'{"live":true}')
        elif kind is Kind.READY:
            if self.closing:
                raise Refusal(503, "gateway_stopping", "The gateway is being stopped.", headers=[retry_after(1)])
            await exchange.respond(200, JSON_TYPE, b'{"ready":true}')
        elif kind is Kind.METRICS:
            self._access.demand_metrics(await self._access.identify(_shown(exchange)))
            others = await self._proxy.control_metrics()
            await exchange.respond(200, TEXT_TYPE, self._metrics.text(others))
        elif kind is Kind.V1_MODELS:
            await v1.models(exchange, [model for model, _ in await self._visible(exchange, target)])
        elif kind is Kind.MODEL_READY:
            await inference.ready(exchange, await self._model(exchange, target, Permission.READ), target.version)
        else:
            model = await self._model(exchange, target, Permission.READ)
            wanted = model.v2(target.version)
            if wanted.server:
                await self._proxy.to_instance(exchange, model, wanted, target.rest, probe=True)
            elif kind is Kind.V1_READY:
                await v1.ready(exchange, model, wanted)
            else:
                await inference.metadata(exchange, model, wanted)

    async def _repository(self, exchange: Exchange, target: Target) -> None:
        if exchange.method != "POST":
            raise method_not_allowed("POST")
        if target.kind is Kind.REPOSITORY_INDEX:
            await repository.answer_index(exchange, await self._visible(exchange, target))
            return
        await self._access.identify(_shown(exchange))
        action = "load" if target.kind is Kind.MODEL_LOAD else "unload"
        model = await self._model(exchange, target, Permission.READ)
        await repository.answer_command(exchange, self._proxy, action, *model.labels)

    async def _other_model_path(self, exchange: Exchange, target: Target) -> None:
        """A path below a model that is none of V2's: a server that its user brought may know it."""
        model, probe = await self._called(exchange, target)
        if not model.serves and not probe:
            await hold(exchange, model, target.version)
        wanted = Wanted(True, target.version)
        if model.workers and not model.among(wanted):
            raise _not_found(exchange)
        await self._proxy.to_instance(exchange, model, wanted, target.rest, probe=probe)

    async def _visible(self, exchange: Exchange, target: Target) -> list[tuple[ServedModel, bool]]:
        """See :func:`modelyard.gateway.repository.visible`."""
        return await repository.visible(self._routes, self._access, _shown(exchange), target.namespace)

    async def _called(self, exchange: Exchange, target: Target) -> tuple[ServedModel, bool]:
        """The model whose own server is called, and whether the request is a probe. Raises Refusal."""
        probe = _is_probe(exchange, target.rest)
        model = await self._model(exchange, target, Permission.READ if probe else Permission.INFER)
        if not probe:
            self._access.count(exchange.caller, model.route)
        return model, probe

    async def _model(self, exchange: Exchange, target: Target, permission: Permission) -> ServedModel:
        """The model that ``target`` names, if the caller may do with it what needs ``permission``.

        Raises:
            Refusal: without a token nobody learns which models there are, except public ones, and with one only of
                those that its bearer may know of.
        """
        model = self._routes.find(target.namespace, target.name)
        if model is not None and model.route.public:
            exchange.caller = self._access.known(_shown(exchange))
            return model
        exchange.caller = await self._access.identify(_shown(exchange))
        if model is None:
            raise model_not_found(target.namespace, target.name)
        self._access.demand(exchange.caller, permission, model.route)
        return model


def _shown(exchange: Exchange) -> bytes | None:
    """What the caller shows of who it is: nothing, if that is several things."""
    shown = exchange.headers.get(b"authorization")
    if shown is not None and sum(name == b"authorization" for name, _ in exchange.scope["headers"]) > 1:
        return None
    return shown


def _is_probe(exchange: Exchange, path: str) -> bool:
    """Whether somebody only looks how a server that its user brought is: that is none of the model's requests,
    so it neither wakes the model nor keeps it awake."""
    return exchange.method in ("GET", "HEAD") and path.rstrip("/").rpartition("/")[2] in _PROBED


def _not_found(exchange: Exchange) -> Refusal:
    return Refusal(404, "not_found", f"Nothing is served at {exchange.path[:200]}.")
