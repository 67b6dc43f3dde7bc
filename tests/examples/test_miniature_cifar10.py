"""CIFAR-10 from random weights: its recipe, and rectangles of other images."""

import cifar10
import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import make_model, make_source

LABELS = np.eye(4, dtype="float32")[np.arange(64) % 4]


def cut(seed=(3, 0), height=24, width=16):
    """Returns images whose every pixel tells which one it was, and their labels."""
    images = np.arange(64, dtype="float32")[:, None, None, None]
    images = np.broadcast_to(images, (64, height, width, 3)).copy()
    mixed, labels = cifar10.cutmix(images, LABELS, seed)
    return mixed.numpy(), labels.numpy()


def test_labels_have_the_share_of_pixels():
    mixed, labels = cut()
    own = np.arange(64, dtype="float32")[:, None, None, None]
    before = np.roll(own, 1, axis=0)
    np.testing.assert_array_equal((mixed == own) | (mixed == before), True)
    share = (mixed == before).mean(axis=(1, 2, 3))[:, None]
    expected = (1 - share) * LABELS + share * np.roll(LABELS, 1, axis=0)
    np.testing.assert_allclose(labels, expected, atol=1e-6)


def test_half_of_the_images_get_a_rectangle():
    mixed, _ = cut()
    foreign = (mixed != np.arange(64)[:, None, None, None])[..., 0]
    touched = foreign.any(axis=(1, 2))
    assert 20 < touched.sum() < 44
    for inside in foreign[touched]:
        rows, columns = inside.any(axis=1), inside.any(axis=0)
        np.testing.assert_array_equal(inside, rows[:, None] & columns[None])
        for line in (rows, columns):
            # One stretch: it begins once at most and ends once at most.
            assert np.abs(np.diff(line.astype(int))).sum() <= 2


def test_equal_seeds_give_equal_rectangles():
    np.testing.assert_array_equal(cut()[0], cut()[0])
    assert (cut()[0] != cut(seed=(4, 0))[0]).any()


@pytest.mark.parametrize("cosine", [False, True])
def test_rate_at_the_end(cosine):
    """The rule's decays end at a thousandth of the rate, a cosine at nothing."""
    recipe = cifar10.make_recipe(make_source(), cosine=cosine)
    last = float(recipe.learning_rate(recipe.steps - 1))
    assert last < 1e-5 if cosine else last == pytest.approx(0.2e-3)


def test_training_sees_the_rectangles():
    """The loss is that of the images and labels that `cutmix` returns."""
    model = make_model(num_classes=4)
    cifar10.train_with_cutmix(model)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype("float32")
    mixed, labels = cifar10.cutmix(images, LABELS, (0, 0))
    expected = model.loss(labels, model(mixed, training=True))
    measured = model.train_on_batch(images, LABELS)
    assert measured == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)
    plain = model.loss(LABELS, model(images, training=True))
    assert measured != pytest.approx(float(plain), rel=1e-3)
