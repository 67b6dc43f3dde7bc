import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.mixup import PARTNERS, mixup, rows_for_part, sample_beta
from bit_keras.data.seeds import two_seeds
from bit_keras.errors import InputError


def example_batch(size):
    random = np.random.default_rng(0)
    images = random.normal(size=(size, 3, 2, 3)).astype(np.float32)
    return images, np.eye(size, dtype=np.float32)


SEED = (1, 7)


def first_share():
    share = float(sample_beta(1.0, two_seeds(SEED)[0]))
    assert 0.1 < share < 0.9  # chosen to show something
    return share


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("partner", ["reversal", "roll"])
def test_mixes_all_in_one_proportion_with_the_partner(size, partner):
    images, labels = example_batch(size)
    share = first_share()
    mixed = mixup(images, labels, 1.0, SEED, partner)
    for actual, values in zip(mixed, (images, labels), strict=True):
        other = values[::-1] if partner == "reversal" else np.roll(values, 1, axis=0)
        expected = share * values + (1 - share) * other
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.sum(mixed[1], axis=1), 1, rtol=1e-6)


def test_a_permutation_mixes_each_example_in_once():
    images, labels = example_batch(20)
    share = first_share()
    mixed_images, mixed_labels = mixup(images, labels, 1.0, SEED, "permutation")
    # With one-hot labels of as many classes as rows, they tell who the partner is.
    partners = np.argmax(mixed_labels - share * labels, axis=1)
    assert sorted(partners) == list(range(20)) and list(partners) != list(range(20))
    expected = share * images + (1 - share) * images[partners]
    np.testing.assert_allclose(mixed_images, expected, rtol=1e-5, atol=1e-6)
    other = mixup(images, labels, 1.0, (1, 8), "permutation")[1]
    assert not np.array_equal(np.argmax(other - share * labels, axis=1), partners)


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_parts_have_the_numbers_of_the_whole(partner, count):
    images, labels = example_batch(6)
    whole = mixup(images, labels, 1.0, SEED, partner)
    parts = []
    for index in range(count):
        part = (index, count)
        rows = rows_for_part(6, part, partner)
        assert list(rows) == sorted(set(rows))
        parts.append(mixup(images[rows], labels[rows], 1.0, SEED, partner, 6, part))
    for values, *pieces in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), values)


def test_only_partners_are_needed_beside_the_part_itself():
    assert rows_for_part(8, (1, 4)).tolist() == [2, 3]
    assert rows_for_part(8, (1, 4), "reversal").tolist() == [2, 3, 4, 5]
    assert rows_for_part(8, (0, 4), "roll").tolist() == [0, 1, 7]
    assert rows_for_part(8, (0, 4), "permutation").tolist() == list(range(8))


def test_another_partner_is_refused():
    with pytest.raises(InputError, match="one of .*permutation.*Received: 'next'"):
        mixup(*example_batch(4), 1.0, SEED, "next")


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
