"""Opens three kinds of weight file without trusting their content.

Opening reads names, shapes and dtypes only; the values are read tensor by tensor. A
claim in the file about a size is held against the bytes that are there before
anything of that size is made.
"""

import contextlib
import dataclasses
import functools
import io
import math
import os
import zipfile
from collections.abc import Callable

import h5py
import ml_dtypes
import numpy as np

from bit_keras.errors import InputError

READABLE = (
    "the `.npz` of big_transfer or big_vision, the TF2 `.h5` of big_transfer, "
    "timm's state dict as `.safetensors`, the folder of a SavedModel of bit_keras"
)
# The graph of a SavedModel, by which its folder is known.
SAVED_MODEL_FILE = "saved_model.pb"

FLOATS = ("float16", "bfloat16", "float32", "float64")

# Weights hardly compress; an untrained head of zeros in an `.npz` still does. Far
# beyond that, a small file only claims to hold a network.
_MAX_COMPRESSION = 100

# What NumPy accepts as a header, with its magic bytes and length.
_MAX_NPY_HEADER = 10_000 + 12

_KERAS_3_GROUPS = {"layers", "_layer_checkpoint_dependencies", "vars"}

_SAFETENSORS_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file holds it.

    Args:
        name: Its name in the file.
        shape: Its shape in the file.
        dtype: Name of its dtype.
        read: Returns its values, a NumPy array.
        layer: In HDF5, the name of the Keras layer that it belongs to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    layer: str = ""


def container_of(path):
    """Tells what a path is, a file from its first bytes.

    Returns:
        `"npz"`, `"hdf5"`, `"safetensors"` or `"saved_model"`.

    Raises:
        InputError: If it is none of these.
    """
    if not path.exists():
        raise InputError("there is no such file")
    if (path / SAVED_MODEL_FILE).is_file():
        return "saved_model"
    if not path.is_file():
        raise InputError("it is no file but a folder or a device; give a weight file")
    with open(path, "rb") as file:
        start = file.read(9)
    if start.startswith(b"PK"):
        return "npz"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if start[8:] == b"{":  # after the header's length, its JSON
        return "safetensors"
    raise unreadable("its first bytes are those of no weight file")


def unreadable(reason):
    """Returns the error for a file of another kind, which lists the readable ones."""
    return InputError(f"{reason}; what can be read is {READABLE}")


@contextlib.contextmanager
def open_npz(path):
    """Yields the tensors of an `.npz` file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        if claimed > _MAX_COMPRESSION * (size := os.path.getsize(path)):
            raise InputError(
                f"it claims to hold {claimed} bytes in only {size}, as a zip bomb does"
            )
        yield [_npz_tensor(archive, member) for member in members]


def _npz_tensor(archive, member):
    if not member.filename.endswith(".npy"):
        raise unreadable(f"it holds `{member.filename}`, which is no NumPy array")
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        header = io.BytesIO(stream.read(_MAX_NPY_HEADER))
    version = np.lib.format.read_magic(header)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(header)
    if dtype.hasobject:
        raise InputError(
            f"its tensor `{name}` is pickled, and pickles are never loaded"
        )
    claimed = math.prod(shape) * dtype.itemsize
    held = member.file_size - header.tell()
    if claimed != held:
        raise InputError(
            f"its tensor `{name}` of shape {shape} and dtype {dtype} should have "
            f"{claimed} bytes but has {held}"
        )
    # NumPy writes bfloat16, which is none of its own dtypes, as two bytes without type.
    dtype_name = "bfloat16" if dtype == np.dtype("V2") else dtype.name
    read = functools.partial(_read_npy, archive, member)
    return StoredTensor(name, shape, dtype_name, read)


def _read_npy(archive, member):
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" else array


@contextlib.contextmanager
def open_hdf5(path):
    """Yields the tensors of a Keras 2 weight file in the order they were saved in."""
    with h5py.File(path, "r") as file:
        if "layer_names" not in file.attrs:
            if path.name.endswith(".weights.h5") or _KERAS_3_GROUPS & set(file):
                raise InputError(
                    "it is a Keras 3 weight file, which only a model that is already "
                    "built can load, by `bit_keras.load_weights(model, path)` with a "
                    "path that ends in `.weights.h5`"
                )
            raise unreadable("it is an HDF5 file without the layers of a Keras 2 model")
        yield [
            _hdf5_tensor(layer, _follow(file, layer), name)
            for layer in _texts(file.attrs["layer_names"])
            for name in _texts(_follow(file, layer).attrs["weight_names"])
        ]


def _texts(attribute):
    """Returns the strings of an HDF5 attribute, which h5py may give as bytes."""
    return [text.decode() if isinstance(text, bytes) else text for text in attribute]


def _follow(group, name):
    """Returns what lies at a path in a group, never in another file or place."""
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise InputError(f"`{name}`, which it lists, is not in the file")
        group = group[part]
    return group


def _hdf5_tensor(layer, group, name):
    dataset = _follow(group, name)
    name = f"{layer}/{name}"
    claimed = dataset.size * dataset.dtype.itemsize
    held = dataset.id.get_storage_size()
    plain = dataset.chunks is None and not dataset.is_virtual and not dataset.external
    if not plain or claimed != held:
        raise InputError(
            f"its tensor `{name}` of shape {dataset.shape} and dtype {dataset.dtype} "
            f"should have {claimed} bytes in one piece, as Keras writes, but has {held}"
        )
    read = functools.partial(dataset.__getitem__, ())
    return StoredTensor(name, dataset.shape, dataset.dtype.name, read, layer)


@contextlib.contextmanager
def open_safetensors(path):
    """Yields the tensors of a `.safetensors` file."""
    safetensors = import_safetensors()
    with safetensors.safe_open(path, framework="numpy") as file:
        yield [_safetensors_tensor(file, name) for name in file.keys()]  # noqa: SIM118


def _safetensors_tensor(file, name):
    header = file.get_slice(name)
    dtype = _SAFETENSORS_DTYPES.get(header.get_dtype(), header.get_dtype())
    read = functools.partial(file.get_tensor, name)
    return StoredTensor(name, tuple(header.get_shape()), dtype, read)


def import_safetensors():
    """Imports the optional library `safetensors`, or says how to get it."""
    try:
        import safetensors.numpy
    except ImportError:
        raise InputError(
            "`.safetensors` files need the library safetensors; install it by "
            "`pip install bit-keras[safetensors]`"
        ) from None
    return safetensors
