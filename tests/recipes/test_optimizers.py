"""Momentum and weight decay against their definitions in float64."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.optimizers import KernelDecayAdam, MomentumSGD
from bit_keras.recipes.schedules import WarmupCosine, WarmupStaircase
from bit_keras.recipes.upstream import Upstream

SCHEDULE = WarmupStaircase(0.1, 3, (6, 9))
RATES = [float(SCHEDULE(step)) for step in range(12)]
ALL_FORMS = pytest.mark.parametrize("form", ["outside", "inside"])


def reference(rates, gradients, kernel, form="outside", momentum=0.9, l2=0.0, decay=0):
    """The values of a kernel in the course of training, in float64."""
    kernel, buffer, values = np.float64(kernel), 0.0, []
    for rate, gradient in zip(rates, gradients, strict=True):
        kernel = kernel - rate * decay * kernel
        gradient = gradient + l2 * kernel
        if form == "outside":
            buffer = momentum * buffer + gradient
            kernel = kernel - rate * buffer
        else:
            buffer = momentum * buffer - rate * gradient
            kernel = kernel + buffer
        values.append(kernel)
    return np.array(values)


def trajectory(optimizer, gradients, kernel, name="kernel", compiled=lambda f: f):
    """The same by an optimizer."""
    variable = keras.Variable(kernel, dtype="float32", name=name)
    optimizer.build([variable])
    step = compiled(lambda gradient: optimizer.apply([gradient], [variable]))
    values = []
    for gradient in np.float32(gradients):
        step(tf.constant(gradient))
        values.append(variable.numpy())
    return np.array(values)


def random_case(seed, steps=12, shape=(3, 2)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, *shape)), rng.normal(size=shape)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    form=st.sampled_from(["outside", "inside"]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    l2=st.sampled_from([0.0, 0.01, 0.3]),
    decay=st.sampled_from([None, 0.01, 0.3]),
)
def test_every_step_is_as_defined(seed, form, momentum, l2, decay):
    gradients, kernel = random_case(seed)
    optimizer = MomentumSGD(SCHEDULE, momentum, form, l2, weight_decay=decay)
    expected = reference(RATES, gradients, kernel, form, momentum, l2, decay or 0)
    actual = trajectory(optimizer, gradients, kernel)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@ALL_FORMS
def test_under_xla_it_is_the_same(form):
    gradients, kernel = random_case(1)
    eager, graph, xla = (
        trajectory(
            MomentumSGD(SCHEDULE, form=form, l2=0.01, weight_decay=0.02),
            gradients,
            kernel,
            compiled=compiled,
        )
        for compiled in (
            lambda step: step,
            tf.function,
            functools.partial(tf.function, jit_compile=True),
        )
    )
    np.testing.assert_allclose(graph, eager, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(xla, eager, rtol=1e-6, atol=1e-6)


def test_the_inside_form_is_that_of_keras():
    gradients, kernel = random_case(2)
    expected = trajectory(keras.optimizers.SGD(SCHEDULE, 0.9), gradients, kernel)
    actual = trajectory(MomentumSGD(SCHEDULE, form="inside"), gradients, kernel)
    np.testing.assert_array_equal(actual, expected)


def test_the_forms_differ_only_where_the_rate_changes():
    gradients, kernel = random_case(3)
    constant, falling = [0.1] * 12, [0.1] * 6 + [0.01] * 6
    for rates in (constant, falling):
        outside, inside = (
            reference(rates, gradients, kernel, form) for form in ("outside", "inside")
        )
        np.testing.assert_allclose(outside[:6], inside[:6])
        assert np.allclose(outside[6:], inside[6:]) == (rates is constant)


def test_after_a_fall_the_inside_form_goes_on_in_large_steps():
    """A gradient of 1 up to the fall, then none: what the buffer still does."""
    rates, gradients = [0.1] * 100 + [0.01] * 100, [1.0] * 100 + [0.0] * 100
    moved = {}
    for form in ("outside", "inside"):
        values = reference(rates, gradients, 0.0, form)
        moved[form] = values[-1] - values[99]
    # 10 is the sum of 0.9 ** n, 9 is all but the first of them.
    assert moved["outside"] == pytest.approx(-0.01 * 10 * 9, rel=1e-3)
    assert moved["inside"] == pytest.approx(-0.1 * 10 * 9, rel=1e-3)


@ALL_FORMS
@pytest.mark.parametrize(
    ("name", "shape"),
    [("bias", (3, 2)), ("gamma", (3,)), ("kernel", (3,)), ("kernel", (1, 1, 3, 2))],
)
def test_only_kernels_decay(form, name, shape):
    gradients, kernel = random_case(4, shape=shape)
    decays = name == "kernel" and len(shape) > 1
    strength = {"l2": 0.1 * decays, "decay": 0.2 * decays}
    expected = reference(RATES, gradients, kernel, form, **strength)
    optimizer = MomentumSGD(SCHEDULE, form=form, l2=0.1, weight_decay=0.2)
    actual = trajectory(optimizer, gradients, kernel, name)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_adam_too_lets_only_kernels_decay():
    gradients, kernel = random_case(5)
    plain = trajectory(keras.optimizers.Adam(SCHEDULE), gradients, kernel)
    decaying = KernelDecayAdam(SCHEDULE, weight_decay=0.2)
    others = trajectory(decaying, gradients, kernel, "bias")
    np.testing.assert_array_equal(others, plain)
    # Beside the update, which does not depend on the kernel.
    updates = np.diff(plain, axis=0, prepend=np.float32(kernel)[None])
    for rate, update, actual in zip(
        RATES,
        updates,
        trajectory(KernelDecayAdam(SCHEDULE, weight_decay=0.2), gradients, kernel),
        strict=True,
    ):
        kernel = kernel - 0.2 * rate * kernel + update
        np.testing.assert_allclose(actual, kernel, rtol=1e-5, atol=1e-5)


def test_big_visions_update_step_for_step():
    """p -= schedule * (lr * m + wd * p), with its own numbers and its own schedule."""
    batch_size, steps, warmup_steps = 4096, 40, 10
    rate, decay = 0.03 / 256 * batch_size, 3e-5 / 256 * batch_size
    gradients, start = random_case(6, steps)
    kernel, momentum, expected = start, 0.0, []
    for step, gradient in enumerate(gradients):
        progress = np.clip((step - warmup_steps) / (steps - warmup_steps), 0, 1)
        schedule = 0.5 * (1 + np.cos(np.pi * progress)) * min(1, step / warmup_steps)
        momentum = 0.9 * momentum + gradient
        kernel = kernel - schedule * (rate * momentum + decay * kernel)
        expected.append(kernel)
    recipe = Upstream(
        "bit_i21k", batch_size, steps=steps, warmup_steps=warmup_steps, l2=0
    )
    optimizer = recipe.compile_args()["optimizer"]
    np.testing.assert_allclose(
        trajectory(optimizer, gradients, start), expected, rtol=1e-5, atol=1e-5
    )
    # Its weight decay is seen in this.
    without = MomentumSGD(WarmupCosine(rate, warmup_steps, steps))
    values = trajectory(without, gradients, start)
    assert np.abs(values - expected).max() > 1e-3


@pytest.mark.parametrize("rate", [0.03, 0.48])
def test_coupled_and_decoupled_weight_decay_are_equally_strong(rate):
    """Without a gradient: how much of a kernel each step leaves in the long run."""
    l2, momentum, steps = 1e-4, 0.9, 400
    zeros, rates = np.zeros(steps), [rate] * steps
    coupled = reference(rates, zeros, 1.0, momentum=momentum, l2=l2)
    decoupled = reference(rates, zeros, 1.0, momentum=momentum, decay=1e-3)
    lost = 1 - coupled[-1] / coupled[-2]
    # The root that the derivation names, and its first term.
    middle = 1 + momentum - rate * l2
    root = (middle + np.sqrt(middle**2 - 4 * momentum)) / 2
    assert lost == pytest.approx(1 - root, rel=1e-6)
    assert lost == pytest.approx(rate * l2 / (1 - momentum), rel=0.01)
    assert 1 - decoupled[-1] / decoupled[-2] == pytest.approx(lost, rel=0.01)
    # They part only by the ten steps that the buffer takes to fill.
    assert coupled[-1] == pytest.approx(decoupled[-1], rel=11 * lost)


def test_the_recipes_of_paper_and_big_vision_decay_equally():
    coupled = Upstream("M", 14_197_122).compile_args()["optimizer"]
    decoupled = Upstream("bit_i21k", 14_197_122).compile_args()["optimizer"]
    expected = coupled.l2 / (1 - coupled.momentum)
    assert decoupled.weight_decay == pytest.approx(expected)
    other = Upstream("bit_i1k", 1_281_167).compile_args()["optimizer"]
    assert other.weight_decay == pytest.approx(expected)


@pytest.mark.parametrize(
    "optimizer",
    [
        MomentumSGD(SCHEDULE, 0.8, l2=0.01, weight_decay=0.02, clipnorm=2.0),
        MomentumSGD(0.1, form="inside"),
        KernelDecayAdam(SCHEDULE, weight_decay=0.2),
    ],
)
def test_the_configuration_gives_the_optimizer_back(optimizer):
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is type(optimizer)
    assert copy.get_config() == optimizer.get_config()


def small_model(optimizer, dtype="float32"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="tanh", dtype=dtype),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


def small_batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 4)).astype("float32")
    return images, np.eye(3, dtype="float32")[rng.integers(3, size=8)]


def train(model, steps):
    for _ in range(steps):
        model.train_on_batch(*small_batch())


OPTIMIZERS = {
    "outside": lambda: MomentumSGD(SCHEDULE, l2=0.1, weight_decay=0.1),
    "inside": lambda: MomentumSGD(SCHEDULE, form="inside", l2=0.1, weight_decay=0.1),
    "adam": lambda: KernelDecayAdam(SCHEDULE, weight_decay=0.1),
}


@pytest.mark.parametrize("way", ["keras", "checkpoint"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_after_saving(make, way, tmp_path):
    through = small_model(make())
    train(through, 10)
    model = small_model(make())
    train(model, 5)
    if way == "keras":
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
    else:
        saved = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = saved.write(str(tmp_path / "checkpoint"))
        again = small_model(make())
        again.optimizer.build(again.trainable_variables)
        restored = tf.train.Checkpoint(model=again, optimizer=again.optimizer)
        restored.read(path).assert_consumed()
    assert int(again.optimizer.iterations) == 5
    train(again, 5)
    for actual, expected in zip(again.weights, through.weights, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_loss_scale_changes_nothing():
    gradients, kernel = random_case(7)
    expected = trajectory(MomentumSGD(SCHEDULE, l2=0.1), gradients, kernel)
    scaled = keras.optimizers.LossScaleOptimizer(
        MomentumSGD(SCHEDULE, l2=0.1), initial_scale=4.0
    )
    np.testing.assert_array_equal(trajectory(scaled, gradients * 4, kernel), expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_weights_and_buffers_are_float32(policy):
    model = small_model(MomentumSGD(SCHEDULE, l2=0.1), policy)
    in_float32 = small_model(MomentumSGD(SCHEDULE, l2=0.1))
    for each in (model, in_float32):
        train(each, 10)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert {v.dtype for v in optimizer.momentums} == {"float32"}
    for actual, expected in zip(model.weights, in_float32.weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "beside"}, "`form` must be one of outside, inside.*'beside'"),
        ({"l2": -1}, "`l2`.*Received: -1"),
        ({"nesterov": True}, "`nesterov` needs .*Received: form=.outside"),
    ],
)
def test_impossible_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        MomentumSGD(0.1, **arguments)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_two_replicas_are_one_device(make):
    alone = small_model(make())
    train(alone, 12)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = small_model(make())
    batches = tf.data.Dataset.from_tensors(small_batch()).repeat(12)
    model.fit(batches, verbose=0, shuffle=False)
    assert int(model.optimizer.iterations.numpy()) == 12
    for ours, theirs in zip(model.weights, alone.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
