"""The Python SDK: :class:`Modelyard` and, for asyncio, :class:`AsyncModelyard`.

::

    with Modelyard() as yard:
        operation = yard.models.create("digits", {"source": "/models/digits.onnx"})
        yard.operations.wait(operation)
        print(yard.predict("digits", numpy.zeros((1, 64), dtype="float32")))

Errors are drawn in :mod:`modelyard.client.errors`. Of Modelyard's other parts the package imports only
:mod:`modelyard.supervisor.processes` (standard library), to know whether a recorded process still runs.
"""

from modelyard.client.aio import AsyncModelyard
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
    Unauthorized,
    Unreachable,
    VersionConflict,
)
from modelyard.client.registry_types import Alias, AliasMove, ModelVersion, RegisteredModel, VersionDiff
from modelyard.client.sync import Modelyard
from modelyard.client.tensors import Prediction
from modelyard.client.types import (
    Diff,
    Event,
    FieldChange,
    Finding,
    Forecast,
    Instance,
    LogLine,
    Model,
    ModelMetadata,
    ModelRef,
    Namespace,
    Operation,
    Revision,
    SiteCapacity,
    Status,
    Stopped,
)

__all__ = [
    "Alias", "AliasMove", "ApiError", "AsyncModelyard", "Diff", "Event", "FieldChange", "FieldError", "Finding",
    "Forecast", "Instance", "InvalidRequest", "LogLine", "Model", "ModelMetadata", "ModelRef", "ModelVersion",
    "Modelyard", "ModelyardError", "Namespace", "NotFound", "NotRunning", "Operation", "OperationFailed",
    "Prediction", "Refused", "RegisteredModel", "Revision", "ServerError", "SiteCapacity", "Status", "Stopped",
    "TimedOut", "Unauthorized", "Unreachable", "VersionConflict", "VersionDiff",
]  # fmt: skip
