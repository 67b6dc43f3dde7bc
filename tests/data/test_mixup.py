import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.mixup import mixup, sample_beta


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_mixes_with_the_example_from_the_other_end(batch):
    random = np.random.default_rng(0)
    images = random.normal(size=(batch, 3, 2, 3)).astype(np.float32)
    labels = np.eye(batch, dtype=np.float32)
    seed = (1, 6)
    share = float(sample_beta(0.1, seed))
    assert 0.01 < share < 0.99  # chosen to show something
    mixed_images, mixed_labels = mixup(images, labels, 0.1, seed)
    for mixed, values in ((mixed_images, images), (mixed_labels, labels)):
        expected = share * values + (1 - share) * values[::-1]
        np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(mixed_labels, axis=1), 1, rtol=1e-6)


def draws(alpha, count):
    seeds = np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int32)

    @tf.function
    def all_draws():
        return tf.map_fn(
            lambda seed: sample_beta(alpha, seed), seeds, fn_output_signature=tf.float32
        )

    return all_draws().numpy()


def test_proportions_are_a_symmetric_beta_variable():
    """By its moments: mean 1/2, variance 1 / (4 (2 alpha + 1)), and a known tail."""
    for alpha in (0.1, 1.0, 4.0):
        sample = draws(alpha, 20_000)
        assert abs(sample.mean() - 0.5) < 0.012
        assert sample.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
        fourth = np.mean((sample - 0.5) ** 4)
        kurtosis = 3 - 6 / (2 * alpha + 3)
        assert fourth / sample.var() ** 2 == pytest.approx(kurtosis, rel=0.04)


def test_the_published_parameter_gives_its_distribution_and_no_nan():
    """By the largest distance of the distribution functions (Kolmogorov-Smirnov)."""
    count = 100_000
    sample = np.sort(draws(0.1, count))
    assert np.isfinite(sample).all() and sample[0] >= 0 and sample[-1] <= 1
    expected = np.random.default_rng(0).beta(0.1, 0.1, count)
    # Many are so close to 1 that they are 1 in float32, in which both are compared.
    expected = np.sort(expected.astype(np.float32))
    points = np.union1d(sample, expected)
    below = [
        np.searchsorted(s, points, side="right") / count for s in (sample, expected)
    ]
    # The critical value of two samples at a significance of one in a thousand.
    assert np.abs(below[0] - below[1]).max() < 1.95 * np.sqrt(2 / count)


def test_tiny_parameters_give_no_nan():
    """The quotient of two gamma variables would be 0 / 0 in half of these draws."""
    sample = draws(1e-3, 5000)
    assert np.isfinite(sample).all()
    assert 0.45 < sample.mean() < 0.55
    assert np.isin(np.round(sample, 6), [0, 1]).mean() > 0.95
