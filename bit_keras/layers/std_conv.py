"""Convolution with weight standardization."""

import keras
import tensorflow as tf
from keras import ops

from bit_keras.errors import InputError
from bit_keras.layers import cpu_forms, gpu_kernels
from bit_keras.layers.convolution import convolve
from bit_keras.layers.cpu_forms import mean_over
from bit_keras.layers.gradients import custom_gradient

_INPUTS = (0, 1, 2)


def standardize(kernel, epsilon=1e-10):
    """Gives every output channel of a kernel mean 0 and variance 1.

    The small number stands inside the root and the variance is the biased one:
    published weights give other features with any other choice.

    Args:
        kernel: Tensor of shape `(height, width, channels_in, channels_out)`, float32
            or float64. In float16 `epsilon` would vanish: cast afterwards.
        epsilon: Added to the variance.

    Returns:
        A tensor like `kernel`.

    Source: Qiao et al., "Weight Standardization", arXiv 1903.10520; constants of
    google-research/big_transfer, `bit_tf2/models.py`.
    """
    kernel = tf.convert_to_tensor(kernel)
    # In steps that XLA compiles it is faster on processors; on a GPU it is as fast, and
    # compiled sooner by one thread: R50x1 on an H100 in 41 s in place of 48 to 52.
    if cpu_forms.enabled() or gpu_kernels.enabled():
        return _standardize_with_gradient(kernel, epsilon)
    standard, _ = _standardized(kernel, epsilon)
    return standard


def _standardized(kernel, epsilon):
    """Returns the standardized kernel, and the deviation of each output channel."""
    centred = kernel - mean_over(kernel, _INPUTS)
    deviation = tf.sqrt(mean_over(tf.square(centred), _INPUTS) + epsilon)
    return centred / deviation, deviation


def _standardize_with_gradient(kernel, epsilon):
    """Standardizes, with a gradient that passes over the kernel twice and no more."""

    @custom_gradient
    def standardized(kernel):
        standard, deviation = _standardized(kernel, epsilon)

        def gradient(dy):
            along = mean_over(dy * standard, _INPUTS)
            return (dy - mean_over(dy, _INPUTS) - standard * along) / deviation

        return standard, gradient

    return standardized(kernel)


@keras.saving.register_keras_serializable("bit_keras")
class StdConv2D(keras.layers.Layer):
    """2-D convolution whose kernel is standardized each time it is used.

    There is no bias, and the padding is `(kernel_size - 1) // 2` zeros on all four
    sides, whatever the stride. (Keras's "same" pads unevenly under a stride and
    shifts the grid that published weights were trained on.)

    The kernel is kept and standardized in float32, or in float64 under a float64
    policy; only then is it cast to the compute dtype of a mixed policy.

    Args:
        filters: Number of output channels, at least 1.
        kernel_size: Height and width of the kernel in pixels, at least 1.
        strides: Step of the kernel in pixels along both sides, at least 1.
        epsilon: Added to the variance of the kernel.
        kernel_initializer: Initial values of the kernel. The output does not depend
            on their scale, but the gradient falls with it.
        kernel_regularizer: Penalty on the kernel as stored, or `None`.
        kernel_constraint: Projection of the kernel as stored, or `None`.
        **kwargs: Of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: `(batch, height, width, channels)`, height and width may be dynamic.

    Output shape: `(batch, new_height, new_width, filters)`.

    Raises:
        InputError: If a size is not a positive integer.

    Example:

    >>> StdConv2D(64, kernel_size=7, strides=2)(np.zeros((1, 224, 224, 3))).shape
    TensorShape([1, 112, 112, 64])

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.1.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        epsilon=1e-10,
        kernel_initializer="lecun_normal",
        kernel_regularizer=None,
        kernel_constraint=None,
        **kwargs,
    ):
        sizes = {"filters": filters, "kernel_size": kernel_size, "strides": strides}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise InputError(
                    f"`{name}` must be a positive integer. Received: {size!r}"
                )
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.epsilon = epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        # Not where something has put standardized kernels into the place of the
        # stored ones, as an export for inference does.
        self.standardizes = True

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            # A mixed policy would hand out the kernel in half precision, too coarse
            # to standardize.
            autocast=False,
        )

    def call(self, inputs):
        padding = (self.kernel_size - 1) // 2
        kernel = (
            self._standardized_in_turn(inputs) if self.standardizes else self.kernel
        )
        kernel = ops.cast(kernel, self.compute_dtype)
        return convolve(inputs, kernel, self.strides, padding)

    def _standardized_in_turn(self, inputs):
        # TensorFlow would else begin a step with the kernels of all layers, and hold a
        # second copy of the weights of the whole network.
        with tf.control_dependencies([inputs]):
            return self.standardized_kernel()

    def standardized_kernel(self):
        """Returns the kernel that the convolution uses, in float32 or wider."""
        wide = keras.backend.result_type(self.kernel.dtype, "float32")
        return standardize(ops.cast(self.kernel, wide), self.epsilon)

    def compute_output_shape(self, input_shape):
        def reduced(size):
            if size is None:
                return None
            padding = (self.kernel_size - 1) // 2
            return (size + 2 * padding - self.kernel_size) // self.strides + 1

        batch, height, width, _ = input_shape
        return batch, reduced(height), reduced(width), self.filters

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
        }
