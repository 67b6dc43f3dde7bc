import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_model import as_batches

from bit_keras.errors import InputError
from bit_keras.evaluation import choose_examples, pick_images
from bit_keras.evaluation.examples import choose_confused


def two_classes(evaluate, outcomes):
    """Evaluates examples of class 0, of which `outcomes` says which are right."""
    margins = np.random.default_rng(0).uniform(0.1, 3, len(outcomes))
    logits = np.stack([np.where(outcomes, margins, -margins), 0 * margins], axis=1)
    return evaluate(logits, [0] * len(outcomes))


@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_choice_is_balanced_as_far_as_possible(evaluate, outcomes, count, seed):
    evaluation = two_classes(evaluate, outcomes)
    chosen = choose_examples(evaluation, count, seed)
    np.testing.assert_array_equal(chosen, choose_examples(evaluation, count, seed))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(outcomes))
    right = [bool(evaluation.correct[i]) for i in chosen]
    assert right == sorted(right)
    num_wrong = right.count(False)
    all_wrong = outcomes.count(False)
    if all_wrong >= count // 2 and outcomes.count(True) >= count - count // 2:
        assert num_wrong == count // 2
    elif all_wrong < count // 2:
        assert num_wrong == all_wrong
    else:
        assert right.count(True) == outcomes.count(True)


def test_the_surest_errors_come_first(fruit):
    # The errors are examples 2, 4 and 5, with margins of 3, 5 and 6.
    assert choose_examples(fruit, 4)[:2].tolist() == [5, 4]
    assert choose_examples(fruit, 8)[:3].tolist() == [5, 4, 2]


def test_examples_of_each_confusion_are_its_surest(evaluate):
    """Class 0 is taken for 1 three times, 1 for 2 twice and 2 for 0 once."""
    labels = [0, 0, 0, 1, 1, 2, 2, 0]
    predictions = [1, 1, 1, 2, 2, 0, 2, 0]
    margins = np.array([2, 9, 5, 1, 7, 3, 8, 8])
    evaluation = evaluate(np.eye(3)[predictions] * margins[:, None], labels)
    chosen = [indices.tolist() for indices in choose_confused(evaluation)]
    assert chosen == [[1, 2, 0], [4, 3], [5]]
    chosen = choose_confused(evaluation, num_pairs=2, count=1)
    assert [indices.tolist() for indices in chosen] == [[1], [4]]
    assert choose_confused(evaluate(np.eye(2), [0, 1])) == []


def test_the_seed_draws_the_right_ones(evaluate):
    evaluation = two_classes(evaluate, [True] * 40)
    choices = {tuple(choose_examples(evaluation, 5, seed)) for seed in range(5)}
    assert len(choices) == 5


def test_images_come_in_the_order_of_the_indices():
    images = np.arange(20, dtype=np.float32).reshape(10, 2)
    picked = pick_images(as_batches(images, [0] * 10, 4), np.array([9, 0, 4, 0]))
    np.testing.assert_array_equal(picked[:, 0, 0], images[[9, 0, 4, 0]])


def test_rows_of_weight_0_are_not_counted():
    images = np.arange(20, dtype=np.float32).reshape(10, 1, 1, 2)
    weights = np.array([0, 1, 1, 0, 0, 1, 1, 1, 0, 0], np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, np.eye(10), weights))
    picked = pick_images(batches.batch(4), [4, 0, 2])
    np.testing.assert_array_equal(picked, images[[7, 1, 5]])
    with pytest.raises(InputError, match="example 5 of a data set with 5 examples"):
        pick_images(batches.batch(4), [5])


def test_an_index_outside_the_set_is_an_input_error():
    batches = as_batches([[0, 1]] * 3, [0] * 3)
    with pytest.raises(InputError, match="example 3 of a data set with 3 examples"):
        pick_images(batches, [0, 3])
