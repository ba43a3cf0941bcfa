"""What may stand in the registry's catalog: each rule is a function that says what is wrong, or nothing.

They say it of one field, so that whoever reads a request can ask them of each field that has the right shape; what
checks a whole thing names all its problems at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from modelyard.domain.errors import Problem
from modelyard.domain.names import InvalidReference, RegisteredVersion, is_alias, is_label_key, is_name, parse_reference
from modelyard.domain.registry import LATEST, About, Content, Datatype, Identity, Notes, Tensor, Trusted
from modelyard.domain.versions import InvalidVersion, is_version, parse_version

MAX_DESCRIPTION = 4096
MAX_CARD = 256 * 1024
MAX_LABELS = 64
MAX_METRICS = 1000
MAX_DEPENDENCIES = 1000
MAX_TENSORS = 1000
MAX_DIMENSIONS = 64
MAX_FILES = 100_000
MAX_SOURCE = 2048

_MANIFEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_FRAMEWORK = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_LINE = 256
# A user's name, or what many servers put a signature into.
_SECRET = re.compile(r"://[^/@]*:[^/@]*@|\Ahttps?://(?:[^/]*@|[^#]*\?)", re.IGNORECASE)

# Metrics of a version that was made of another: how much it loses of what that one is worth, and how much it may.
ACCURACY_DROP = "accuracy_drop"
ACCURACY_DROP_LIMIT = "accuracy_drop_limit"

# What is wrong, in a sentence; None for nothing.
Complaint = str | None


# ------------------------------------------------------------------------------------------- fields


def version_complaint(text: str) -> Complaint:
    try:
        parse_version(text)
    except InvalidVersion as error:
        return str(error)
    return None


def alias_complaint(text: str) -> Complaint:
    if is_alias(text):
        return None
    return (
        f"{text[:80]!r} is not an alias: use 1 to 63 lower-case letters, digits, '.', '_' and '-', starting with a "
        "letter, and nothing that reads as a version or a range."
    )


def series_complaint(text: str) -> Complaint:
    if not text or is_name(text):
        return None
    return f"{text[:80]!r} is not the name of a series: it is written as a model's name is, for example pat-large."


def line_complaint(text: str) -> Complaint:
    """Of text that stands on one line."""
    if len(text) <= _LINE and text.isprintable():
        return None
    return f"This has at most {_LINE} printable characters, on one line."


def word_complaint(text: str) -> Complaint:
    """Of a line that may not be empty."""
    return line_complaint(text) if text.strip() else "This must not be empty."


def description_complaint(text: str) -> Complaint:
    return None if len(text) <= MAX_DESCRIPTION else f"A description has at most {MAX_DESCRIPTION} characters."


def card_complaint(text: str) -> Complaint:
    # Surrogates count too: whether they may be sent at all is for whoever reads the request to say.
    if len(text.encode("utf-8", "surrogatepass")) <= MAX_CARD:
        return None
    return f"A card has at most {MAX_CARD // 1024} KiB: keep what is longer beside the model's files."


def label_key_complaint(key: str) -> Complaint:
    return None if is_label_key(key) else f"{key[:80]!r} is not a label's name."


def label_value_complaint(value: str) -> Complaint:
    return None if len(value) <= _LINE else f"A label's value has at most {_LINE} characters."


def metric_name_complaint(name: str) -> Complaint:
    return None if is_label_key(name) else f"{name[:80]!r} is not a metric's name: letters, digits, '.', '_', '/', '-'."


def metric_complaint(value: float) -> Complaint:
    return None if math.isfinite(value) else "A metric is a finite number."


def drop_complaint(metrics: Mapping[str, float]) -> Complaint:
    """Of a version with these metrics, as one that is to be what others use."""
    drop, limit = metrics.get(ACCURACY_DROP), metrics.get(ACCURACY_DROP_LIMIT)
    if drop is None or limit is None or drop <= limit:
        return None
    return f"it is worse than its original by {drop:.4g}, past the limit of {limit:.4g}"


def manifest_complaint(text: str) -> Complaint:
    if _MANIFEST.match(text):
        return None
    return "A manifest is named by its digest: sha256: and 64 lower-case hexadecimal digits."


def framework_complaint(text: str) -> Complaint:
    if _FRAMEWORK.match(text):
        return None
    return f"{text[:80]!r} is not a framework's name: write it in lower case, for example onnx or scikit-learn."


def parent_complaint(text: str) -> Complaint:
    if not text or is_version(text):
        return None
    try:
        if isinstance(parse_reference(text), RegisteredVersion):
            return None
    except InvalidReference:
        pass
    return f"{text[:80]!r} is not a version: write 1.3.0 for one of this model, name@1.3.0 for one of another."


def source_complaint(text: str) -> Complaint:
    if len(text) > MAX_SOURCE or not text.isprintable():
        return f"A source has at most {MAX_SOURCE} printable characters, on one line."
    if _SECRET.search(text):
        return "A source holds no user name, no password, and of a web address nothing from the ? on: leave that out."
    return None


def datatype_complaint(text: str) -> Complaint:
    if text in Datatype.__members__:
        return None
    return f"{text[:80]!r} is not a datatype of V2: it is one of {', '.join(Datatype)}."


def trust_complaint(text: str) -> Complaint:
    if text in set(Trusted):
        return None
    return f"{text[:80]!r} is nothing that can be trusted: it is {' or '.join(Trusted)}."


def shape_complaint(shape: Iterable[int]) -> Complaint:
    lengths = list(shape)
    if len(lengths) <= MAX_DIMENSIONS and all(-1 <= length < 2**63 for length in lengths):
        return None
    return f"A shape has at most {MAX_DIMENSIONS} lengths of 0 or more, or -1 where any goes."


def size_complaint(size: int) -> Complaint:
    return None if 0 <= size < 2**63 else "A size is a number of bytes, 0 or more."


def files_complaint(files: int) -> Complaint:
    return None if 1 <= files <= MAX_FILES else f"A version has 1 to {MAX_FILES} files."


def names_complaint(names: Iterable[str]) -> Complaint:
    """Of the inputs' or the outputs'."""
    known = list(names)
    if len(known) > MAX_TENSORS:
        return f"These are more than {MAX_TENSORS}."
    twice = sorted({name for name in known if known.count(name) > 1}) if len(set(known)) < len(known) else []
    return f"{', '.join(map(repr, twice))} is here more than once." if twice else None


def at_most(limit: int, things: str) -> Callable[[int], Complaint]:
    """The rule that there are no more of ``things``."""

    def complaint(count: int) -> Complaint:
        return None if count <= limit else f"There are at most {limit} {things}."

    return complaint


labels_complaint = at_most(MAX_LABELS, "labels")
metrics_complaint = at_most(MAX_METRICS, "metrics")
dependencies_complaint = at_most(MAX_DEPENDENCIES, "dependencies")


# ------------------------------------------------------------------------------------------- whole things


def about_problems(about: About) -> list[Problem]:
    return list(
        _problems(
            ("description", description_complaint(about.description)),
            ("series", series_complaint(about.series)),
            ("task", line_complaint(about.task)),
            ("licence", line_complaint(about.licence)),
            *_labels(about.labels),
        )
    )


def identity_problems(identity: Identity) -> list[Problem]:
    framework, lineage = identity.framework, identity.lineage
    checks = [
        *_content(identity.content),
        *_tensors("signature.inputs", identity.signature.inputs),
        *_tensors("signature.outputs", identity.signature.outputs),
        ("lineage.parent", parent_complaint(lineage.parent)),
        ("lineage.source", source_complaint(lineage.source)),
        *((f"lineage.{n}", line_complaint(getattr(lineage, n))) for n in ("dataset", "training_run", "code_revision")),
        ("dependencies", dependencies_complaint(len(identity.dependencies))),
        *((f"dependencies[{i}]", word_complaint(text)) for i, text in enumerate(identity.dependencies)),
        ("licence", line_complaint(identity.licence)),
        *((f"trust[{i}]", trust_complaint(text)) for i, text in enumerate(identity.trust)),
    ]
    if framework is not None:
        checks.append(("framework.name", framework_complaint(framework.name)))
        checks.append(("framework.version", line_complaint(framework.version)))
    return list(_problems(*checks))


def notes_problems(notes: Notes) -> list[Problem]:
    return list(
        _problems(
            ("description", description_complaint(notes.description)),
            ("metrics", metrics_complaint(len(notes.metrics))),
            *((f"metrics.{name}", metric_name_complaint(name)) for name in notes.metrics),
            *((f"metrics.{name}", metric_complaint(value)) for name, value in notes.metrics.items()),
            *_labels(notes.labels),
            ("card", card_complaint(notes.card)),
        )
    )


def version_problems(text: str) -> list[Problem]:
    return list(_problems(("version", version_complaint(text))))


def alias_problems(text: str) -> list[Problem]:
    """The reserved one is a name as any other: that it cannot be moved is a refusal, not a fault of the request."""
    return (
        []
        if text == LATEST
        else [Problem("alias", "invalid_name", wrong) for wrong in [alias_complaint(text)] if wrong]
    )


def _content(content: Content) -> Iterator[tuple[str, Complaint]]:
    yield "manifest", manifest_complaint(content.manifest)
    yield "size", size_complaint(content.size)
    yield "files", files_complaint(content.files)


def _tensors(path: str, tensors: Iterable[Tensor]) -> Iterator[tuple[str, Complaint]]:
    known = list(tensors)
    yield path, names_complaint(tensor.name for tensor in known)
    for index, tensor in enumerate(known):
        yield f"{path}[{index}].name", word_complaint(tensor.name)
        yield f"{path}[{index}].datatype", datatype_complaint(tensor.datatype)
        yield f"{path}[{index}].shape", shape_complaint(tensor.shape)


def _labels(labels: Mapping[str, str]) -> Iterator[tuple[str, Complaint]]:
    yield "labels", labels_complaint(len(labels))
    for key, value in labels.items():
        yield f"labels.{key}", label_key_complaint(key) or label_value_complaint(value)


def _problems(*checks: tuple[str, Complaint]) -> Iterator[Problem]:
    for path, complaint in checks:
        if complaint is not None:
            yield Problem(path, "invalid_value", complaint)
