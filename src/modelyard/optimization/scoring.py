"""How much is lost: two models' answers compared with labels, or where there are none with each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from modelyard.domain.errors import InvalidRequest, Problem
from modelyard.optimization.jobs import Metric, Rows, Score
from modelyard.runtime.signature import Array

Answers = Mapping[str, Array]

BY_LABELS: Final = (Metric.ACCURACY, Metric.RMSE, Metric.MAE)
_TINY: Final = 1e-12


def score(
    before: Sequence[Answers], after: Sequence[Answers], labels: Sequence[Array] | None, *,
    metric: Metric | None = None, answer: str | None = None, of: Rows = Rows.EVALUATION,
) -> Score:  # fmt: skip
    """What the new model answered to each call (``after``) beside what its original did (``before``).

    ``metric`` and the output ``answer`` are chosen by what there is: with ``labels`` accuracy where an output names or
    ranks classes, else the root mean squared error; without them agreement on the class, else cosine similarity.

    Raises:
        InvalidRequest: they do not go together
    """
    if not before:
        raise _problem("evaluation", "no_data", "There are no rows to compare the models on.")
    if metric in BY_LABELS and labels is None:
        message = f"{metric} needs labels in the evaluation data: an array or column named labels (or --labels NAME)."
        raise _problem("metric", "missing_labels", message)
    olds, news = _joined(before), _joined(after)
    chosen = [answer] if answer else list(olds)
    if unknown := [name for name in chosen if name not in olds]:
        raise _problem("answer", "unknown_output", f"There is no output {unknown[0]!r}, but {', '.join(olds)}.")
    rows = len(next(iter(olds.values()))) if olds else 0
    if metric is Metric.COSINE or (labels is None and metric is None and _class_output(olds, chosen) is None):
        value = _similarity([olds[name] for name in chosen], [news[name] for name in chosen])
        return _made(Metric.COSINE, 1.0, value, rows, of)
    if labels is None or metric is Metric.AGREEMENT:
        name = _wanted_class(olds, chosen)
        value = float(np.mean(_classes(olds[name]) == _classes(news[name])))
        return _made(Metric.AGREEMENT, 1.0, value, rows, of)
    truth = np.concatenate(list(labels)).ravel()
    if metric is Metric.ACCURACY or (metric is None and _are_classes(truth) and _class_output(olds, chosen)):
        name = _wanted_class(olds, chosen)
        old, new = (float(np.mean(_same(_classes(answers[name]), truth))) for answers in (olds, news))
        return _made(Metric.ACCURACY, old, new, rows, of)
    name = _wanted_number(olds, chosen, len(truth))
    if truth.dtype.kind not in "biuf":
        raise _problem("labels", "wrong_type", "Labels that are no numbers are compared by accuracy.")
    error = _mean_absolute if metric is Metric.MAE else _root_mean_square
    old, new = (error(answers[name].ravel().astype(np.float64) - truth) for answers in (olds, news))
    return _made(metric or Metric.RMSE, old, new, rows, of)


def _made(metric: Metric, before: float, after: float, rows: int, of: Rows) -> Score:
    # Shares of so many rows are no exact binary numbers: a drop of 0.01 is not to be past a limit of 0.01.
    drop = (after - before) / max(before, _TINY) if metric.is_error else before - after
    if not np.isfinite(drop):
        raise _problem("", "not_finite", f"The {metric} is no finite number: the model's answers overflow.")
    return Score(metric=metric, before=before, after=after, drop=round(drop, 12), rows=rows, of=of)


def _joined(calls: Sequence[Answers]) -> dict[str, Array]:
    """By output; answers that have no rows, or not of one shape, count as a row each."""
    joined = {}
    for name in calls[0]:
        parts = [np.asarray(call[name]) for call in calls]
        has_rows = len({part.shape[1:] for part in parts}) == 1 and parts[0].ndim > 0
        if has_rows:
            joined[name] = np.concatenate(parts)
        else:
            longest = max(part.size for part in parts)
            joined[name] = np.stack([np.resize(part.ravel(), longest) for part in parts])
    return joined


# ------------------------------------------------------------------------------------------- classes


def _class_output(answers: Answers, names: Sequence[str]) -> str | None:
    """The output that names each row's class, or else ranks its classes."""
    named = [n for n in names if answers[n].dtype.kind in "iuOUSb" and answers[n].size == len(answers[n])]
    ranked = [n for n in names if answers[n].dtype.kind == "f" and answers[n].ndim == 2 and answers[n].shape[1] > 1]
    return next(iter([*named, *ranked]), None)


def _wanted_class(answers: Answers, names: Sequence[str]) -> str:
    name = _class_output(answers, names)
    if name is None:
        message = "No output names a class or ranks several: name one (--answer), or take --metric rmse or cosine."
        raise _problem("metric", "no_classes", message)
    return name


def _classes(array: Array) -> Array:
    return array.argmax(axis=1) if array.dtype.kind == "f" else array.ravel()


def _are_classes(labels: Array) -> bool:
    return labels.dtype.kind in "iubUSO" or bool((labels == np.round(labels)).all())


def _same(classes: Array, labels: Array) -> Array:
    if len(classes) != len(labels):
        message = f"There are {len(labels)} labels, and the model answers {len(classes)} rows."
        raise _problem("labels", "wrong_length", message)
    is_text = [array.dtype.kind not in "biuf" for array in (classes, labels)]
    if is_text[0] != is_text[1]:
        what = ("text", "numbers") if is_text[0] else ("numbers", "text")
        message = f"The model's classes are {what[0]}, the labels are {what[1]}: name another output (--answer)."
        raise _problem("labels", "wrong_type", message)
    same: Array = _texts(classes) == _texts(labels) if is_text[0] else classes == labels
    return same


def _texts(array: Array) -> Array:
    return np.array([text.decode() if isinstance(text, bytes) else str(text) for text in array.tolist()])


# ------------------------------------------------------------------------------------------- numbers


def _wanted_number(answers: Answers, names: Sequence[str], rows: int) -> str:
    for name in names:
        if answers[name].dtype.kind in "biuf" and answers[name].size == rows:
            return name
    raise _problem("answer", "no_number", "No output has one number a row: name one (--answer), or another --metric.")


def _root_mean_square(errors: Array) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _mean_absolute(errors: Array) -> float:
    return float(np.mean(np.abs(errors)))


def _similarity(olds: Sequence[Array], news: Sequence[Array]) -> float:
    """The mean over rows; where one side is nothing or not finite and the other is, they have nothing in common."""
    # Beside the scores of classes, a class's number says nothing by its size.
    kinds = "f" if any(old.dtype.kind == "f" for old in olds) else "biu"
    rows = [
        (old.reshape(len(old), -1).astype(np.float64), new.reshape(len(new), -1).astype(np.float64))
        for old, new in zip(olds, news, strict=True)
        if old.dtype.kind in kinds and old.size
    ]
    if not rows:
        raise _problem("metric", "no_number", "The model answers with no numbers: compare its classes (agreement).")
    old, new = np.hstack([one for one, _ in rows]), np.hstack([other for _, other in rows])
    if not np.isfinite(old).all():
        message = "The original model itself answers these inputs with what is no finite number: give it real ones."
        raise _problem("evaluation", "not_finite", message)
    broken: Array = np.asarray(~np.isfinite(new).all(axis=1))
    new = np.where(broken[:, None], 0.0, new)
    long, other = np.linalg.norm(old, axis=1), np.linalg.norm(new, axis=1)
    cosines: Array = np.divide((old * new).sum(axis=1), long * other, out=np.zeros(len(old)), where=long * other > 0)
    cosines[(long == 0) & (other == 0) & ~broken] = 1.0
    # Rounding makes a little more than 1 of equal rows.
    return float(np.clip(cosines, -1.0, 1.0).mean())


def _problem(path: str, code: str, message: str) -> InvalidRequest:
    return InvalidRequest([Problem(path, code, message)])
