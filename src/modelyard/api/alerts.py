"""What fires, as far as the caller may see it, and silences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from modelyard.api import schemas
from modelyard.api.context import (
    PageSize,
    PageToken,
    Services,
    ToOperateSomewhere,
    ToReadSomewhere,
    answer,
    caller_of,
)
from modelyard.control.alert_ports import AlertQuery, Silence
from modelyard.domain.access import Forbidden, Permission, Principal, need_of
from modelyard.domain.alerts import Alert, AlertKind, AlertState, Severity
from modelyard.domain.errors import InvalidRequest, NotFound, Problem

alerts = APIRouter(prefix="/alerts", tags=["alerts"])

Fingerprint = Annotated[str, Path(description="Of the alert.", examples=["3f2a9c0d11e84b7a"])]


@alerts.get("", response_model=schemas.Page[schemas.Alert], summary="What fires and what has fired, newest first")
async def list_alerts(
    request: Request, services: ToReadSomewhere,
    namespace: Annotated[str | None, Query()] = None,
    model: Annotated[str | None, Query()] = None,
    kind: Annotated[AlertKind | None, Query()] = None,
    severity: Annotated[Severity | None, Query()] = None,
    state: Annotated[AlertState | None, Query(description="firing or resolved; left out: both.")] = None,
    page_size: PageSize = 50, page_token: PageToken = "",
) -> Response:  # fmt: skip
    """Of the models that the caller may see: a page may hold fewer than asked for though others follow. What is over is
    kept for 30 days."""
    if state is AlertState.PENDING:
        message = "What is not long enough so to fire is not listed: ask for firing or resolved."
        raise InvalidRequest([Problem("query.state", "invalid_value", message)])
    caller = caller_of(request)
    known = caller.namespaces()
    if namespace is not None and (known is None or namespace in known):
        asked: tuple[str, ...] | None = (namespace,)
    else:
        asked = () if namespace is not None else (None if known is None else tuple(sorted(known)))
    query = AlertQuery(
        namespaces=asked, model=model, kind=kind, severity=severity, state=state, page_size=page_size,
        page_token=page_token,
    )  # fmt: skip
    page, silences = await services.alerts.alerts(query)
    shown = await _visible(services, caller, page.items)
    items = [alert_out(alert, silences.get(alert.fingerprint)) for alert in shown]
    return answer(schemas.Page[schemas.Alert](items=items, next_page_token=page.next_page_token))


@alerts.get("/{fingerprint}", response_model=schemas.Alert, summary="The last alert of a fingerprint")
async def get_alert(fingerprint: Fingerprint, request: Request, services: ToReadSomewhere) -> Response:
    return answer(alert_out(*await _alert(services, caller_of(request), fingerprint)))


@alerts.put("/{fingerprint}/silence", response_model=schemas.Alert, summary="Tell nobody of an alert for a while")
async def put_silence(
    fingerprint: Fingerprint, body: schemas.SilenceAlert, request: Request, services: ToOperateSomewhere
) -> Response:
    """It needs the role operator in the alert's namespace. Whoever was told that it fires is told of its end."""
    caller = caller_of(request)
    alert = await _operable(services, caller, fingerprint)
    silence = await services.alerts.silence(fingerprint, body.until, caller.name, body.reason)
    return answer(alert_out(alert, silence))


@alerts.delete("/{fingerprint}/silence", status_code=204, summary="End a silence")
async def delete_silence(fingerprint: Fingerprint, request: Request, services: ToOperateSomewhere) -> Response:
    await _operable(services, caller_of(request), fingerprint)
    await services.alerts.end_silence(fingerprint)
    return Response(status_code=204)


async def _alert(services: Services, caller: Principal, fingerprint: str) -> tuple[Alert, Silence | None]:
    """Raises NotFound, also where it is none of the caller's."""
    alert, silence = await services.alerts.alert(fingerprint)
    if not await _visible(services, caller, [alert]):
        raise NotFound(f"There is no alert {fingerprint!r}.")
    return alert, silence


async def _operable(services: Services, caller: Principal, fingerprint: str) -> Alert:
    alert, _ = await _alert(services, caller, fingerprint)
    if not caller.may(Permission.OPERATE, alert.namespace, alert.model):
        raise Forbidden(
            f"{caller.name} may not do this in namespace {alert.namespace!r}: it needs {need_of(Permission.OPERATE)}."
        )
    return alert


async def _visible(services: Services, caller: Principal, found: Iterable[Alert]) -> list[Alert]:
    """Those of models that are there for the caller; of models that are gone by the groups that they had at last."""
    if caller.oversees:
        return list(found)
    sees: dict[str, bool] = {}
    for alert in found:
        if alert.model_uid not in sees:
            groups = await services.store.groups_of(alert.model_uid)
            sees[alert.model_uid] = caller.sees(alert.namespace, alert.model, groups)
    return [alert for alert in found if sees[alert.model_uid]]


def alert_out(alert: Alert, silence: Silence | None) -> schemas.Alert:
    return schemas.Alert(
        id=alert.id, fingerprint=alert.fingerprint, state=alert.state, kind=alert.kind, severity=alert.severity,
        namespace=alert.namespace, model=alert.model, rule=alert.rule, starts_at=alert.starts_at,
        ends_at=alert.ends_at, value=alert.value, threshold=alert.threshold, labels=alert.labels,
        annotations=alert.annotations,
        silence=None if silence is None else schemas.AlertSilence(
            until=silence.until, at=silence.at, by=silence.actor, reason=silence.reason
        ),
    )  # fmt: skip
