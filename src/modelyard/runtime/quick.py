"""The short way between V2's bodies and arrays, for requests and answers as most are.

What is common is read and written here in a third of the time; whatever is not (any fault at all, a datatype that
takes care, text) is None, and for :mod:`v2` to say, which alone knows what is right: this module never says
anything else than it would.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from modelyard.runtime.signature import BYTES, DATATYPES, MAX_DIMENSIONS, Array, Signature, elements
from modelyard.runtime.tensors import flatten
from modelyard.runtime.v2 import BINARY_TYPE, Encoded, Request, outputs_asked

# How :mod:`struct` packs a number of a datatype, at its standard size. It refuses what is no number and what is beyond
# the type's range, and takes true for 1: that is looked for apart. FP16 and BOOL are left to :mod:`v2`.
_CODES: Final = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
# What orjson writes as numbers.
_NUMBERS: Final = {dtype: name.encode() for name, dtype in DATATYPES.items() if name != BYTES}
_LITTLE: Final = {name: DATATYPES[name].newbyteorder("<") for name in _CODES}
_TEMPLATES: Final = 256
# JSON parts of binary bodies that are remembered, and the longest of them: clients send the same again and again.
_REMEMBERED: Final = 256
_REMEMBERED_SIZE: Final = 1024

_Key = tuple[Any, ...]


class _Known(NamedTuple):
    """What a JSON part says: of each tensor name, type, shape and count; the bytes that follow; all but the inputs."""

    tensors: list[tuple[str, np.dtype[Any], tuple[int, ...], int]]
    size: int
    rest: Request


@lru_cache(256)
def _packer(datatype: str, count: int) -> struct.Struct:
    return struct.Struct(f"={count}{_CODES[datatype]}")


class Reader:
    """Reads requests to a model of ``signature``."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._specs = None if signature.inputs is None else {spec.name: spec for spec in signature.inputs}
        self._known: dict[bytes, _Known] = {}

    def read_again(self, body: memoryview | bytes, header_length: int) -> Request | None:
        """The request of a body whose JSON part was read before."""
        if not 0 < header_length <= _REMEMBERED_SIZE:
            return None
        known = self._known.get(bytes(body[:header_length]))
        if known is None or known.size != len(body) - header_length:
            return None
        inputs = {}
        offset = header_length
        for name, dtype, shape, count in known.tensors:
            array: Array = np.frombuffer(body, dtype, count, offset)
            offset += array.nbytes
            inputs[name] = (array if array.flags.aligned else array.copy()).reshape(shape)
        rest = known.rest
        return Request(rest.id, inputs, dict(rest.parameters), rest.outputs, rest.binary, rest.binary_default)

    def _remember(self, text: bytes, inputs: dict[str, Array], rest: Request) -> None:
        # A model may change what is in a parameter that is an object.
        if len(text) > _REMEMBERED_SIZE or {dict, list} & set(map(type, rest.parameters.values())):
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        tensors = [(name, array.dtype, array.shape, array.size) for name, array in inputs.items()]
        without = Request(rest.id, {}, rest.parameters, rest.outputs, rest.binary, rest.binary_default)
        self._known[text] = _Known(tensors, sum(array.nbytes for array in inputs.values()), without)

    def read(self, document: dict[str, Any], text: bytes | memoryview, binary: memoryview | None) -> Request | None:
        """The request of a JSON object, which was read from ``text``, and of what stands behind it."""
        entries = document.get("inputs")
        if type(entries) is not list or (self._specs is not None and len(entries) != len(self._specs)):
            return None
        inputs: dict[str, Array] = {}
        offset = 0
        plain = True
        for entry in entries:
            if type(entry) is not dict:
                return None
            name: Any = entry.get("name")
            datatype: Any = entry.get("datatype")
            shape: Any = entry.get("shape")
            count = self._elements(name, datatype, shape)
            if count == 0 or name in inputs:
                return None
            data = entry.get("data")
            if data is None:
                array = _view(entry, datatype, shape, count, binary, offset)
                if array is not None:
                    offset += array.nbytes
            elif "parameters" in entry:
                return None
            else:
                plain = False
                array = _packed(data, datatype, shape, count, text)
            if array is None:
                return None
            inputs[name] = array
        if binary is not None and offset != len(binary):
            return None
        if len(document) == 1:
            request: Request | None = Request(None, inputs, {}, None, {}, False)
        else:
            request = self._with_rest(document, inputs)
        if request is not None and plain and binary is not None:
            self._remember(bytes(text), inputs, request)
        return request

    def _elements(self, name: Any, datatype: Any, shape: Any) -> int:
        """How many a tensor has that says this of itself; 0: it is not for this module."""
        if type(name) is not str or not name or type(datatype) is not str or type(shape) is not list:
            return 0
        if datatype not in _CODES or len(shape) > MAX_DIMENSIONS:
            return 0
        count = 1
        if self._specs is None:
            for size in shape:
                if type(size) is not int or size < 1:
                    return 0
                count *= size
            return count
        spec = self._specs.get(name)
        if spec is None or spec.datatype != datatype or len(spec.shape) != len(shape):
            return 0
        for size, wanted in zip(shape, spec.shape, strict=True):
            if type(size) is not int or size < 1 or (size != wanted and wanted != -1):
                return 0
            count *= size
        return count

    def _with_rest(self, document: dict[str, Any], inputs: dict[str, Array]) -> Request | None:
        request_id, parameters = document.get("id"), document.get("parameters")
        if request_id is not None and type(request_id) is not str:
            return None
        if parameters is None:
            parameters = {}
        elif type(parameters) is not dict:
            return None
        outputs: tuple[str, ...] | None = None
        asked: dict[str, bool] = {}
        if "outputs" in document:
            problems: list[Any] = []
            outputs, asked = outputs_asked(document, self._signature, problems)
            if problems:
                return None
        return Request(request_id, inputs, parameters, outputs, asked, parameters.get("binary_data_output") is True)


def _packed(data: Any, datatype: str, shape: list[int], count: int, text: bytes | memoryview) -> Array | None:
    if type(data) is not list:
        return None
    if data and type(data[0]) is list:
        data, nesting = flatten(data)
        if nesting != shape:
            return None
    if len(data) != count:
        return None
    try:
        array: Array = np.empty(shape, DATATYPES[datatype])
        _packer(datatype, count).pack_into(array.data, 0, *data)
    except (struct.error, OverflowError, ValueError):
        return None
    if _may_hold_bools(text) and bool in set(map(type, data)):
        return None
    return array


def _may_hold_bools(text: bytes | memoryview) -> bool:
    """Whether a JSON text may have true or false in a ``data``: cheaper than a look at each value."""
    if type(text) is not bytes:
        text = bytes(text)
    start = text.find(b'"data"')
    # No key is written with escapes, so the first data stands behind this, and both words have an e.
    if start >= 0 and text.find(b"e", start + 6) < 0 and b"\\" not in text:
        return False
    return b"true" in text or b"false" in text


def _view(
    entry: dict[str, Any], datatype: str, shape: list[int], count: int, binary: memoryview | None, offset: int
) -> Array | None:
    parameters = entry.get("parameters")
    if binary is None or type(parameters) is not dict or "data" in entry:
        return None
    size = parameters.get("binary_data_size")
    dtype = _LITTLE[datatype]
    if type(size) is not int or size != count * dtype.itemsize or offset + size > len(binary):
        return None
    array: Array = np.frombuffer(binary, dtype, count, offset)
    if not array.flags.aligned:
        array = array.copy()
    try:
        return array.reshape(shape)
    except ValueError:
        return None


class Writer:
    """Writes the answers of a model that is served under a name and version."""

    def __init__(self, model: str, version: str) -> None:
        self._start = b'{"model_name":%b,"model_version":%b,"outputs":[' % (orjson.dumps(model), orjson.dumps(version))
        self._templates: dict[_Key, bytes] = {}

    def write(self, request: Request, outputs: Mapping[str, Array]) -> Encoded | None:
        names = request.outputs if request.outputs is not None else tuple(outputs)
        forms = _forms(request, names)
        arrays = []
        key: list[Any] = [names, forms]
        for name in names:
            array = outputs.get(name)
            if type(array) is not np.ndarray:
                return None
            key += (array.dtype, array.shape)
            arrays.append(np.ascontiguousarray(array) if array.ndim == 1 else array.ravel())
        template = self._template(tuple(key))
        if template is None:
            return None
        if not forms:
            texts = tuple([_numbers(array) for array in arrays])
        else:
            texts = tuple([_numbers(array) for array, binary in zip(arrays, forms, strict=True) if not binary])
        for text in texts:
            # A number has no n: orjson writes NaN and infinity as null.
            if b"n" in text:
                return None
        head = template % texts + _end(request)
        if True not in forms:
            return Encoded(head)
        # Each array is copied once, here.
        parts: list[Any] = [array for array, binary in zip(arrays, forms, strict=True) if binary]
        return Encoded(b"".join([head, *parts]), BINARY_TYPE, len(head))

    def write_rows(self, requests: Sequence[Request], outputs: Mapping[str, Array]) -> list[Encoded] | None:
        """The answers of a batch to requests of one row each, which ask for the same outputs, all in JSON."""
        asked = requests[0].outputs
        names = asked if asked is not None else tuple(outputs)
        arrays = []
        key: list[Any] = [names, ()]
        for name in names:
            array = outputs.get(name)
            if type(array) is not np.ndarray or array.shape[:1] != (len(requests),) or array.size == 0:
                return None
            key += (array.dtype, (1, *array.shape[1:]))
            arrays.append(array)
        template = self._template(tuple(key))
        if template is None:
            return None
        columns = []
        for array in arrays:
            # One text of all rows costs little more than that of one.
            text = _dumps(np.ascontiguousarray(array).reshape(len(requests), -1), option=orjson.OPT_SERIALIZE_NUMPY)
            if b"n" in text:
                return None
            columns.append(text[2:-2].split(b"],["))
        return [
            Encoded(template % texts + _end(request))
            for request, texts in zip(requests, zip(*columns, strict=True), strict=True)
        ]

    def _template(self, key: _Key) -> bytes | None:
        """What is the same in all answers with these names, forms, and types and shapes of each, with a place for the
        numbers of each JSON tensor; None: they are not all numbers."""
        known = self._templates.get(key)
        if known is not None:
            return known
        names, forms, *kinds = key
        entries = []
        for index, name in enumerate(names):
            dtype, shape = kinds[2 * index], kinds[2 * index + 1]
            datatype = _NUMBERS.get(dtype)
            if datatype is None:
                return None
            entry = b'{"name":%b,"datatype":"%b","shape":%b,' % (orjson.dumps(name), datatype, orjson.dumps(shape))
            entry = entry.replace(b"%", b"%%")
            if forms and forms[index]:
                entry += b'"parameters":{"binary_data_size":%d}}' % (dtype.itemsize * elements(shape))
            else:
                entry += b'"data":[%b]}'
            entries.append(entry)
        if len(self._templates) >= _TEMPLATES:
            self._templates.clear()
        template = self._templates[key] = self._start.replace(b"%", b"%%") + b",".join(entries)
        return template


_dumps = orjson.dumps


def _numbers(array: Array) -> bytes:
    return _dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def _forms(request: Request, names: Sequence[str]) -> tuple[bool, ...]:
    """Of each output whether it goes out in binary form; empty: none does."""
    if not request.binary and not request.binary_default:
        return ()
    return tuple([request.binary.get(name, request.binary_default) for name in names])


def _end(request: Request) -> bytes:
    return b"]}" if request.id is None else b'],"id":%b}' % orjson.dumps(request.id)
