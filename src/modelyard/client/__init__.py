"""The Python SDK: :class:`Modelyard` and, for asyncio, :class:`AsyncModelyard`.

::

    with Modelyard() as yard:
        operation = yard.models.create("digits", {"source": "/models/digits.onnx"})
        yard.operations.wait(operation)
        print(yard.predict("digits", numpy.zeros((1, 64), dtype="float32")))

Errors are drawn in :mod:`modelyard.client.errors`. Of Modelyard's other parts the package imports only
:mod:`modelyard.supervisor.processes` (standard library), to know whether a recorded process still runs.
"""

from typing import TYPE_CHECKING

from modelyard.client.access_types import ApiKey, Grant, Me, Member, NewApiKey, SignInLink
from modelyard.client.alert_types import Alert, AlertRule, Delivery, Webhook
from modelyard.client.audit_types import AuditEntry, AuditVerdict
from modelyard.client.bulk_types import BulkForecast
from modelyard.client.cache_types import Cache, Evicted, Pin
from modelyard.client.diff_types import VersionDiff
from modelyard.client.errors import (
    ApiError,
    FieldError,
    InvalidRequest,
    ModelyardError,
    NotFound,
    NotRunning,
    OperationFailed,
    Refused,
    ServerError,
    TimedOut,
    TransferFailed,
    Unauthorized,
    Unreachable,
    Untrusted,
    VersionConflict,
)
from modelyard.client.history_types import ModelHistory
from modelyard.client.policy_types import ModelPolicies, Policy, PolicyOverride
from modelyard.client.registry_types import Alias, AliasMove, ModelVersion, RegisteredModel
from modelyard.client.schedule_types import Schedule, SchedulePreview, ScheduleStatus
from modelyard.client.signing_types import RevokedKey, SignaturePolicy, TrustedKey, Verification, VersionSignature
from modelyard.client.site_types import Finding, SiteCapacity
from modelyard.client.sync import Modelyard
from modelyard.client.tensors import Prediction
from modelyard.client.traffic_types import Traffic
from modelyard.client.transfer_types import Transfer
from modelyard.client.types import (
    Diff,
    Event,
    FieldChange,
    Forecast,
    Instance,
    LogLine,
    Model,
    ModelMetadata,
    ModelRef,
    Namespace,
    Operation,
    Revision,
    Status,
    Stopped,
)

if TYPE_CHECKING:
    from modelyard.client.aio import AsyncModelyard
else:

    def __getattr__(name: str) -> object:
        """The client for asyncio is imported when it is asked for: to load it takes as long as the blocking one."""
        if name != "AsyncModelyard":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from modelyard.client.aio import AsyncModelyard

        return AsyncModelyard


__all__ = [
    "Alert",
    "AlertRule",
    "Alias",
    "AliasMove",
    "ApiError",
    "ApiKey",
    "AsyncModelyard",
    "AuditEntry",
    "AuditVerdict",
    "BulkForecast",
    "Cache",
    "Delivery",
    "Diff",
    "Event",
    "Evicted",
    "FieldChange",
    "FieldError",
    "Finding",
    "Forecast",
    "Grant",
    "Instance",
    "InvalidRequest",
    "LogLine",
    "Me",
    "Member",
    "Model",
    "ModelHistory",
    "ModelMetadata",
    "ModelPolicies",
    "ModelRef",
    "ModelVersion",
    "Modelyard",
    "ModelyardError",
    "Namespace",
    "NewApiKey",
    "NotFound",
    "NotRunning",
    "Operation",
    "OperationFailed",
    "Pin",
    "Policy",
    "PolicyOverride",
    "Prediction",
    "Refused",
    "RegisteredModel",
    "Revision",
    "RevokedKey",
    "Schedule",
    "SchedulePreview",
    "ScheduleStatus",
    "ServerError",
    "SignInLink",
    "SignaturePolicy",
    "SiteCapacity",
    "Status",
    "Stopped",
    "TimedOut",
    "Traffic",
    "Transfer",
    "TransferFailed",
    "TrustedKey",
    "Unauthorized",
    "Unreachable",
    "Untrusted",
    "Verification",
    "VersionConflict",
    "VersionDiff",
    "VersionSignature",
    "Webhook",
]  # fmt: skip
