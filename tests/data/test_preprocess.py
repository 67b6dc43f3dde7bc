import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.data import preprocess


def bilinear(image, size):
    """Bilinear resizing with half-pixel centres and no antialiasing, in float64."""

    def weights(length):
        """A matrix from `length` to `size` values."""
        centres = (np.arange(size) + 0.5) * length / size - 0.5
        below = np.floor(centres).astype(int)
        share = centres - below
        matrix = np.zeros((size, length))
        rows = np.arange(size)
        np.add.at(matrix, (rows, np.clip(below, 0, length - 1)), 1 - share)
        np.add.at(matrix, (rows, np.clip(below + 1, 0, length - 1)), share)
        return matrix

    rows, columns = (weights(length) for length in image.shape[:2])
    return np.einsum("ih,hwc,jw->ijc", rows, np.float64(image), columns)


def random_image(height, width, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def in_pipeline(function, *elements):
    """The result of a function inside tf.data, where an operation can differ."""
    tensors = tuple(tf.constant(element)[None] for element in elements)
    return next(iter(tf.data.Dataset.from_tensor_slices(tensors).map(function))).numpy()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 48),
    seed=st.integers(0, 99),
)
def test_evaluation_resizes_straight_to_the_crop(height, width, size, seed):
    image = random_image(height, width, seed)
    expected = bilinear(image, size) / 127.5 - 1
    actual = preprocess.eval_image(image, size)
    assert actual.dtype == "float32"
    np.testing.assert_allclose(actual, expected, atol=2e-5)
    piped = in_pipeline(lambda image: preprocess.eval_image(image, size), image)
    np.testing.assert_array_equal(piped, actual)


def test_an_image_of_the_right_size_becomes_float_all_the_same():
    image = random_image(5, 5)
    resized = preprocess.resize(image, 5)
    assert resized.dtype == "float32"
    np.testing.assert_array_equal(resized, image)


def test_the_range_is_the_published_one():
    pixels = np.array([0, 127, 128, 255], np.uint8)
    expected = [-1, -1 / 255, 1 / 255, 1]
    np.testing.assert_allclose(preprocess.to_model_range(pixels), expected, rtol=1e-6)


def test_training_takes_every_crop_and_either_flip_and_no_more():
    image = random_image(7, 9)
    resized = bilinear(image, 8) / 127.5 - 1
    seen = set()
    for seed in range(200):
        actual = preprocess.train_image(image, 8, 6, (0, seed)).numpy()
        matches = [
            (top, left, flip)
            for top in range(3)
            for left in range(3)
            for flip in (1, -1)
            if np.allclose(
                resized[top : top + 6, left : left + 6][:, ::flip], actual, atol=2e-5
            )
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 3 * 3 * 2


@pytest.mark.parametrize("seed", [(0, 0), (3, 17)])
def test_training_is_decided_by_the_seed_alone(seed):
    image = random_image(20, 30)

    def augment(image, seed):
        return preprocess.train_image(image, 24, 16, seed)

    first = augment(image, seed)
    np.testing.assert_array_equal(augment(image, seed), first)
    np.testing.assert_array_equal(in_pipeline(augment, image, np.array(seed)), first)
    others = [augment(image, (seed[0], seed[1] + n)) for n in range(1, 9)]
    assert any(np.any(other != first) for other in others)
