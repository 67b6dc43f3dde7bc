import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.data import preprocess
from bit_keras.errors import InputError


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


def test_a_whole_image_is_resized_where_nothing_is_cropped():
    image = random_image(7, 9)
    expected = bilinear(image, 6) / 127.5 - 1
    actual = preprocess.train_image(image, 8, 6, (0, 1), "none", "none")
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_every_image_is_flipped_where_that_is_asked_for():
    image = random_image(7, 9)
    expected = bilinear(image, 6)[:, ::-1] / 127.5 - 1
    for seed in range(5):
        actual = preprocess.train_image(image, 8, 6, (0, seed), "none", "always")
        np.testing.assert_allclose(actual, expected, atol=2e-5)


def position_image(height, width):
    """An image whose colours tell the row and the column of each pixel."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)


def inception_crops(image, count):
    """Pixel values of `count` crops, of a size that only bilinear resizing gives."""

    @tf.function
    def crop(seed):
        return preprocess.train_image(image, 1, 64, seed, "inception", "none")

    return [(crop((0, seed)).numpy() + 1) * 127.5 for seed in range(count)]


def test_inception_crops_are_parts_resized_without_antialiasing():
    """The corners of a crop tell which part it is, whose resizing is then known."""
    image = position_image(120, 90)
    for crop in inception_crops(image, 15):
        (top, left), (bottom, right) = crop[0, 0, :2], crop[-1, -1, :2]
        part = image[round(top) : round(bottom) + 1, round(left) : round(right) + 1]
        expected = bilinear(part, 64)
        # Where it is made smaller, the corners lie up to half a step further in.
        assert np.abs(crop - expected).max() < 1.1


def test_inception_crops_have_the_published_areas_and_proportions():
    """TensorFlow draws the height evenly from what the limits of the area allow."""
    areas, ratios = [], []
    for crop in inception_crops(position_image(100, 100), 150):
        # In the middle, where nothing is cut off at the edges.
        height, width = (crop[40, 40, :2] - crop[20, 20, :2]) / 20 * 64
        areas.append(height * width / 1e4)
        ratios.append(width / height)
    random = np.random.default_rng(0)
    ratio = random.uniform(0.75, 1.33, 100_000)
    height = random.uniform(np.sqrt(0.05 / ratio), np.minimum(1, 1 / ratio))
    assert 0.04 < min(areas) < 0.1 and 0.85 < max(areas) < 1.02
    assert abs(np.mean(areas) - np.mean(height**2 * ratio)) < 0.07
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.4
    assert abs(np.mean(ratios) - 1.04) < 0.05


@pytest.mark.parametrize(("cropping", "flip"), [("centre", "none"), ("none", "up")])
def test_another_cropping_or_flip_is_refused(cropping, flip):
    with pytest.raises(InputError, match="must be .*'none'. Received: '(centre|up)'"):
        preprocess.train_image(random_image(4, 4), 4, 4, (0, 0), cropping, flip)


def area_means(image, height, width):
    """The mean colour over the area of each new pixel, in float64."""

    def weights(size, length):
        edges = np.linspace(0, length, size + 1)
        cells = np.arange(length)
        overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(
            edges[:-1, None], cells
        )
        return np.clip(overlap, 0, None) * size / length

    rows, columns = weights(height, image.shape[0]), weights(width, image.shape[1])
    return np.einsum("ih,hwc,jw->ijc", rows, np.float64(image), columns)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    crop=st.integers(1, 20),
    margin=st.integers(0, 12),
)
def test_evaluation_by_way_of_a_shorter_side(height, width, crop, margin):
    image = random_image(height, width)
    side = crop + margin
    factor = side / min(height, width)
    sides = round(height * factor), round(width * factor)
    small = area_means(image, *sides)
    top, left = (sides[0] - crop) // 2, (sides[1] - crop) // 2
    expected = small[top : top + crop, left : left + crop] / 127.5 - 1
    actual = preprocess.eval_image(image, crop, side)
    assert actual.dtype == "float32"
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    piped = in_pipeline(lambda image: preprocess.eval_image(image, crop, side), image)
    np.testing.assert_array_equal(piped, actual)


@pytest.mark.parametrize("seed", [(0, 0), (3, 17)])
@pytest.mark.parametrize("cropping", ["random", "inception", "none"])
@pytest.mark.parametrize("flip", ["random", "always", "none"])
def test_training_is_decided_by_the_seed_alone(seed, cropping, flip):
    image = random_image(20, 30)

    def augment(image, seed):
        return preprocess.train_image(image, 24, 16, seed, cropping, flip)

    first = augment(image, seed)
    assert first.shape == (16, 16, 3) and first.dtype == "float32"
    np.testing.assert_array_equal(augment(image, seed), first)
    np.testing.assert_array_equal(in_pipeline(augment, image, np.array(seed)), first)
    others = [augment(image, (seed[0], seed[1] + n)) for n in range(1, 9)]
    is_random = cropping != "none" or flip == "random"
    assert any(np.any(other != first) for other in others) == is_random
