"""Images that a device renders are those of the pipeline, but for rounding."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.data import preprocess, raw
from bit_keras.data.load import can_be_raw, eval_batches, train_batches
from bit_keras.data.raw import RawImages, render, render_batch, with_partners
from bit_keras.data.sources import open_source
from bit_keras.errors import InputError
from bit_keras.recipes.hyperrule import HyperRule

TOLERANCE = {"rtol": 0, "atol": 1e-5}
compiled = tf.function(render, jit_compile=True, autograph=False)


def make_source(height=12, width=9, num_examples=24, num_test=7):
    rng = np.random.default_rng(0)

    def arrays(count):
        images = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        return images, np.arange(count) % 3

    return open_source((arrays(num_examples), arrays(num_test)))


def batch_of_one(example):
    return tf.nest.map_structure(lambda values: values[None], example)


@settings(deadline=None, max_examples=30)
@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.integers(1, 40),
    more=st.integers(0, 9),
    seed=st.integers(0, 2**31 - 1),
    cropping=st.sampled_from(["random", "inception", "none"]),
    flip=st.sampled_from(["random", "always", "none"]),
)
def test_a_rendered_image_is_that_of_the_pipeline(
    sides, crop, more, seed, cropping, flip
):
    pixels = np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)
    sizes, choices = (crop + more, crop), (cropping, flip)
    expected = preprocess.train_image(tf.constant(pixels), *sizes, (seed, 1), *choices)
    seeds = tf.constant([(seed, 1)], tf.int64)
    [actual] = render(raw.train_images(pixels[None], *sizes, seeds, *choices))
    np.testing.assert_allclose(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("partner", ["reversal", "permutation"])
@pytest.mark.parametrize("cropping", ["random", "inception"])
def test_rendered_training_batches_are_those_of_the_pipeline(cropping, partner):
    sizes = {"batch_size": 8, "resize": 20, "crop": 16, "steps": 6}
    choices = {"mixup_alpha": 0.3, "mixup_partner": partner, "cropping": cropping}
    recipe = HyperRule(12, 9, 24, **sizes, **choices)
    source = make_source()
    batches = train_batches(source, recipe, as_raw=True).take(5)
    expected = train_batches(source, recipe).take(5)
    for (images, labels), (others, other_labels) in zip(batches, expected, strict=True):
        assert images.pixels.dtype == tf.uint8
        assert images.pixels.shape == (8, 12, 9, 3)
        np.testing.assert_allclose(compiled(images), others, **TOLERANCE)
        np.testing.assert_allclose(labels, other_labels, rtol=1e-6)
        # Any part of the batch alone, too.
        some = tf.nest.map_structure(lambda part: part[2:5], with_partners(images))
        np.testing.assert_allclose(compiled(some), others[2:5], **TOLERANCE)


def test_rendered_test_batches_are_those_of_the_pipeline():
    source = make_source()
    options = {"max_batch_size": 4, "multiple": 4}
    batches = eval_batches(source, source.test, 16, as_raw=True, **options)
    expected = eval_batches(source, source.test, 16, **options)
    assert len(batches) == len(expected) == 2
    for batch, (images, *others) in zip(batches, expected, strict=True):
        rendered, *rest = render_batch(batch)
        for actual, other in zip(rest, others, strict=True):
            np.testing.assert_array_equal(actual, other)
        is_real = others[1] == 1
        np.testing.assert_allclose(rendered[is_real], images[is_real], **TOLERANCE)


def test_images_that_are_ready_stay_as_they_are():
    images, labels = tf.ones((2, 4, 4, 3)), tf.ones((2, 3))
    assert render_batch((images, labels)) == (images, labels)


@pytest.mark.parametrize("cropping", ["random", "none"])
def test_crops_and_flips_are_those_that_tensorflow_draws(cropping):
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    for number in range(20):
        crop_seed, flip_seed = preprocess.two_seeds((number, 5))
        actual = preprocess.train_image(image, 9, 5, (number, 5), cropping)
        if cropping == "random":
            expected = tf.image.stateless_random_crop(image, (5, 5, 3), crop_seed)
        else:
            expected = preprocess.resize(image, 5)
        expected = tf.image.stateless_random_flip_left_right(expected, flip_seed)
        np.testing.assert_array_equal(actual, preprocess.to_model_range(expected))


def test_raw_batches_are_for_small_images_of_one_size(tmp_path):
    source = make_source()
    assert can_be_raw(source, source.train, crop=16)
    assert not can_be_raw(source, source.train, crop=7)
    assert not can_be_raw(source, source.test, crop=16, eval_resize=20)
    for label, height in enumerate((8, 9)):
        folder = tmp_path / f"class {label}"
        folder.mkdir()
        for number in range(4):
            image = np.zeros((height, 8, 3), np.uint8)
            tf.keras.utils.save_img(folder / f"{number}.png", image, scale=False)
    mixed_sizes = open_source(str(tmp_path))
    assert not can_be_raw(mixed_sizes, mixed_sizes.train, crop=16)


def test_what_cannot_be_put_off_is_refused():
    image = tf.zeros((4, 4, 3), tf.uint8)
    with pytest.raises(InputError, match="`eval_resize` must be None. Received: 9"):
        raw.eval_image(image, 8, 9)
    images = RawImages(*batch_of_one(raw.eval_image(image, 8)))
    with pytest.raises(InputError, match=r"whole batches. Received: \(0, 2\)"):
        raw.mixup(images, None, 0.1, (0, 0), "reversal", 1, (0, 2))
