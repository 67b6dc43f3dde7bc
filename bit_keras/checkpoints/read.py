"""Reads published weight files, whole and checked, without a Keras model."""

import contextlib
import dataclasses
import hashlib
import pathlib
import re

import numpy as np

from bit_keras.checkpoints import containers, layouts, names, saved_models
from bit_keras.errors import InputError

_OPEN = {
    "npz": containers.open_npz,
    "hdf5": containers.open_hdf5,
    "safetensors": containers.open_safetensors,
    "saved_model": saved_models.open_saved_model,
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A weight file that holds one whole BiT network; made by `read_checkpoint`.

    Args:
        path: Where the file, or the folder of a SavedModel, lies.
        layout: `"big_transfer"`, `"big_vision"`, `"tf2_h5"`, `"timm"` or
            `"saved_model"`.
        architecture: The `Architecture` that its tensors make up.
        notes: Sentences for the user about what is odd in the file.
    """

    path: pathlib.Path
    layout: str
    architecture: names.Architecture
    notes: tuple[str, ...] = ()

    def origin(self):
        """Returns by what the file is known: its name and SHA-256, in a dict."""
        file = self.path
        if self.layout == "saved_model":
            file = saved_models.weights_file(file)
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"file": self.path.name, "sha256": digest}

    def tensors(self):
        """Yields (canonical name, array) of every tensor in the order of the network.

        One tensor is in memory at a time. It has the canonical shape, kernels HWIO and
        the head a 1x1 convolution, and the dtype of the file, where bfloat16, which
        NumPy does not have, becomes float32.

        Raises:
            InputError: If the file is no longer the one that was checked.
        """
        with _open_placed(self.path) as (layout, architecture, placed):
            if architecture != self.architecture:
                raise InputError(
                    f"it held {self.architecture} when it was checked, and now "
                    f"{architecture}"
                )
            for name in architecture.shapes():
                yield name, _canonical_array(layout, placed[name])


def read_checkpoint(path):
    """Finds out what network a weight file holds and checks every value of it.

    The file can be a big_transfer or big_vision `.npz`, a TF2 `.h5` of big_transfer or
    a timm state dict as `.safetensors`; its content decides, not its name. It can also
    be the folder of a SavedModel in the trainable form, which `export_saved_model` has
    written. The file is read through once, one tensor in memory at a time.

    Args:
        path: The weight file, or folder.

    Returns:
        A `Checkpoint`, whose `tensors()` reads the values again.

    Raises:
        InputError: If the file is not readable, damaged or hostile, holds another kind
            of network, or a tensor is missing, doubled, unknown, of the wrong shape,
            not of floats or not finite.

    Example:

    >>> read_checkpoint("BiT-M-R50x1.npz").architecture.name
    'R50x1'
    """
    path = pathlib.Path(path)
    with _open_placed(path) as (layout, architecture, placed):
        for name, tensor in placed.items():
            if not np.isfinite(tensor.read()).all():
                raise InputError(
                    f"its tensor {_label(tensor, name)} has values that are not finite"
                )
    return Checkpoint(path, layout.name, architecture, _notes(path, architecture))


@contextlib.contextmanager
def _open_placed(path):
    """Yields the layout, the architecture and {canonical name: `StoredTensor`}.

    What goes wrong while the file is open, in the caller too, becomes an `InputError`
    about it: the decoders raise nearly anything on damaged bytes.
    """
    try:
        container = containers.container_of(path)
        with _OPEN[container](path) as stored:
            layout, canonical = layouts.recognise(container, stored)
            placed = _place(stored, canonical)
            yield layout, _check_shapes(layout, placed), placed
    except InputError as error:
        raise InputError(
            f"Cannot read the checkpoint {path}: {_printable(error)}."
        ) from None
    except PermissionError:
        raise InputError(
            f"Cannot read the checkpoint {path}: you have no permission to."
        ) from None
    except Exception as error:
        reason = _printable(f"{type(error).__name__}: {error}")
        raise InputError(
            f"Cannot read the checkpoint {path}: it is truncated, damaged or not what "
            f"its first bytes say, so get it again ({reason})."
        ) from error


def _printable(error):
    """Makes one harmless line of a text that can quote any bytes of the file."""
    return "".join(c if c.isprintable() else " " for c in str(error))


def _place(stored, canonical):
    """Returns {canonical name: tensor}, each name once."""
    placed = {}
    for tensor, name in zip(stored, canonical, strict=True):
        if name is None:
            raise InputError(f"its tensor `{tensor.name}` is not one of a BiT network")
        if name in placed:
            raise InputError(
                f"its tensors `{placed[name].name}` and `{tensor.name}` stand for the "
                "same one of the network"
            )
        if tensor.dtype not in containers.FLOATS:
            raise InputError(
                f"its tensor {_label(tensor, name)} is of {tensor.dtype}, not of floats"
            )
        if 0 in tensor.shape:
            raise InputError(
                f"its tensor {_label(tensor, name)} is empty, of shape {tensor.shape}"
            )
        placed[name] = tensor
    return placed


def _check_shapes(layout, placed):
    """Returns the architecture, after comparing all names and shapes with it."""
    held = {
        name: layout.canonical_shape(tensor.shape) for name, tensor in placed.items()
    }
    architecture = names.Architecture.from_shapes(held)
    wanted = architecture.shapes()
    missing = [name for name in wanted if name not in held]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(wanted)} tensors of {architecture}, which the "
            f"others make up, are missing, first `{missing[0]}`"
        )
    for name, shape in held.items():
        if shape != wanted.get(name):
            raise InputError(
                f"its tensor {_label(placed[name], name)} has shape {shape} where "
                f"{architecture}, which the others make up, has "
                f"{wanted.get(name, 'no such tensor')}"
            )
    return architecture


def _label(tensor, name):
    """Names a tensor as in the file, and as in the network where that is different."""
    return f"`{name}`" if tensor.name == name else f"`{tensor.name}` (`{name}`)"


def _canonical_array(layout, tensor):
    array = tensor.read()
    dtype = np.float32 if tensor.dtype == "bfloat16" else tensor.dtype
    return np.ascontiguousarray(layout.to_canonical(array), dtype)


def _notes(path, architecture):
    """Says so where a published file name stands for another architecture."""
    match = re.match(r"(?:BiT-[SM]-)?R(50|101|152)x([1-4])(?![0-9])", path.name)
    if not match:
        return ()
    named = names.Architecture.from_depth(int(match[1]), int(match[2]))
    if (named.units, named.width) == (architecture.units, architecture.width):
        return ()
    return (
        f"{path.name} has the published name of {named.name} but holds {architecture} "
        "and is read as that; some published BiT-S `.h5` files are swapped, so prefer "
        "the `.npz` of the same name.",
    )
