"""The BiT ResNet-v2, as in google-research/big_transfer (`bit_tf2/models.py`)."""

import itertools
import numbers

import keras
import numpy as np

from bit_keras.checkpoints import names
from bit_keras.errors import InputError
from bit_keras.layers import GroupNorm, StdConv2D, ZeroPaddedMaxPool2D


@keras.saving.register_keras_serializable("bit_keras")
class ResidualUnit(keras.layers.Layer):
    """Pre-activation bottleneck unit: normalized before each of its convolutions.

    The shortcut is projected in the first unit of each block, from the normalized
    and activated input; elsewhere it is the input itself. The stride is that of the
    3x3 convolution.

    Args:
        channels: Channels of the two inner convolutions; the unit returns four times
            as many.
        strides: Step of the unit in pixels along both sides.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Source: He et al., "Identity Mappings in Deep Residual Networks", arXiv
    1603.05027; stride and shortcut as in big_transfer.
    """

    def __init__(self, channels, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.strides = strides

        def norm(name):
            return GroupNorm(activation="relu", name=name, dtype=self.dtype_policy)

        self.norm_a = norm("a_group_norm")
        self.conv_a = self._conv(channels, 1, "a_conv")
        self.norm_b = norm("b_group_norm")
        self.conv_b = self._conv(channels, 3, "b_conv", strides=strides)
        self.norm_c = norm("c_group_norm")
        self.conv_c = self._conv(4 * channels, 1, "c_conv")
        self.projection = None
        self.remat = False

    def _conv(self, filters, size, name, strides=1):
        return StdConv2D(filters, size, strides, name=name, dtype=self.dtype_policy)

    def build(self, input_shape):
        if self.strides > 1 or input_shape[-1] != 4 * self.channels:
            self.projection = self._conv(
                4 * self.channels, 1, "a_projection", strides=self.strides
            )
            self.projection.build(input_shape)
        shape = input_shape
        for norm, conv in self._normalized_convolutions():
            norm.build(shape)
            conv.build(shape)
            shape = conv.compute_output_shape(shape)

    def _normalized_convolutions(self):
        return (
            (self.norm_a, self.conv_a),
            (self.norm_b, self.conv_b),
            (self.norm_c, self.conv_c),
        )

    def call(self, inputs):
        residual_sum = (
            keras.remat(self._residual_sum) if self.remat else self._residual_sum
        )
        return residual_sum(inputs)

    def _residual_sum(self, inputs):
        if self.projection is None:
            activated, shortcut = self.norm_a(inputs, hands_on=True)
        else:
            activated = self.norm_a(inputs)
            shortcut = self.projection(activated)
        x = self.conv_a(activated)
        x = self.conv_b(self.norm_b(x))
        x = self.conv_c(self.norm_c(x))
        return x + shortcut

    def convolutions(self):
        """Returns the `StdConv2D` layers of the unit."""
        all_of_them = (self.projection, self.conv_a, self.conv_b, self.conv_c)
        return [conv for conv in all_of_them if conv is not None]

    def named_variables(self, prefix):
        """Returns the variables by published name; `prefix` is that of the unit."""
        named = {}
        for part, (norm, conv) in zip(
            "abc", self._normalized_convolutions(), strict=True
        ):
            named |= norm_variables(norm, f"{prefix}/{part}/group_norm")
            named[f"{prefix}/{part}/standardized_conv2d/kernel"] = conv.kernel
        if self.projection is not None:
            kernel = f"{prefix}/a/proj/standardized_conv2d/kernel"
            named[kernel] = self.projection.kernel
        return named

    def compute_output_shape(self, input_shape):
        return (*self.conv_b.compute_output_shape(input_shape)[:3], 4 * self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "strides": self.strides,
        }


def norm_variables(norm, prefix):
    """Returns the variables of a `GroupNorm` by published name."""
    return {f"{prefix}/gamma": norm.gamma, f"{prefix}/beta": norm.beta}


@keras.saving.register_keras_serializable("bit_keras")
class BiTBackbone(keras.Model):
    """BiT without its head: images to a map of normalized features.

    Args:
        depth: 26, 50, 101 or 152; or `None` where `units` is given.
        width: Factor on all channels: a multiple of 0.5, such as 0.5, 1, 2, 3 or 4.
        units: Number of residual units in each of the four blocks, in place of
            `depth`.
        dtype: Name of a dtype or policy, or a policy; by default Keras's global one.
        trainable: Whether the network is trained. What is set on single layers inside
            is not saved with the model.
        **kwargs: Of `keras.Model`, such as `name`.

    Input: float images `(batch, height, width, 3)` in [-1, 1], of any height and width
    from 32 pixels, which may be dynamic.

    Output: `(batch, ceil(height / 32), ceil(width / 32), 2048 * width)` after the last
    normalization and ReLU, in the compute dtype.

    Raises:
        InputError: If not exactly one of `depth` and `units` is given, or if no such
            network exists.

    Example:

    >>> backbone = BiTBackbone(depth=50, width=1)
    >>> list(backbone.endpoints)
    ['root_block', 'block1', 'block2', 'block3', 'block4', 'pre_logits_2d']
    >>> extractor = keras.Model(backbone.input, backbone.pyramid)  # {"P2": ..., ...}

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.1.
    """

    def __init__(
        self, depth=None, width=1, units=None, dtype=None, trainable=True, **kwargs
    ):
        architecture = check_architecture(depth, width, units)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input((None, None, 3), dtype=wide_dtype(policy), name="images")
        kwargs.setdefault("name", "bit_backbone")
        super().__init__(images, connect(images, architecture, policy), **kwargs)
        self.dtype_policy = policy
        self.units = architecture.units
        self.width = architecture.width
        # Name and SHA-256 of the file that the weights were first read from, if any.
        self.origin = None
        if not trainable:
            # Set afterwards: as an argument it would not reach the layers inside.
            self.trainable = False

    @property
    def architecture(self):
        """The `Architecture` of this network, which has no head."""
        return names.Architecture(tuple(self.units), self.width)

    @property
    def endpoints(self):
        """Symbolic outputs by name, from `root_block` to `pre_logits_2d`.

        `block1` to `block4` are sums of residuals, before the next normalization.
        """
        last_layers = {"root_block": "root_block"} | {
            f"block{block}": layer_name(block, num_units)
            for block, num_units in enumerate(self.units, start=1)
        }
        outputs = {
            end: self.get_layer(layer).output for end, layer in last_layers.items()
        }
        return outputs | {"pre_logits_2d": self.output}

    @property
    def pyramid(self):
        """Outputs of the four blocks as `P2` to `P5`, of strides 4, 8, 16 and 32."""
        endpoints = self.endpoints
        return {f"P{block + 1}": endpoints[f"block{block}"] for block in range(1, 5)}

    @property
    def remat(self):
        """Whether gradients compute what is inside of each unit anew.

        Training then keeps the output of each unit alone, for a third more of
        computation. Set it before `compile`; it is not saved.
        """
        return all(unit.remat for unit in self._units())

    @remat.setter
    def remat(self, value):
        """Sets it for all units."""
        for unit in self._units():
            unit.remat = value

    def _units(self):
        return [
            self.get_layer(layer_name(block, unit))
            for block, unit in self.architecture.block_units()
        ]

    def convolutions(self):
        """Returns all `StdConv2D` layers of the network."""
        inner = (unit.convolutions() for unit in self._units())
        return [self.get_layer("root_conv"), *itertools.chain.from_iterable(inner)]

    def named_variables(self):
        """Returns the variables by published name, in the published order."""
        variables = {names.ROOT_KERNEL: self.get_layer("root_conv").kernel}
        for block, unit in self.architecture.block_units():
            residual_unit = self.get_layer(layer_name(block, unit))
            variables |= residual_unit.named_variables(names.unit_prefix(block, unit))
        final_norm = self.get_layer("group_norm")
        return variables | norm_variables(final_norm, names.FINAL_NORM)

    def get_config(self):
        return {
            "units": list(self.units),
            "width": self.width,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
            "origin": self.origin,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        origin = config.get("origin")
        backbone = cls(**{k: v for k, v in config.items() if k != "origin"})
        backbone.origin = origin
        return backbone


def check_architecture(depth, width, units):
    """Returns the `Architecture` without a head, or says why there is none.

    Raises:
        InputError: If not exactly one of `depth` and `units` is given, or if a value
            is not possible.
    """
    if (depth is None) == (units is None):
        raise InputError(
            "Give either `depth` or `units`. "
            f"Received: depth={depth!r}, units={units!r}"
        )
    if units is None:
        if not isinstance(depth, int) or depth not in names.STANDARD_UNITS:
            raise InputError(
                f"`depth` must be one of {list(names.STANDARD_UNITS)}; give `units` "
                f"for another network. Received: {depth!r}"
            )
        units = names.STANDARD_UNITS[depth]
    units = tuple(units) if np.iterable(units) else units
    valid = (
        isinstance(units, tuple)
        and len(units) == 4
        and all(isinstance(n, numbers.Integral) and n >= 1 for n in units)
    )
    if not valid:
        raise InputError(f"`units` must be four positive integers. Received: {units!r}")
    # 32 groups must divide the 64 * width channels after the root convolution.
    if not isinstance(width, int | float) or width <= 0 or (2 * width) % 1:
        raise InputError(
            f"`width` must be a positive multiple of 0.5. Received: {width!r}"
        )
    return names.Architecture(tuple(map(int, units)), width)


def wide_dtype(policy):
    """Returns the dtype of images and logits: float64 in such a policy, or float32."""
    return keras.backend.result_type(policy.compute_dtype, "float32")


def layer_name(block, unit):
    """Returns the name of the layer that is unit `unit` of `block`, both from 1."""
    return f"block{block}_unit{unit:02d}"


def connect(images, architecture, policy, unit_class=ResidualUnit, last_norm=None):
    """Applies the layers of the network to symbolic images.

    Args:
        images: Symbolic images.
        architecture: An `Architecture`.
        policy: Dtype policy of the layers.
        unit_class: Class of the residual units.
        last_norm: The normalization with ReLU after them, called `group_norm`; by
            default BiT's.

    Returns:
        The symbolic map of normalized features.
    """
    x = StdConv2D(
        architecture.root_channels, 7, strides=2, name="root_conv", dtype=policy
    )(images)
    x = ZeroPaddedMaxPool2D(name="root_block", dtype=policy)(x)
    for block, unit in architecture.block_units():
        channels, _ = architecture.block_channels(block)
        strides = 2 if unit == 1 and block > 1 else 1
        name = layer_name(block, unit)
        x = unit_class(channels, strides, name=name, dtype=policy)(x)
    if last_norm is None:
        last_norm = GroupNorm(activation="relu", name="group_norm", dtype=policy)
    return last_norm(x)
