"""Rules and webhooks, of the installation and of namespaces, and what became of what was sent.

Annotations are evaluated here, as in :mod:`modelyard.api.models`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from modelyard.api import schemas
from modelyard.api.context import CallerDep, Needs, PageSize, PageToken, Services, answer
from modelyard.control.alert_desk import Set
from modelyard.control.alert_ports import DeliveryQuery
from modelyard.domain import alerts as domain
from modelyard.domain import webhooks
from modelyard.domain.access import Permission
from modelyard.domain.alerts import INSTALLATION
from modelyard.domain.webhooks import DeliveryState

RuleName = Annotated[str, Path(description="The rule's name.", examples=["start-failed"])]
HookName = Annotated[str, Path(description="The webhook's name.", examples=["on-call"])]
DeliveryId = Annotated[str, Path(description="The delivery's id.")]

_MADE: dict[int | str, dict[str, Any]] = {201: {"model": schemas.WebhookSet, "description": "It is new."}}


async def _of_all() -> str:
    return INSTALLATION


async def _of_one(namespace: Annotated[str, Path(description="The namespace's name.")]) -> str:
    return namespace


def build_router(
    prefix: str, scope: Callable[..., Awaitable[str]], permission: Permission, tag: str
) -> APIRouter:  # fmt: skip
    """The routes for one path form."""
    router = APIRouter(prefix=prefix, tags=[tag])
    _add_rules(router, scope, permission)
    _add_webhooks(router, scope, permission)
    _add_deliveries(router, scope, permission)
    return router


def _add_rules(router: APIRouter, scope: Callable[..., Awaitable[str]], permission: Permission) -> None:
    Scope = Annotated[str, Depends(scope)]  # noqa: N806 - it is a type
    Allowed = Annotated[Services, Depends(Needs(permission))]  # noqa: N806 - it is a type

    @router.get("/alert-rules", response_model=schemas.Items[schemas.AlertRule], summary="What is watched for")
    async def list_rules(ns: Scope, services: Allowed) -> Response:
        items = [_rule_out(rule) for rule in await services.alerts.rules(ns)]
        return answer(schemas.Items[schemas.AlertRule](items=items))

    @router.get("/alert-rules/{rule}", response_model=schemas.AlertRule, summary="One rule")
    async def get_rule(rule: RuleName, ns: Scope, services: Allowed) -> Response:
        found = await services.alerts.rule(ns, rule)
        return answer(_rule_out(found), headers={"ETag": f'"{found.version}"'})

    @router.put("/alert-rules/{rule}", response_model=schemas.AlertRule, summary="Set a rule")
    async def put_rule(
        rule: RuleName, body: schemas.SetAlertRule, ns: Scope, caller: CallerDep, services: Allowed
    ) -> Response:
        """One of the name of a built-in rule takes its place, for example to switch it off."""
        written = await services.alerts.set_rule(_rule_in(ns, rule, body), caller.if_match)
        return answer(_rule_out(written), headers={"ETag": f'"{written.version}"'})

    @router.delete("/alert-rules/{rule}", status_code=204, summary="Delete a rule")
    async def delete_rule(rule: RuleName, ns: Scope, caller: CallerDep, services: Allowed) -> Response:
        """What it has fired is over then. In the place of a built-in one is the built-in one again."""
        await services.alerts.delete_rule(ns, rule, caller.if_match)
        return Response(status_code=204)


def _add_webhooks(router: APIRouter, scope: Callable[..., Awaitable[str]], permission: Permission) -> None:
    Scope = Annotated[str, Depends(scope)]  # noqa: N806 - it is a type
    Allowed = Annotated[Services, Depends(Needs(permission))]  # noqa: N806 - it is a type

    @router.get("/webhooks", response_model=schemas.Items[schemas.Webhook], summary="Who is told of alerts")
    async def list_webhooks(ns: Scope, services: Allowed) -> Response:
        items = [schemas.Webhook(**_hook_out(hook)) for hook in await services.alerts.webhooks(ns)]
        return answer(schemas.Items[schemas.Webhook](items=items))

    @router.get("/webhooks/{webhook}", response_model=schemas.Webhook, summary="One webhook")
    async def get_webhook(webhook: HookName, ns: Scope, services: Allowed) -> Response:
        found = await services.alerts.webhook(ns, webhook)
        return answer(schemas.Webhook(**_hook_out(found)), headers={"ETag": f'"{found.version}"'})

    @router.put(
        "/webhooks/{webhook}", response_model=schemas.WebhookSet, responses=_MADE, summary="Set a webhook"
    )  # fmt: skip
    async def put_webhook(
        webhook: HookName, body: schemas.SetWebhook, ns: Scope, caller: CallerDep, services: Allowed
    ) -> Response:
        """The first time it is given a secret, by which receivers check the header X-Modelyard-Signature. Nothing is
        sent to this server's own machine, or link-local addresses, unless the host is in MODELYARD_WEBHOOK_HOSTS."""
        hook = _hook_in(ns, webhook, body, services)
        wanted = Set(webhook=hook, url=body.url, headers=body.headers, rotate=body.rotate_secret)
        written, secret = await services.alerts.set_webhook(wanted, caller.if_match)
        shown = schemas.WebhookSet(**_hook_out(written), secret=secret)
        return answer(shown, 201 if written.version == 1 else 200, {"ETag": f'"{written.version}"'})

    @router.delete("/webhooks/{webhook}", status_code=204, summary="Delete a webhook")
    async def delete_webhook(webhook: HookName, ns: Scope, caller: CallerDep, services: Allowed) -> Response:
        """With all that was still to be sent to it."""
        await services.alerts.delete_webhook(ns, webhook, caller.if_match)
        return Response(status_code=204)

    @router.post(
        "/webhooks/{webhook}/test", status_code=202, response_model=schemas.Delivery, summary="Send a test"
    )  # fmt: skip
    async def test_webhook(webhook: HookName, ns: Scope, services: Allowed) -> Response:
        """What comes of it its delivery says."""
        return answer(_delivery_out(await services.alerts.test(ns, webhook)), 202)


def _add_deliveries(router: APIRouter, scope: Callable[..., Awaitable[str]], permission: Permission) -> None:
    Scope = Annotated[str, Depends(scope)]  # noqa: N806 - it is a type
    Allowed = Annotated[Services, Depends(Needs(permission))]  # noqa: N806 - it is a type

    async def page(services: Services, query: DeliveryQuery) -> Response:
        found = await services.alerts.deliveries(query)
        items = [_delivery_out(each) for each in found.items]
        return answer(schemas.Page[schemas.Delivery](items=items, next_page_token=found.next_page_token))

    @router.get(
        "/webhooks/{webhook}/deliveries", response_model=schemas.Page[schemas.Delivery],
        summary="What was sent to a webhook, newest first",
    )  # fmt: skip
    async def list_deliveries(
        webhook: HookName, ns: Scope, services: Allowed, page_size: PageSize = 50, page_token: PageToken = ""
    ) -> Response:
        """With what came of it. What was taken is kept for a week."""
        query = DeliveryQuery(namespace=ns, webhook=webhook, page_size=page_size, page_token=page_token)
        return await page(services, query)

    @router.get(
        "/dead-letters", response_model=schemas.Page[schemas.Delivery], summary="What was sent in vain for a day"
    )  # fmt: skip
    async def list_dead_letters(
        ns: Scope, services: Allowed, page_size: PageSize = 50, page_token: PageToken = ""
    ) -> Response:
        """Kept for 30 days."""
        query = DeliveryQuery(namespace=ns, state=DeliveryState.DEAD, page_size=page_size, page_token=page_token)
        return await page(services, query)

    @router.post(
        "/dead-letters/{delivery}/retry", status_code=202, response_model=schemas.Delivery, summary="Send it again"
    )  # fmt: skip
    async def retry_dead_letter(delivery: DeliveryId, ns: Scope, services: Allowed) -> Response:
        """Under its old id, for another day."""
        return answer(_delivery_out(await services.alerts.retry(ns, delivery)), 202)

    @router.delete("/dead-letters/{delivery}", status_code=204, summary="Drop what was sent in vain")
    async def delete_dead_letter(delivery: DeliveryId, ns: Scope, services: Allowed) -> Response:
        await services.alerts.drop(ns, delivery)
        return Response(status_code=204)


def _rule_in(namespace: str, name: str, body: schemas.SetAlertRule) -> domain.AlertRule:
    usual = domain.rule_of(body.kind, name, namespace)
    given = {
        field: value
        for field in ("severity", "threshold", "clear", "window", "lasting", "keep", "least", "quantile")
        if (value := getattr(body, field)) is not None
    }
    return replace(
        usual, **given, namespaces=tuple(body.namespaces), names=tuple(body.names), labels=dict(body.labels),
        enabled=body.enabled, description=body.description,
    )  # fmt: skip


def _rule_out(rule: domain.AlertRule) -> schemas.AlertRule:
    return schemas.AlertRule(
        namespace=rule.namespace, name=rule.name, kind=rule.kind, severity=rule.severity, threshold=rule.threshold,
        clear=rule.clear, window=rule.window, lasting=rule.lasting, keep=rule.keep, least=rule.least,
        quantile=rule.quantile, namespaces=list(rule.namespaces), names=list(rule.names), labels=dict(rule.labels),
        enabled=rule.enabled, description=rule.description, built_in=rule in domain.BUILT_IN, version=rule.version,
    )  # fmt: skip


def _hook_in(namespace: str, name: str, body: schemas.SetWebhook, services: Services) -> webhooks.Webhook:
    now = services.clock()
    return webhooks.Webhook(
        namespace=namespace, name=name, url="", format=body.format, kinds=tuple(body.kinds),
        severities=tuple(body.severities), namespaces=tuple(body.namespaces), enabled=body.enabled, created_at=now,
        updated_at=now,
    )  # fmt: skip


def _hook_out(hook: webhooks.Webhook) -> dict[str, Any]:
    return {
        "namespace": hook.namespace, "name": hook.name, "url": hook.url, "format": hook.format,
        "kinds": list(hook.kinds), "severities": list(hook.severities), "namespaces": list(hook.namespaces),
        "headers": list(hook.header_names), "enabled": hook.enabled, "rotated_until": hook.rotated_until,
        "created_at": hook.created_at, "updated_at": hook.updated_at, "version": hook.version,
    }  # fmt: skip


def _delivery_out(delivery: webhooks.Delivery) -> schemas.Delivery:
    alert, waits = delivery.alert, delivery.state is DeliveryState.PENDING
    return schemas.Delivery(
        id=delivery.id, webhook=delivery.webhook, event=delivery.event, state=delivery.state,
        fingerprint=alert.fingerprint if alert else None, namespace=alert.namespace if alert else None,
        model=alert.model if alert else None, created_at=delivery.created_at, attempts=delivery.attempts,
        last_at=delivery.last_at, next_at=delivery.next_at if waits else None, status=delivery.status,
        error=delivery.error,
    )  # fmt: skip


def routers() -> list[APIRouter]:
    return [
        build_router("", _of_all, Permission.OVERSEE, "alerting"),
        build_router("/namespaces/{namespace}", _of_one, Permission.ADMINISTER, "alerting by namespace"),
    ]
