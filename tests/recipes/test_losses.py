import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.recipes.losses import DistillationLoss, SigmoidCrossentropy


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def two_logits(seed, scale, num_classes=7):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(2, 5, num_classes)).astype("float32")


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 1, 30]),
    temperature=st.sampled_from([0.5, 1.0, 5.0, 10.0]),
)
def test_distillation_is_the_divergence_times_the_square(seed, scale, temperature):
    teacher, student = two_logits(seed, scale)
    log_p = log_softmax(np.float64(teacher) / temperature)
    log_q = log_softmax(np.float64(student) / temperature)
    per_example = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    # float32 rounds a difference of nearly equal logarithms, which t² then enlarges.
    rounding = 1e-6 * max(temperature, 1) ** 2 + 1e-5
    loss = DistillationLoss(temperature)
    actual = float(loss(teacher, student))
    assert actual == pytest.approx(per_example.mean(), rel=1e-5, abs=rounding)
    weights = np.array([1, 1, 0, 1, 0], "float32")
    weighted = float(loss(teacher, student, sample_weight=weights))
    # Keras divides by the number of examples, those without weight included.
    expected = (per_example * weights).mean()
    assert weighted == pytest.approx(expected, rel=1e-5, abs=rounding)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_distillation_is_big_visions_but_for_its_clipping(seed):
    teacher, student = two_logits(seed, 20, num_classes=1000)
    p = np.exp(log_softmax(np.float64(teacher)))
    cross_entropy = -(p * log_softmax(np.float64(student))).sum(axis=-1)
    reference = cross_entropy + (p * np.log(np.clip(p, 1e-8, None))).sum(axis=-1)
    assert p.min() < 1e-8
    actual = float(DistillationLoss()(teacher, student))
    assert actual == pytest.approx(reference.mean(), rel=1e-5, abs=1000 * 1e-8)


def test_distillation_from_itself_is_nothing_and_does_not_move():
    teacher = tf.constant(two_logits(1, 40)[0])
    with tf.GradientTape() as tape:
        tape.watch(teacher)
        loss = DistillationLoss(2.0)(tf.stop_gradient(teacher), teacher)
    assert float(loss) == 0
    np.testing.assert_allclose(tape.gradient(loss, teacher), 0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1, 30]))
def test_sigmoid_crossentropy_is_a_sum_over_classes(seed, scale):
    logits, noise = two_logits(seed, scale)
    labels = np.float32(noise > 0) * 0.75  # As after MixUp.
    x = np.float64(logits)
    log_p, log_not_p = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    expected = -(labels * log_p + (1 - labels) * log_not_p).sum(axis=-1).mean()
    actual = float(SigmoidCrossentropy()(labels, logits))
    assert actual == pytest.approx(expected, rel=1e-5)


def test_with_the_heads_bias_the_first_loss_is_small():
    labels = np.eye(2, 21_843, dtype="float32")
    at_zero = float(SigmoidCrossentropy()(labels, np.zeros_like(labels)))
    assert at_zero == pytest.approx(21_843 * np.log(2), rel=1e-5)
    at_start = float(SigmoidCrossentropy()(labels, np.full_like(labels, -10)))
    expected = 10 + 21_843 * np.log1p(np.exp(-10))
    assert at_start == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [DistillationLoss(3.0), SigmoidCrossentropy()])
def test_losses_are_saved(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), "1"])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(InputError, match="`temperature`.*Received: "):
        DistillationLoss(temperature)
