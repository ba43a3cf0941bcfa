"""What a job is told and what it answers, as both processes write it: JSON, a line each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Method(StrEnum):
    """How a model's numbers are made smaller."""

    DYNAMIC_INT8 = "dynamic-int8"  # weights in 8 bits; what they are multiplied with, as it comes
    STATIC_INT8 = "static-int8"  # both, by ranges measured on calibration data
    FP16 = "fp16"  # all in 16 bits, but for what stays at the borders and what has no 16-bit form


class Calibration(StrEnum):
    """How static quantization finds the range of a tensor."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class Metric(StrEnum):
    """How much a model is worth: the first three by labels, the others by the answers of the model it comes from."""

    ACCURACY = "accuracy"  # share of rows whose class is the label
    RMSE = "rmse"  # root of the mean squared error
    MAE = "mae"  # mean absolute error
    AGREEMENT = "agreement"  # share of rows that both models put into one class
    COSINE = "cosine"  # mean cosine similarity of both models' answers

    @property
    def is_error(self) -> bool:
        """Whether less is better."""
        return self in (Metric.RMSE, Metric.MAE)


class Job(msgspec.Struct, kw_only=True, tag=True, tag_field="job"):
    """Paths are absolute."""


class Quantize(Job):
    """``to`` is the new model's file, in a folder of its own. ``labels`` names the labels among the ``evaluation``
    data, ``answer`` the output that they are compared with; None: found by what they are. ``exclude`` are nodes that
    stay as they are."""

    source: str
    to: str
    method: Method
    calibration: str | None = None
    calibration_method: Calibration = Calibration.MINMAX
    evaluation: str | None = None
    labels: str | None = None
    answer: str | None = None
    metric: Metric | None = None
    exclude: list[str] = []
    threads: int = 1
    seconds: float = 4.0
    seed: int = 0


class Convert(Job):
    """``data`` are rows on which both are compared (None: made up); ``tolerance`` is what numbers may differ by,
    relative to those above 1; ``features`` is how many columns a row has, where the model does not say."""

    source: str
    to: str
    trusted: bool = False
    data: str | None = None
    features: int | None = None
    tolerance: float = 1e-3
    seconds: float = 2.0
    seed: int = 0


class Measure(Job):
    """Each batch for ``seconds``, as a worker with so many threads runs it."""

    source: str
    engine: str
    threads: int
    batches: list[int]
    seconds: float
    trusted: bool = False
    data: str | None = None
    seed: int = 0


class Latency(msgspec.Struct, kw_only=True, frozen=True):
    """Of one call, in milliseconds."""

    p50: float
    p95: float


class Rows(StrEnum):
    """Which rows two models were compared on."""

    EVALUATION = "evaluation"
    CALIBRATION = "calibration"
    RANDOM = "random"


class Score(msgspec.Struct, kw_only=True, frozen=True):
    """How the new model does beside its original on ``rows`` rows, by ``metric``. ``drop`` is what is lost: of a share
    or a similarity the difference, of an error its growth relative to the original's."""

    metric: Metric
    before: float
    after: float
    drop: float
    rows: int
    of: Rows = Rows.EVALUATION


class Quantized(msgspec.Struct, kw_only=True, frozen=True):
    """``quantized`` counts by operator what was, ``skipped`` names what could have been. Sizes in bytes, with all
    external data; ``opset`` as it is now."""

    quantized: dict[str, int]
    skipped: list[str]
    opset_before: int
    opset: int
    size_before: int
    size: int
    score: Score
    latency_before: Latency
    latency: Latency
    threads: int
    notes: list[str]


class Converted(msgspec.Struct, kw_only=True, frozen=True):
    """``agreement``: share of rows with one label (None: it gives none); ``difference``: the largest between numbers,
    relative to those above 1. Latencies of the estimator and of its ONNX form, by rows of a call."""

    size_before: int
    size: int
    opset: int
    rows: int
    of: Rows
    difference: float
    agreement: float | None
    latency_before: dict[int, Latency]
    latency: dict[int, Latency]


class Measured(msgspec.Struct, kw_only=True, frozen=True):
    """One batch: ``rate`` in rows a second, with ``callers`` calls at a time."""

    batch: int
    callers: int
    rate: float
    latency: Latency


class Trials(msgspec.Struct, kw_only=True, frozen=True):
    """``batches``: False where the model takes only one number of rows."""

    batches: bool
    found: list[Measured]


class Fault(msgspec.Struct, kw_only=True, frozen=True):
    """One thing wrong with a job: see :class:`modelyard.domain.errors.Problem`."""

    path: str
    code: str
    message: str


class Told(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of a job's: words about how far it is, or in the end its result or its faults."""

    words: str | None = None
    result: Any = None
    faults: list[Fault] = []


JOBS = Quantize | Convert | Measure
