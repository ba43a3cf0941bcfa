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
from modelyard.client.sync import Modelyard
from modelyard.client.tensors import Prediction
from modelyard.client.types import (
    Event,
    Instance,
    LogLine,
    Model,
    ModelMetadata,
    Namespace,
    Operation,
    Revision,
    Status,
)

__all__ = [
    "ApiError", "AsyncModelyard", "Event", "FieldError", "Instance", "InvalidRequest", "LogLine", "Model",
    "ModelMetadata", "Modelyard", "ModelyardError", "Namespace", "NotFound", "NotRunning", "Operation",
    "OperationFailed", "Prediction", "Refused", "Revision", "ServerError", "Status", "TimedOut", "Unauthorized",
    "Unreachable", "VersionConflict",
]  # fmt: skip
