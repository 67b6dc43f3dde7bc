"""Group normalization, with the ReLU that always follows it in BiT."""

import keras
import tensorflow as tf
from keras import ops

from bit_keras.errors import InputError
from bit_keras.layers import gpu_kernels
from bit_keras.layers.normalize import group_normalize


@keras.saving.register_keras_serializable("bit_keras")
class GroupNorm(keras.layers.Layer):
    """Normalizes groups of channels of each image, then scales and shifts channels.

    Mean and (biased) variance are taken over height, width and the channels of a
    group, in float32 or, where the inputs or the policy are float64, in float64; so
    are the scale, the shift and the activation. Only the result is cast to the
    compute dtype.

    Args:
        groups: Number of groups; must divide the number of channels.
        epsilon: Added to the variance.
        activation: `"relu"` or `None`; applied before the result is cast.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: `(batch, height, width, channels)`, height and width may be dynamic.

    Output shape: that of the input.

    Raises:
        InputError: If `groups` does not divide the channels, or `activation` is
            neither of the two.

    Example:

    >>> GroupNorm(groups=32, activation="relu")(np.ones((1, 7, 7, 64))).shape
    TensorShape([1, 7, 7, 64])

    Source: Wu and He, "Group Normalization", arXiv 1803.08494; constants of
    google-research/big_transfer, `bit_tf2/normalization.py`.
    """

    def __init__(self, groups=32, epsilon=1e-5, activation=None, **kwargs):
        if activation not in (None, "relu"):
            raise InputError(
                f'`activation` must be "relu" or None. Received: {activation!r}'
            )
        if not isinstance(groups, int) or groups < 1:
            raise InputError(
                f"`groups` must be a positive integer. Received: {groups!r}"
            )
        # The layer casts by itself: inputs in half precision arrive as they are, and
        # the parameters are never rounded.
        super().__init__(autocast=False, **kwargs)
        self.groups = groups
        self.epsilon = epsilon
        self.activation = activation
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None or channels % self.groups:
            raise InputError(
                "`groups` must divide the number of channels. "
                f"Received: groups={self.groups}, channels={channels}"
            )
        self.gamma = self.add_weight(
            name="gamma", shape=(channels,), initializer="ones", autocast=False
        )
        self.beta = self.add_weight(
            name="beta", shape=(channels,), initializer="zeros", autocast=False
        )

    def call(self, inputs, hands_on=False):
        """Normalizes; with `hands_on` returns the inputs, too, for a residual sum."""
        wide = keras.backend.result_type(inputs.dtype, self.compute_dtype, "float32")
        arguments = (
            tf.convert_to_tensor(inputs),
            ops.cast(self.gamma, wide),
            ops.cast(self.beta, wide),
            self.groups,
            self.epsilon,
            self.activation == "relu",
        )
        if gpu_kernels.enabled() and gpu_kernels.can_normalize(*arguments[:4]):
            y = gpu_kernels.group_normalize(*arguments, hands_on)
            y, *handed_on = y if hands_on else (y,)
        else:
            y, handed_on = group_normalize(*arguments), [inputs]
        y = ops.cast(y, self.compute_dtype)
        return (y, *handed_on) if hands_on else y

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {
            **config,
            "groups": self.groups,
            "epsilon": self.epsilon,
            "activation": self.activation,
        }
