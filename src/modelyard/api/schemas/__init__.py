"""The shapes that the API takes and gives. Durations and sizes are text going out, text or numbers coming in."""

from modelyard.api.schemas.base import Duration, Items, NotInteroperable, Page, Size
from modelyard.api.schemas.capacity import (
    Cleared,
    Device,
    Finding,
    Forecast,
    Holding,
    Inventory,
    ItemError,
    Queued,
    Shortage,
    SiteCapacity,
    Stopped,
)
from modelyard.api.schemas.records import (
    Amount,
    Diff,
    Event,
    FieldChange,
    FieldError,
    Health,
    LoadedModels,
    LogLine,
    Namespace,
    Operation,
    OperationError,
    ProblemBody,
    Quota,
    Revision,
    Step,
    Version,
)
from modelyard.api.schemas.requests import (
    ClearFindings,
    CreateModel,
    CreateNamespace,
    FindingRef,
    PatchModel,
    PatchNamespace,
    QuotaIn,
    Reasoned,
    ReplaceModel,
    RollBack,
    StartModel,
    StopModel,
    StopModels,
)
from modelyard.api.schemas.spec import Spec
from modelyard.api.schemas.status import (
    Condition,
    Endpoints,
    Failure,
    Instance,
    Model,
    ModelRef,
    Preempted,
    Released,
    Requests,
    ResourceAllocation,
    RolloutStatus,
    Scale,
    Status,
    Transition,
    Waiting,
)

__all__ = [
    "Amount", "ClearFindings", "Cleared", "Condition", "CreateModel", "CreateNamespace", "Device", "Diff",
    "Duration", "Endpoints", "Event", "Failure", "FieldChange", "FieldError", "Finding", "FindingRef", "Forecast",
    "Health", "Holding", "Instance", "Inventory", "ItemError", "Items", "LoadedModels", "LogLine", "Model",
    "ModelRef", "Namespace", "NotInteroperable", "Operation", "OperationError", "Page", "PatchModel",
    "PatchNamespace", "Preempted", "ProblemBody", "Queued", "Quota", "QuotaIn", "Reasoned", "Released",
    "ReplaceModel", "Requests", "ResourceAllocation", "Revision", "RollBack", "RolloutStatus", "Scale", "Shortage",
    "SiteCapacity", "Size", "Spec", "StartModel", "Status", "Step", "StopModel", "StopModels", "Stopped",
    "Transition", "Version", "Waiting",
]  # fmt: skip
