import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.evaluation.fewshot import LinearProbe


def examples(num_examples, dimensions, num_classes, seed):
    """Features that differ in scale and place, and labels of which each comes once."""
    random = np.random.default_rng(seed)
    scales, places = random.uniform(0.1, 9, (2, dimensions))
    features = random.normal(places, scales, (num_examples, dimensions))
    labels = random.permutation(np.arange(num_examples) % num_classes)
    return features.astype(np.float32), labels


def solved(features, labels, num_classes, l2):
    """The definition: whiten, append 100, solve the normal equations."""
    features = features.astype(np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-5

    def inputs(rows):
        return np.hstack([(rows - mean) / deviation, np.full((len(rows), 1), 100.0)])

    x = inputs(features)
    targets = np.full((len(labels), num_classes), -1.0)
    targets[np.arange(len(labels)), labels] = 1.0
    weights = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ targets)
    return weights, lambda rows: inputs(rows.astype(np.float64)) @ weights


@given(
    st.sampled_from([(5, 12), (13, 12), (60, 12)]),
    st.sampled_from([0.5, 2.0**10, 1e5]),
    st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_the_probe_solves_the_normal_equations(shape, l2, seed):
    features, labels = examples(*shape, num_classes=3, seed=seed)
    test, _ = examples(30, shape[1], num_classes=3, seed=seed + 1)
    weights, scores = solved(features, labels, 3, l2)
    probe = LinearProbe(features, labels, 3)
    np.testing.assert_allclose(probe.weights(l2), weights, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(probe.scores(test, l2), scores(test), atol=1e-8)
    assert probe.predict(test, l2).tolist() == scores(test).argmax(axis=1).tolist()


def test_the_published_strength_is_the_default():
    features, labels = examples(20, 4, 2, seed=0)
    weights, _ = solved(features, labels, 2, 1024.0)
    probe = LinearProbe(features, labels, 2)
    np.testing.assert_allclose(probe.weights(), weights, atol=1e-12)


def test_many_rows_are_scored_in_parts(monkeypatch):
    features, labels = examples(20, 4, 2, seed=0)
    probe = LinearProbe(features, labels, 2)
    whole = probe.scores(features)
    monkeypatch.setattr("bit_keras.evaluation.fewshot.ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(probe.scores(features), whole, rtol=1e-12)


def test_a_feature_that_never_changes_does_no_harm():
    features, labels = examples(6, 3, 2, seed=0)
    features[:, 1] = 0.25
    probe = LinearProbe(features, labels, 2)
    np.testing.assert_allclose(probe.weights()[1], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((0, 3)), [], r"features \(0, 3\)"),
        (np.zeros((2, 3)), [0], r"labels \(1,\)"),
        (np.zeros((2, 3)), [0, 2], "Labels must be 0 to 1. Received: 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(features, labels, message):
    with pytest.raises(InputError, match=message):
        LinearProbe(features, labels, num_classes=2)
    with pytest.raises(InputError, match="`l2` must be positive. Received: 0"):
        LinearProbe(np.eye(2), [0, 1], 2).weights(0)
