"""Kernels standardized once, for a network that is only run."""

import contextlib

import keras
import tensorflow as tf

from bit_keras.layers.gradients import leaving_out_gradients

STORED_DTYPES = ("float32", "bfloat16", "float16")


def folded_variables(variables, convolutions, dtype="float32"):
    """Returns what a network that is only run has to store.

    What can be folded is folded: mean, variance and epsilon of weight standardization
    go into the kernels. The constants of `GroupNorm` stand before a ReLU and stay.

    Args:
        variables: {name: Keras variable} of a model.
        convolutions: The `StdConv2D` layers of its backbone.
        dtype: What kernels are stored in; vectors are so small that they keep theirs.

    Returns:
        {name: `tf.Variable`}, not trainable, in the same order: the standardized kernel
        for each kernel of these layers, and a copy of everything else.
    """
    layers = {id(conv.kernel): conv for conv in convolutions}

    def fold(name, variable):
        is_kernel = id(variable) in layers
        value = _standardized(layers[id(variable)]) if is_kernel else variable.value
        is_vector = len(variable.shape) < 2
        value = value if is_vector else tf.cast(value, dtype)
        return tf.Variable(value, trainable=False, name=name)

    return {name: fold(name, variable) for name, variable in variables.items()}


def _standardized(conv):
    """Returns the kernel that a layer uses in the trainable form, to the last bit.

    It is computed in a graph, which TensorFlow rounds in another way than single
    operations.
    """
    graph = tf.function(conv.standardized_kernel, autograph=False)
    return graph.get_concrete_function()()


@contextlib.contextmanager
def computing_with(pairs, convolutions):
    """Lets a model compute with other variables in place of its own, to be run only.

    Args:
        pairs: (Keras variable, `tf.Variable`) pairs, the second from
            `folded_variables`; it is cast to the dtype of the first where it is used.
        convolutions: The layers that are not to standardize their kernels again.
    """
    mapping = [(own, tf.cast(stored, own.dtype)) for own, stored in pairs]
    try:
        for conv in convolutions:
            conv.standardizes = False
        with leaving_out_gradients(), keras.StatelessScope(state_mapping=mapping):
            yield
    finally:
        for conv in convolutions:
            conv.standardizes = True
