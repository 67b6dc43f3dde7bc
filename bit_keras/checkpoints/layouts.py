"""How the published layouts name, order and shape the tensors of a network."""

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable

import numpy as np

from bit_keras.checkpoints import names
from bit_keras.checkpoints.containers import unreadable
from bit_keras.errors import InputError

# Names inside a unit, then those outside of all units.
# fmt: off
_NAMES = {row[0]: row for row in (
    # big_transfer                        big_vision          timm
    ("a/group_norm/gamma",                "gn1/scale",        "norm1.weight"),
    ("a/group_norm/beta",                 "gn1/bias",         "norm1.bias"),
    ("a/standardized_conv2d/kernel",      "conv1/kernel",     "conv1.weight"),
    ("b/group_norm/gamma",                "gn2/scale",        "norm2.weight"),
    ("b/group_norm/beta",                 "gn2/bias",         "norm2.bias"),
    ("b/standardized_conv2d/kernel",      "conv2/kernel",     "conv2.weight"),
    ("c/group_norm/gamma",                "gn3/scale",        "norm3.weight"),
    ("c/group_norm/beta",                 "gn3/bias",         "norm3.bias"),
    ("c/standardized_conv2d/kernel",      "conv3/kernel",     "conv3.weight"),
    ("a/proj/standardized_conv2d/kernel", "conv_proj/kernel", "downsample.conv.weight"),

    (names.ROOT_KERNEL,           "root_block/conv_root/kernel", "stem.conv.weight"),
    (f"{names.FINAL_NORM}/gamma", "norm-pre-head/scale",         "norm.weight"),
    (f"{names.FINAL_NORM}/beta",  "norm-pre-head/bias",          "norm.bias"),
    (names.HEAD_KERNEL,           "head/kernel",                 "head.fc.weight"),
    (names.HEAD_BIAS,             "head/bias",                   "head.fc.bias"),
)}
# fmt: on

# Unit numbers have two digits in the published names.
_LARGEST = names.Architecture((99, 99, 99, 99), num_classes=1)


@dataclasses.dataclass(frozen=True)
class Naming:
    """One column of the table above.

    Args:
        column: Number of the column.
        unit: Name of a tensor in a unit, with slots for block, unit and tensor.
        first: Number of the first block and of the first unit.
        variation: Pattern of what differs between files of the layout, and what stands
            for it in this naming.
    """

    column: int
    unit: str
    first: int = 1
    variation: tuple[str, str] = ("", "")

    def stored_name(self, name):
        """Returns the name in this layout of a tensor with a canonical name."""
        if split := names.split_unit(name):
            block, unit, tensor = split
            shift = self.first - 1
            tensor = _NAMES[tensor][self.column]
            return self.unit.format(block + shift, unit + shift, tensor)
        return _NAMES[name][self.column]

    @functools.cached_property
    def _canonical(self):
        return {self.stored_name(name): name for name in _LARGEST.shapes()}

    def canonical_names(self, stored):
        """Returns the canonical name of each stored tensor, None for an unknown one."""
        return [
            self._canonical.get(re.sub(*self.variation, tensor.name))
            for tensor in stored
        ]


def _names_by_order(stored):
    """Returns the canonical names of a TF2 `.h5`, whose own names are no guide.

    Keras 2 saved the layers, and the weights in each, in the order they were made in:
    that of the canonical names, the projection last in its unit included.
    """
    listed = collections.Counter(tensor.name for tensor in stored)
    if doubled := [name for name, count in listed.items() if count > 1]:
        raise InputError(f"its tensor `{doubled[0]}` is listed twice")
    layers = [list(group) for _, group in itertools.groupby(stored, lambda t: t.layer)]
    if len(layers) not in (6, 7):
        raise unreadable(
            f"it holds {len(layers)} layers with weights, where BiT has a root, four "
            "blocks, a last norm and perhaps a head"
        )
    units = tuple(max(1, round((len(layer) - 1) / 9)) for layer in layers[1:5])
    wanted = [1, *(9 * count + 1 for count in units), 2, 2]
    for layer, size in zip(layers, wanted, strict=False):
        if len(layer) != size:
            raise InputError(
                f"its layer `{layer[0].layer}` holds {len(layer)} tensors where {size} "
                "are expected (1 in the root, 9 a unit and a projection in each block, "
                "2 in the last norm, 2 in the head), so some are missing or too many"
            )
    return list(names.Architecture(units, num_classes=len(layers) - 6).shapes())


def _kept(array):
    return array


def _leading_ones(array):
    """A norm's (1, 1, 1, C) becomes (C,); a dense head becomes a 1x1 convolution."""
    if array.shape[:-1] == (1, 1, 1):
        return array.reshape(-1)
    return array[None, None] if array.ndim == 2 else array


def _from_channels_first(array):
    """A kernel OIHW becomes HWIO; a dense head, OI, becomes a 1x1 convolution."""
    if array.ndim == 2:
        array = array[:, :, None, None]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def to_channels_first(array):
    """Makes a kernel OIHW from HWIO and leaves a vector as it is."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


@dataclasses.dataclass(frozen=True)
class Layout:
    """A kind of published weight file.

    Args:
        name: What the package calls it.
        container: What `containers.container_of` says of such a file.
        canonical_names: Returns the canonical name, or None, for each of a list of
            `StoredTensor`.
        to_canonical: Returns an array of the file in its canonical shape.
    """

    name: str
    container: str
    canonical_names: Callable[[list], list]
    to_canonical: Callable[[np.ndarray], np.ndarray]

    def canonical_shape(self, shape):
        """Returns the shape that an array of the file gets by `to_canonical`."""
        without_memory = np.broadcast_to(np.int8(0), shape)
        return self.to_canonical(without_memory).shape


_BIG_TRANSFER = Naming(
    column=0,
    unit="resnet/block{}/unit{:02d}/{}",
    variation=("/standardized_conv2d_[0-9]+/", "/standardized_conv2d/"),
)
_BIG_VISION = Naming(column=1, unit="block{}/unit{:02d}/{}", variation=("^params/", ""))
TIMM = Naming(column=2, unit="stages.{}.blocks.{}.{}", first=0)

LAYOUTS = (
    Layout("big_transfer", "npz", _BIG_TRANSFER.canonical_names, _kept),
    Layout("big_vision", "npz", _BIG_VISION.canonical_names, _leading_ones),
    Layout("tf2_h5", "hdf5", _names_by_order, _leading_ones),
    Layout("saved_model", "saved_model", _BIG_TRANSFER.canonical_names, _leading_ones),
    Layout("timm", "safetensors", TIMM.canonical_names, _from_channels_first),
)


def recognise(container, stored):
    """Finds the layout of a file.

    Args:
        container: What `containers.container_of` says of the file.
        stored: The file's list of `StoredTensor`.

    Returns:
        The `Layout` that knows most of the tensors, and its canonical name for each of
        them, None for an unknown one.
    """
    candidates = [
        (layout, layout.canonical_names(stored))
        for layout in LAYOUTS
        if layout.container == container
    ]
    layout, canonical = max(candidates, key=lambda item: len(set(item[1]) - {None}))
    if not any(canonical):
        raise unreadable("none of its tensors is named like one of a BiT network")
    return layout, canonical
