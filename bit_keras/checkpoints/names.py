"""Names and shapes of a BiT network's tensors, as published.

The canonical names and shapes everywhere in this package are those of the
`.npz` files of google-research/big_transfer: kernels are HWIO and the head is a
1x1 convolution.
"""

import collections
import dataclasses
import math
import re

from bit_keras.errors import InputError

STANDARD_UNITS = {
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

ROOT_KERNEL = "resnet/root_block/standardized_conv2d/kernel"
FINAL_NORM = "resnet/group_norm"
HEAD_KERNEL = "resnet/head/conv2d/kernel"
HEAD_BIAS = "resnet/head/conv2d/bias"


def unit_prefix(block, unit):
    """Returns the prefix of the names in unit `unit` of `block`, both from 1."""
    return f"resnet/block{block}/unit{unit:02d}"


def split_unit(name):
    """Returns (block, unit, rest) of a name in a unit, None for any other name."""
    match = re.fullmatch(r"resnet/block([1-4])/unit([0-9]+)/(.+)", name)
    return match and (int(match[1]), int(match[2]), match[3])


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A BiT ResNet-v2, as far as its tensors tell it apart from another one.

    Args:
        units: Number of residual units in each of the four blocks.
        width: Factor on all channels; the root has `64 * width` of them.
        num_classes: Size of the head; 0 for a network without one.

    Example:

    >>> Architecture.from_depth(50, width=1, num_classes=1000).num_parameters
    25549352
    """

    units: tuple[int, int, int, int]
    width: float = 1
    num_classes: int = 0

    @classmethod
    def from_depth(cls, depth, width=1, num_classes=0):
        """Makes a published architecture from its depth: 26, 50, 101 or 152."""
        return cls(STANDARD_UNITS[depth], width, num_classes)

    @classmethod
    def from_shapes(cls, shapes):
        """Finds the architecture that most of the given tensors agree on.

        The units are read from the names, the width from the last axes and the classes
        from the head. Compare with `shapes()` afterwards: a few tensors may not fit.

        Args:
            shapes: A mapping from canonical name to shape.

        Raises:
            InputError: If no BiT network has tensors so wide.
        """
        units = [1, 1, 1, 1]
        for block, unit, _ in filter(None, map(split_unit, shapes)):
            units[block - 1] = max(units[block - 1], unit)
        widths = collections.Counter(
            shapes[name][-1] / shape[-1]
            for name, shape in cls(tuple(units)).shapes().items()
            if shapes.get(name)
        )
        width = max(widths, key=widths.get, default=0)
        if not width or 2 * width % 1:
            raise InputError(
                f"most of its tensors have {width:g} times the channels of width 1, "
                "where the 32 groups of BiT allow multiples of 0.5"
            )
        head = shapes.get(HEAD_KERNEL) or shapes.get(HEAD_BIAS) or (0,)
        return cls(tuple(units), width if width % 1 else int(width), head[-1])

    @property
    def name(self):
        """The short name: `R50x1`, or the units where no depth stands for them."""
        width = f"x{self.width:g}"
        for depth, units in STANDARD_UNITS.items():
            if units == self.units:
                return f"R{depth}{width}"
        return f"R[{','.join(map(str, self.units))}]{width}"

    def __str__(self):
        head = f"{self.num_classes} classes" if self.num_classes else "no head"
        return f"{self.name} with {head}"

    @property
    def root_channels(self):
        """Number of channels after the root convolution."""
        return round(64 * self.width)

    @property
    def num_features(self):
        """Number of pooled features, the input size of the head."""
        return 32 * self.root_channels

    def block_channels(self, block):
        """Returns the channels (inside, at the end) of a unit in `block`, 1 to 4."""
        inside = self.root_channels * 2 ** (block - 1)
        return inside, 4 * inside

    def block_units(self):
        """Yields (block, unit), both from 1, for every unit in order."""
        for block, num_units in enumerate(self.units, start=1):
            for unit in range(1, num_units + 1):
                yield block, unit

    def _convolutions(self):
        """Yields (prefix of the name, kernel shape, stride of the output) in order.

        The stride is that of the output on the image: 2 after the root convolution.
        """
        yield "resnet/root_block", (7, 7, 3, self.root_channels), 2
        incoming, stride = self.root_channels, 4
        for block, unit in self.block_units():
            inside, outgoing = self.block_channels(block)
            prefix, input_stride = unit_prefix(block, unit), stride
            if unit == 1 and block > 1:
                stride *= 2
            yield f"{prefix}/a", (1, 1, incoming, inside), input_stride
            yield f"{prefix}/b", (3, 3, inside, inside), stride
            yield f"{prefix}/c", (1, 1, inside, outgoing), stride
            if unit == 1:
                yield f"{prefix}/a/proj", (1, 1, incoming, outgoing), stride
            incoming = outgoing

    def shapes(self):
        """Returns the shape of every tensor by name, in the order of the network."""
        shapes = {}
        for prefix, shape, _ in self._convolutions():
            if prefix.endswith(("/a", "/b", "/c")):
                for parameter in ("gamma", "beta"):
                    shapes[f"{prefix}/group_norm/{parameter}"] = (shape[2],)
            shapes[f"{prefix}/standardized_conv2d/kernel"] = shape
        for parameter in ("gamma", "beta"):
            shapes[f"{FINAL_NORM}/{parameter}"] = (self.num_features,)
        if self.num_classes:
            shapes[HEAD_KERNEL] = (1, 1, self.num_features, self.num_classes)
            shapes[HEAD_BIAS] = (self.num_classes,)
        return shapes

    @property
    def num_parameters(self):
        """Number of trained values, the head included where there is one."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def multiply_adds(self, height, width):
        """Counts the multiplications by all kernels for one image.

        Args:
            height: Image height in pixels.
            width: Image width in pixels.

        Returns:
            An integer, half the number of floating point operations. As is usual in
            published figures, normalization, activations and pooling do not count.
        """
        total = self.num_features * self.num_classes
        for _, shape, stride in self._convolutions():
            total += math.prod(shape) * -(-height // stride) * -(-width // stride)
        return total
