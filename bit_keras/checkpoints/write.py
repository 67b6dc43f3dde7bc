"""Writes the weights of a BiT network for every other code that reads them."""

import zipfile

import numpy as np

from bit_keras.checkpoints.containers import FLOATS, import_safetensors
from bit_keras.checkpoints.layouts import TIMM, to_channels_first
from bit_keras.errors import InputError
from bit_keras.files import replaced


def write_npz(path, architecture, tensors):
    """Writes a network in the layout of the published big_transfer `.npz` files.

    One tensor is in memory at a time. Equal tensors give equal files, byte by byte.

    Args:
        path: The file to write; it is replaced at once, when the new one is whole.
        architecture: The `Architecture` of the network.
        tensors: Iterable of (canonical name, array of floats in the canonical shape),
            each tensor of the architecture once, in any order. Every bit is kept;
            bfloat16, which the format does not have, becomes float32.

    Raises:
        InputError: If the tensors are not those of the architecture, or `path` is no
            name of a file. Nothing is left behind, nor is it after a `RunError`.
        RunError: If the file cannot be written, such as for want of room.

    Example:

    >>> checkpoint = read_checkpoint("model.safetensors")
    >>> write_npz("model.npz", checkpoint.architecture, checkpoint.tensors())
    """
    with replaced(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, array in _checked(architecture, tensors):
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def write_safetensors(path, architecture, tensors):
    """Writes a network as timm's state dict in a `.safetensors` file.

    Load it with `timm.create_model("resnetv2_50x1_bit", num_classes=...,
    checkpoint_path=...)`. All tensors are in memory at once.

    Args:
        path: As in `write_npz`.
        architecture: As in `write_npz`.
        tensors: As in `write_npz`.

    Raises:
        InputError: As in `write_npz`, and if the library safetensors is not installed.
        RunError: As in `write_npz`.
    """
    save_file = import_safetensors().numpy.save_file
    with replaced(path) as part:
        state = {
            TIMM.stored_name(name): np.ascontiguousarray(to_channels_first(array))
            for name, array in _checked(architecture, tensors)
        }
        save_file(state, part, metadata={"format": "pt"})


def _checked(architecture, tensors):
    """Yields the tensors with proof that they are those of the architecture."""
    missing = architecture.shapes()
    for name, array in tensors:
        array = np.asarray(array, order="C")
        shape = missing.pop(name, "no such tensor, or has had it already")
        if array.shape != shape:
            raise InputError(
                f"Cannot write {architecture}: the tensor `{name}` that was given has "
                f"shape {array.shape} where the network has {shape}."
            )
        if array.dtype.name not in FLOATS:
            raise InputError(
                f"Cannot write {architecture}: the tensor `{name}` that was given has "
                f"dtype {array.dtype} where one of {', '.join(FLOATS)} is needed."
            )
        yield name, array.astype(np.float32) if array.dtype == "bfloat16" else array
    if missing:
        raise InputError(
            f"Cannot write {architecture}: {len(missing)} of its tensors were not "
            f"given, first `{next(iter(missing))}`."
        )
