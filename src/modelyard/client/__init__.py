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
    VersionConflict,
)
from modelyard.client.registry_types import Alias, AliasMove, ModelVersion, RegisteredModel
from modelyard.client.signing_types import RevokedKey, SignaturePolicy, TrustedKey, Verification, VersionSignature
from modelyard.client.sync import Modelyard
from modelyard.client.tensors import Prediction
from modelyard.client.transfer_types import Transfer
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
    Traffic,
)

__all__ = [
    "Alias", "AliasMove", "ApiError", "AsyncModelyard", "Cache", "Diff", "Event", "Evicted", "FieldChange",
    "FieldError", "Finding", "Forecast", "Instance", "InvalidRequest", "LogLine", "Model", "ModelMetadata",
    "ModelRef", "ModelVersion", "Modelyard", "ModelyardError", "Namespace", "NotFound", "NotRunning", "Operation",
    "OperationFailed", "Pin", "Prediction", "Refused", "RegisteredModel", "Revision", "RevokedKey", "ServerError",
    "SignaturePolicy", "SiteCapacity", "Status", "Stopped", "TimedOut", "Traffic", "Transfer", "TransferFailed",
    "TrustedKey", "Unauthorized", "Unreachable", "Verification", "VersionConflict", "VersionDiff", "VersionSignature",
]  # fmt: skip
