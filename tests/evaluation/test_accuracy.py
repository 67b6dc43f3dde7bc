import doctest
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_model import as_batches, identity_model

from bit_keras.errors import InputError, RunError
from bit_keras.evaluation import accuracy, evaluate_model, wilson_interval


@st.composite
def scored_examples(draw):
    """Draws logits of few different values, so that ties are common, and labels."""
    num_classes = draw(st.integers(2, 8))
    num_examples = draw(st.integers(1, 20))
    logit = st.integers(-3, 3).map(lambda value: value / 2)
    row = st.lists(logit, min_size=num_classes, max_size=num_classes)
    logits = draw(st.lists(row, min_size=num_examples, max_size=num_examples))
    label = st.integers(0, num_classes - 1)
    labels = draw(st.lists(label, min_size=num_examples, max_size=num_examples))
    return logits, labels, draw(st.integers(1, 8))


def rank(row, label):
    """Number of classes before `label`: larger ones, and equal ones of lower index."""
    return sum(
        value > row[label] or (value == row[label] and i < label)
        for i, value in enumerate(row)
    )


@given(scored_examples())
@settings(max_examples=40, deadline=None)
def test_figures_follow_from_their_definitions(evaluate, drawn):
    logits, labels, batch_size = drawn
    evaluation = evaluate(logits, labels, batch_size=batch_size)
    ranks = [rank(row, label) for row, label in zip(logits, labels, strict=True)]
    total = len(labels)
    assert evaluation.num_examples == total
    assert evaluation.num_correct == sum(r == 0 for r in ranks)
    assert evaluation.num_correct_top5 == sum(r < 5 for r in ranks)
    assert evaluation.top1 == sum(r == 0 for r in ranks) / total
    assert evaluation.top5 == sum(r < 5 for r in ranks) / total
    losses = [
        math.log(math.fsum(map(math.exp, row))) - row[label]
        for row, label in zip(logits, labels, strict=True)
    ]
    assert evaluation.loss == pytest.approx(math.fsum(losses) / total, rel=1e-12)


@given(scored_examples())
@settings(max_examples=40, deadline=None)
def test_classes_and_confusion_are_counted_one_by_one(evaluate, drawn):
    logits, labels, batch_size = drawn
    evaluation = evaluate(logits, labels, batch_size=batch_size)
    num_classes = len(logits[0])
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for row, label in zip(logits, labels, strict=True):
        matrix[label][row.index(max(row))] += 1
    assert evaluation.confusion.tolist() == matrix
    assert evaluation.confusion.dtype == np.int64
    assert evaluation.class_counts.tolist() == [sum(row) for row in matrix]
    assert evaluation.class_correct.tolist() == [row[i] for i, row in enumerate(matrix)]
    errors = [
        (true, predicted, count)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    errors.sort(key=lambda error: (-error[2], error[0], error[1]))
    assert evaluation.confusions() == errors


@given(scored_examples())
@settings(max_examples=40, deadline=None)
def test_top_classes_are_the_first_ranks_with_their_probabilities(evaluate, drawn):
    logits, labels, batch_size = drawn
    evaluation = evaluate(logits, labels, batch_size=batch_size)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluation.probabilities, softmax, rtol=1e-6)
    assert evaluation.probabilities.dtype == np.float32
    for i, row in enumerate(logits):
        by_rank = sorted(range(len(row)), key=lambda k: rank(row, k))
        top = evaluation.top_classes[i].tolist()
        assert top == by_rank[:5]
        np.testing.assert_array_equal(
            evaluation.top_probabilities[i], evaluation.probabilities[i, top]
        )


def test_of_equal_logits_the_lowest_class_wins(evaluate):
    tie = [1, 2, 2, 2, 2, 2, 2]
    evaluation = evaluate([tie, tie, tie], [1, 5, 6])
    assert evaluation.top_classes.tolist() == [[1, 2, 3, 4, 5]] * 3
    assert (evaluation.num_correct, evaluation.num_correct_top5) == (1, 2)


def test_a_smaller_last_batch_is_counted_once_and_not_compiled_anew(monkeypatch):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(10, 3)), rng.integers(0, 3, 10)
    model = identity_model(3)
    predict, sizes = model.predict_on_batch, []

    def predict_on_batch(images):
        sizes.append(len(images))
        return predict(images)

    monkeypatch.setattr(model, "predict_on_batch", predict_on_batch)
    evaluation = evaluate_model(model, as_batches(logits, labels, 4), progress=False)
    assert sizes == [4, 4, 4]
    np.testing.assert_array_equal(evaluation.labels, labels)
    np.testing.assert_array_equal(evaluation.predictions, logits.argmax(axis=1))


def filled_up(logits, labels, batch_size):
    """As `as_batches`, with weights, and rows that do not count anywhere."""
    rows = np.zeros((len(labels) + 5, len(logits[0])))
    weights = np.zeros(len(rows), np.float32)
    places = np.random.default_rng(4).permutation(len(rows))[: len(labels)]
    places.sort()
    rows[places], weights[places] = logits, 1
    rows[weights == 0, 0] = np.nan
    images = rows.astype(np.float32)[:, None, None]
    one_hot = np.zeros_like(rows, np.float32)
    one_hot[places] = np.eye(rows.shape[1])[labels]
    batches = tf.data.Dataset.from_tensor_slices((images, one_hot, weights))
    return batches.batch(batch_size, drop_remainder=False)


@given(scored_examples())
@settings(max_examples=20, deadline=None)
def test_rows_of_weight_0_are_left_out(evaluate, drawn):
    logits, labels, batch_size = drawn
    batches = filled_up(logits, labels, batch_size)
    model = identity_model(len(logits[0]))
    evaluation = evaluate_model(model, batches, progress=False)
    expected = evaluate(logits, labels, batch_size=batch_size)
    assert evaluation.to_dict() == expected.to_dict()
    np.testing.assert_array_equal(evaluation.labels, labels)
    np.testing.assert_array_equal(evaluation.predictions, expected.predictions)


@pytest.mark.parametrize("weight", [0.5, 2, -1, np.nan])
def test_other_weights_are_an_input_error(weight):
    images, labels = np.zeros((2, 1, 1, 2)), np.eye(2)
    weights = np.array([1, weight])
    batches = tf.data.Dataset.from_tensors((images, labels, weights))
    with pytest.raises(InputError, match="Weights in an evaluation must be 1, or 0"):
        evaluate_model(identity_model(2), batches, progress=False)


def test_batches_may_grow(evaluate):
    parts = [as_batches([[0, 1]] * n, [1] * n, n) for n in (2, 5, 1)]
    batches = parts[0].concatenate(parts[1]).concatenate(parts[2])
    evaluation = evaluate_model(identity_model(2), batches, progress=False)
    assert (evaluation.num_correct, evaluation.num_examples) == (8, 8)


def test_a_real_network_is_evaluated_as_it_predicts():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    model.compile(jit_compile=False)
    rng = np.random.default_rng(2)
    images = rng.uniform(-1, 1, (7, 8, 8, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 7)
    batches = tf.data.Dataset.from_tensor_slices((images, np.eye(3)[labels])).batch(3)
    evaluation = evaluate_model(model, batches, progress=False)
    logits = model(images, training=False).numpy()
    loss = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
    np.testing.assert_array_equal(evaluation.predictions, logits.argmax(axis=1))
    assert evaluation.loss == pytest.approx(float(np.mean(loss)), rel=1e-5)


def test_bfloat16_logits_are_compared_as_they_are():
    # 1 and 1 + 2**-10 are one number in bfloat16: a tie, which the lower class wins.
    batches = as_batches([[1, 1 + 2**-10], [1, 1.5]], [1, 1])
    model = identity_model(2, "bfloat16")
    evaluation = evaluate_model(model, batches, progress=False)
    assert evaluation.predictions.tolist() == [0, 1]
    assert evaluation.loss == pytest.approx(
        (math.log(2) + math.log1p(math.exp(-0.5))) / 2, rel=1e-12
    )


def test_huge_logits_give_finite_figures(evaluate):
    evaluation = evaluate([[1e30, 0.0], [0.0, 1000.0]], [1, 0])
    assert evaluation.losses.tolist() == [float(np.float32(1e30)), 1000.0]
    assert evaluate([[-5e30, -1e30, -9e30]], [0]).top_classes.tolist() == [[1, 0, 2]]


def test_large_evaluations_keep_only_the_top_classes(evaluate, monkeypatch):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(9, 7)), rng.integers(0, 7, 9)
    whole = evaluate(logits, labels, batch_size=2)
    monkeypatch.setattr(accuracy, "MAX_PROBABILITIES", 62)
    cut = evaluate(logits, labels, batch_size=2)
    assert cut.probabilities is None
    assert whole.probabilities.shape == (9, 7)
    np.testing.assert_array_equal(cut.top_probabilities, whole.top_probabilities)
    assert cut.to_dict() == whole.to_dict()


def test_more_than_1000_classes_have_no_confusion_matrix(evaluate):
    logits = np.zeros((1, 1001))
    logits[0, 1000] = 1
    evaluation = evaluate(logits, [3])
    assert evaluation.confusion is None
    assert evaluation.confusions() == [(3, 1000, 1)]


def test_to_dict(fruit):
    figures = fruit.to_dict()
    assert figures["num_examples"] == 8
    assert figures["num_classes"] == 4
    assert figures["num_correct"] == 5
    assert figures["top1"] == 0.625
    assert figures["num_correct_top5"] == 8
    assert figures["classes"] == [
        {"name": "apple", "count": 3, "correct": 2, "accuracy": 2 / 3},
        {"name": "pear", "count": 3, "correct": 1, "accuracy": 1 / 3},
        {"name": "plum", "count": 2, "correct": 2, "accuracy": 1.0},
        {"name": "quince", "count": 0, "correct": 0, "accuracy": None},
    ]
    assert figures["confusions"] == [
        {"true": "pear", "predicted": "apple", "count": 2},
        {"true": "apple", "predicted": "pear", "count": 1},
    ]
    assert np.isnan(fruit.class_accuracy[3])


def test_classes_are_named_by_index_unless_names_are_given(evaluate):
    assert evaluate([[0, 1, 2]], [2]).class_names == ("0", "1", "2")


def test_the_progress_bar_counts_images_beside_the_output(capsys):
    batches = as_batches([[0, 1]] * 5, [1] * 5, 2)
    evaluate_model(identity_model(2), batches, progress=False)
    assert capsys.readouterr() == ("", "")
    for batches_of in (batches, batches.filter(lambda *_: True)):
        evaluate_model(identity_model(2), batches_of)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "5.00/5.00" in shown.err and "images/s" in shown.err


def test_no_examples_is_an_input_error():
    batches = as_batches([[0, 1]], [1]).take(0)
    with pytest.raises(InputError, match="without examples"):
        evaluate_model(identity_model(2), batches, progress=False)


def test_endless_data_is_an_input_error():
    batches = as_batches([[0, 1]], [1]).repeat()
    with pytest.raises(InputError, match="repeats without end"):
        evaluate_model(identity_model(2), batches, progress=False)


def test_another_number_of_classes_is_an_input_error():
    images = np.zeros((2, 1, 1, 3), np.float32)
    batches = tf.data.Dataset.from_tensors((images, np.eye(2)))
    with pytest.raises(InputError, match=r"\(2, 3\) for labels of shape \(2, 2\)"):
        evaluate_model(identity_model(3), batches, progress=False)


def test_another_number_of_names_is_an_input_error(evaluate):
    with pytest.raises(InputError, match="1 class names for labels of 2 classes"):
        evaluate([[0, 1]], [1], ["cat"])


@pytest.mark.parametrize("label", [[0.5, 0.5], [1, 1], [0, 0], [0.9, 0.1], [2, -1]])
def test_labels_that_are_not_one_hot_are_an_input_error(label):
    images = np.zeros((3, 1, 1, 2), np.float32)
    labels = np.array([[1, 0], [0, 1], label], np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    with pytest.raises(InputError, match="label of example 2, which is not a single 1"):
        evaluate_model(identity_model(2), batches, progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named(evaluate, value):
    logits = np.zeros((9, 3))
    logits[7, 1] = value
    with pytest.raises(RunError, match="logits for example 7 are not finite"):
        evaluate(logits, [0] * 9, batch_size=4)


# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics
# in Medicine 17 (1998), table I, method 3.
@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_matches_published_values(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([1.0, 1.96, 2.576]))
@settings(max_examples=200, deadline=None)
def test_wilson_bounds_are_where_the_score_test_turns(total, share, z):
    correct = round(share * total)
    confidence = math.erf(z / math.sqrt(2))
    low, high = wilson_interval(correct, total, confidence)
    assert 0 <= low <= correct / total <= high <= 1
    assert low < high
    for bound in (low, high):
        deviation = (correct / total - bound) ** 2
        variance = bound * (1 - bound) / total
        assert deviation == pytest.approx(z**2 * variance, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(correct, total):
    with pytest.raises(InputError, match=f"{correct} right of {total}"):
        wilson_interval(correct, total)


def test_the_documented_examples_run():
    results = doctest.testmod(accuracy)
    assert (results.attempted, results.failed) == (2, 0)
