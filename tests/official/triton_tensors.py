"""What both of Triton's clients are asked for."""

import numpy as np

_VALUES = {
    "BOOL": [[True, False]],
    "INT8": [[-128, 127]],
    "INT16": [[-(2**15), 1]],
    "INT32": [[-(2**31), 1]],
    "INT64": [[-(2**63), 1]],
    "UINT8": [[0, 255]],
    "UINT16": [[0, 65535]],
    "UINT32": [[0, 2**32 - 1]],
    "UINT64": [[0, 2**64 - 1]],
    "FP16": [[0.5, -65504]],
    "FP32": [[1.5, -3e38]],
    "FP64": [[0.1, 1e300]],
    "BYTES": [[b"text", "grün".encode()]],
}


def inputs(module, **how):
    """An input of every datatype, and the arrays by name."""
    from tritonclient.utils import triton_to_np_dtype

    arrays = {name: np.array(values, triton_to_np_dtype(name)) for name, values in _VALUES.items()}
    tensors = []
    for name, array in arrays.items():
        tensors.append(module.InferInput(name.lower(), list(array.shape), name))
        # JSON has no 16 bit floats in Triton's client.
        options = {} if name == "FP16" else how
        tensors[-1].set_data_from_numpy(array, **options)
    return tensors, {name.lower(): array for name, array in arrays.items()}


def numbers(module, first, second, **how):
    """The inputs of the model ``simple``."""
    tensors = []
    for name, values in (("INPUT0", first), ("INPUT1", second)):
        array = np.array(values, np.int32)
        tensors.append(module.InferInput(name, list(array.shape), "INT32"))
        tensors[-1].set_data_from_numpy(array, **how)
    return tensors


def check_equal(result, arrays):
    for name, array in arrays.items():
        got = result.as_numpy(name)
        assert got.dtype == array.dtype or array.dtype == object, (name, got.dtype)
        assert _texts(got.tolist()) == _texts(array.tolist()), (name, got, array)


def _texts(rows):
    # From JSON the client gives text, from binary tensors bytes.
    return [[value.decode() if isinstance(value, bytes) else value for value in row] for row in rows]
