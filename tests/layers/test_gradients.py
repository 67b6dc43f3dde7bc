import numpy as np
import tensorflow as tf

from bit_keras.layers.gradients import custom_gradient, leaving_out_gradients


@custom_gradient
def square(x):
    return x * x, lambda dy: 100 * dy


def gradient_at_three():
    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = square(x)
    assert y == 9
    return tape.gradient(y, x)


def test_the_gradient_by_hand_is_left_out_within_the_context_alone():
    assert gradient_at_three() == 100
    with leaving_out_gradients():
        assert gradient_at_three() == 6
    assert gradient_at_three() == 100


def test_graphs_keep_what_they_were_traced_with():
    def operations(function):
        graph = function.get_concrete_function(np.float32(3)).graph
        return [operation.type for operation in graph.get_operations()]

    assert "IdentityN" in operations(tf.function(square))
    with leaving_out_gradients():
        assert "IdentityN" not in operations(tf.function(square))
