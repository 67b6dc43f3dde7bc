import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.data.fingerprints import fingerprint
from bit_keras.data.sources import open_source
from bit_keras.errors import RunError
from bit_keras.evaluation.features import FeatureCache, extract_features

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (10, 20, 24, 3), np.uint8)
LABELS = np.arange(10) % 2


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return headless()


def headless():
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5)
    return bit_keras.BiTClassifier(backbone, num_classes=0)


def source_of(images, labels=LABELS):
    return open_source(((images, labels), (images, labels)))


def computing(calls):
    """Features that tell their number, with a note of what was asked for."""

    def compute(numbers):
        calls.append(numbers.tolist())
        return np.stack([numbers, numbers**2], axis=1).astype(np.float32)

    return compute


def test_features_are_those_of_the_resized_images_in_their_order(model):
    source = source_of(IMAGES)
    part = source.test.subset(np.array([1, 2, 7]))
    features = extract_features(model, source, part, 32, progress=False)
    for row, number in zip(features, [1, 2, 7], strict=True):
        resized = keras.ops.image.resize(
            IMAGES[number].astype(np.float32), (32, 32), antialias=False
        )
        expected = np.array(model.features(resized[None] / 127.5 - 1))[0]
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-4)


def test_grey_images_count_as_grey_in_colour(model):
    grey = IMAGES[..., :1]
    of_grey, of_three = (
        extract_features(model, source, source.test, 32, progress=False)
        for source in map(source_of, (grey, np.repeat(grey, 3, axis=-1)))
    )
    np.testing.assert_array_equal(of_grey, of_three)


def test_features_that_are_no_numbers_stop_the_work(model):
    broken = headless()
    broken.weights[0].assign(broken.weights[0] * np.nan)
    source = source_of(IMAGES)
    with pytest.raises(RunError, match="features of 10 of 10 images are not finite"):
        extract_features(broken, source, source.test, 32, progress=False)


def test_only_what_is_missing_is_computed(tmp_path):
    calls, path = [], tmp_path / "new" / "features.npz"
    cache = FeatureCache({"weights": "a"}, path)
    first = cache.get(np.array([2, 5]), computing(calls))
    assert first.tolist() == [[2, 4], [5, 25]]
    assert cache.get(np.array([5]), computing(calls)).tolist() == [[5, 25]]
    later = FeatureCache({"weights": "a"}, path)
    some = later.get(np.array([1, 2, 3, 5]), computing(calls))
    assert some.tolist() == [[1, 1], [2, 4], [3, 9], [5, 25]]
    assert calls == [[2, 5], [1, 3]]


def test_another_model_never_reads_them(tmp_path):
    path = tmp_path / "features.npz"
    calls = []
    for weights in ("a", "b", "b", "a"):
        FeatureCache({"weights": weights}, path).get(np.array([0]), computing(calls))
    assert calls == [[0], [0], [0]]


@pytest.mark.parametrize("damage", ["cut", "nothing", "no archive", "other names"])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    path, calls = tmp_path / "features.npz", []
    FeatureCache({}, path).get(np.arange(3), computing([]))
    whole = path.read_bytes()
    if damage == "other names":
        np.savez(path, something=np.zeros(3))
    else:
        damaged = {"cut": whole[: len(whole) // 2], "nothing": b"", "no archive": b"x"}
        path.write_bytes(damaged[damage])
    again = FeatureCache({}, path).get(np.arange(3), computing(calls))
    assert again.tolist() == [[0, 0], [1, 1], [2, 4]]
    assert calls == [[0, 1, 2]]


def test_the_fingerprint_of_a_split_tells_sets_apart():
    def of(images, labels=LABELS):
        return fingerprint(source_of(images, labels).train)

    same = of(IMAGES)
    assert same == of(IMAGES.copy())
    changed = IMAGES.copy()
    changed[3, 4, 5, 0] ^= 1
    others = [of(changed), of(IMAGES, LABELS[::-1]), of(IMAGES.reshape(10, 24, 20, 3))]
    assert len({same, *others}) == 4
