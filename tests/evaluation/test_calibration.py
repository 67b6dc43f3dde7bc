import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.evaluation import canvas, reliability_diagram
from bit_keras.evaluation.calibration import calibrate

# Sixteenths, so that many lie on the border of two bins.
CONFIDENCES = st.integers(0, 16).map(lambda number: number / 16)
PREDICTIONS = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=40)


@given(PREDICTIONS, st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=50, deadline=None)
def test_bins_and_error_follow_from_their_definition(predictions, num_bins):
    calibration = calibrate(*zip(*predictions, strict=True), num_bins)
    error = 0
    for i in range(num_bins):
        low, high = i / num_bins, (i + 1) / num_bins
        inside = [
            (confidence, right)
            for confidence, right in predictions
            if low < confidence <= high or confidence == low == 0
        ]
        assert calibration.counts[i] == len(inside)
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            assert calibration.confidences[i] == pytest.approx(confidence)
            assert calibration.accuracies[i] == pytest.approx(accuracy)
            error += len(inside) * abs(confidence - accuracy) / len(predictions)
        else:
            assert math.isnan(calibration.confidences[i])
    assert calibration.error == pytest.approx(error)


def test_one_that_is_as_sure_as_it_is_right_has_no_error():
    confidences = np.repeat([0.25, 0.75], 100)
    correct = np.arange(200) % 4 < np.where(np.arange(200) < 100, 1, 3)
    assert calibrate(confidences, correct).error == pytest.approx(0, abs=1e-12)
    assert calibrate(np.ones(10), np.zeros(10)).error == 1


def test_what_is_no_probability_is_refused():
    for confidences in ([], [1.5], [float("nan")]):
        with pytest.raises(InputError, match="must be probabilities, at least one"):
            calibrate(confidences, [True] * len(confidences))


def test_an_evaluation_tells_its_calibration(fruit, monkeypatch):
    error = np.mean(fruit.confidences - fruit.correct)  # Every bin is too sure or all
    figures = fruit.to_dict()["calibration"]  # right, so that no gaps cancel.
    gaps = [
        bin_["count"] * abs(bin_["confidence"] - bin_["accuracy"])
        for bin_ in figures["bins"]
        if bin_["count"]
    ]
    assert sum(bin_["count"] for bin_ in figures["bins"]) == 8
    assert figures["error"] == pytest.approx(sum(gaps) / 8)
    assert figures["error"] >= abs(error) - 1e-9
    drawn = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: drawn.append(figure))
    reliability_diagram(fruit, "unused.png")
    [axes] = drawn[0].axes
    filled = fruit.calibration.counts > 0
    heights = [patch.get_height() for patch in axes.patches]
    np.testing.assert_allclose(heights, fruit.calibration.accuracies[filled])
    lefts = [patch.get_x() for patch in axes.patches]
    np.testing.assert_allclose(lefts, np.flatnonzero(filled) / 15)
    [error_text] = [t.get_text() for t in axes.texts if "error" in t.get_text()]
    assert f"{100 * figures['error']:.1f} %" in error_text
