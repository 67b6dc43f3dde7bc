"""Accuracy in the classes of a set, against definitions written out for one image."""

import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_model import identity_model

from bit_keras.assets.label_maps import imagenet21k, imagenet2012
from bit_keras.errors import InputError
from bit_keras.evaluation.class_maps import (
    ClassMap,
    check_ilsvrc2012,
    evaluate_mapped,
    map_by_name,
)

# A set of three classes for a model of nine: the second one is two of the model's.
ROWS = (("red", (4,)), ("green", (1, 7)), ("blue", (0,)))


def run(logits, right, class_map, weights=None):
    images = np.asarray(logits, np.float32)[:, None, None, :]
    weights = np.ones(len(images)) if weights is None else np.asarray(weights)
    batches = tf.data.Dataset.from_tensor_slices((images, right, weights)).batch(4)
    model = identity_model(images.shape[-1])
    return evaluate_mapped(model, batches, class_map, len(images), progress=False)


def table(rows, labels, num_classes=9):
    right = np.zeros((len(labels), num_classes), np.float32)
    for example, label in enumerate(labels):
        right[example, list(rows[label][1])] = 1
    return right


def ranked(row, among):
    """Returns the classes from the likeliest; of equal ones the first is first."""
    return sorted(among, key=lambda place: (-row[place], place))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), among=st.sampled_from([None, (0, 1, 4, 6, 7)]))
def test_figures_are_those_of_the_definition(seed, among):
    random = np.random.default_rng(seed)
    # Halves, so that there are equal ones.
    logits = random.integers(-6, 6, (7, 9)) / 2
    labels = random.integers(0, 3, 7)
    class_map = ClassMap(ROWS, 9, among)
    evaluation = run(logits, table(ROWS, labels), class_map)
    chosen = range(9) if among is None else among
    correct, top5, losses = [], [], []
    of_all = np.zeros(2, int)
    for row, label in zip(logits, labels, strict=True):
        right = set(ROWS[label][1])
        ranks = ranked(row, chosen)
        correct.append(ranks[0] in right)
        top5.append(bool(right & set(ranks[:5])))
        shares = np.exp(row)
        losses.append(-np.log(sum(shares[list(right)]) / sum(shares[list(chosen)])))
        ranks = ranked(row, range(9))
        of_all += [ranks[0] in right, bool(right & set(ranks[:5]))]
    assert evaluation.correct.tolist() == correct
    assert evaluation.labels.tolist() == labels.tolist()
    assert (evaluation.num_correct, evaluation.num_correct_top5) == (
        sum(correct),
        sum(top5),
    )
    np.testing.assert_allclose(evaluation.losses, losses, rtol=1e-9)
    assert evaluation.class_names == ("red", "green", "blue", "another class")
    figures = evaluation.to_dict()
    assert figures["num_classes"] == len(chosen)
    assert ("among_all_classes" in figures) == (among is not None)
    if among:
        assert (evaluation.correct_of_all, evaluation.correct_top5_of_all) == tuple(
            of_all
        )
        assert figures["among_all_classes"]["top1"] == of_all[0] / 7


def test_two_right_classes_among_the_five_count_once():
    logits = [[0, 9, 0, 0, 1, 0, 0, 8, 0]]
    evaluation = run(logits, table(ROWS, [1]), ClassMap(ROWS, 9))
    assert evaluation.num_correct == evaluation.num_correct_top5 == 1
    assert evaluation.top5 == 1
    assert evaluation.predictions.tolist() == [1]
    confidence = np.exp(9) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(evaluation.confidences, [confidence], rtol=1e-6)


def test_an_image_is_right_by_any_of_its_labels_and_left_out_without():
    """As in ReaL: the first image has two labels, the second one none."""
    rows = tuple((f"c{i}", (i,)) for i in range(9))
    logits = np.zeros((4, 9))
    logits[0, 3], logits[1, 2], logits[2, 5], logits[3, 8] = 2, 2, 2, 2
    right = np.zeros((4, 9))
    right[0, [3, 6]] = right[2, [4, 6]] = right[3, 8] = 1
    evaluation = run(logits, right, ClassMap(rows, 9), weights=[1, 0, 1, 1])
    assert (evaluation.num_examples, evaluation.num_left_out) == (3, 1)
    assert evaluation.correct.tolist() == [True, False, True]
    # The likeliest right one; of equal ones the first. c4 is rank 6 of the third.
    assert evaluation.labels.tolist() == [3, 4, 8]
    assert evaluation.class_names == tuple(name for name, _ in rows)
    assert evaluation.num_correct_top5 == 2 + int(4 in ranked(logits[2], range(9))[:5])


def test_confusions_are_in_the_classes_of_the_set():
    logits = np.full((3, 9), -3.0)
    logits[0, 4] = logits[1, 7] = logits[2, 8] = 1
    evaluation = run(logits, table(ROWS, [0, 0, 1]), ClassMap(ROWS, 9))
    assert evaluation.confusions() == [(0, 1, 1), (1, 3, 1)]
    assert evaluation.confusion.tolist() == [
        [1, 1, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert evaluation.to_dict()["confusions"][1] == {
        "true": "green",
        "predicted": "another class",
        "count": 1,
    }


def test_an_image_of_a_class_that_the_set_does_not_have():
    class_map = ClassMap(ROWS, 9, among=(0, 1, 4, 7))
    right = np.eye(9, dtype=np.float32)[[8]]
    with pytest.raises(InputError, match="none of the classes"):
        run(np.zeros((1, 9)), right, class_map)
    with pytest.raises(InputError, match=r"of 8 classes.*\(1, 9\)"):
        run(np.zeros((1, 9)), right, ClassMap(ROWS, 8))


def a_model(num_classes, class_names=None):
    return types.SimpleNamespace(num_classes=num_classes, class_names=class_names)


@pytest.mark.parametrize(
    "names", [None, imagenet2012().class_names, imagenet2012().ids]
)
def test_folders_by_name(names):
    names = names and list(names)
    folders = ["n02012849", "Great_White_Shark", "tinca tinca", "television"]
    found = map_by_name(a_model(1000, names), folders)
    assert found.rows == (
        ("n02012849", (134,)),
        ("Great_White_Shark", (2,)),
        ("tinca tinca", (0,)),
        ("television", (851,)),
    )
    check_ilsvrc2012(a_model(1000, names), "imagenet_v2")


def test_folders_by_name_of_imagenet_21k():
    found = map_by_name(a_model(21843), ["n03931044", "bleacher"])
    assert [places for _, places in found.rows] == [(9205,), (15027,)]
    assert imagenet21k().ids[15027] == "n09859684"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["tench", "crane"], "a name that no other has. Received: crane$"),
        (["tench", "cardigan"], "Received: cardigan$"),
        (["tench", "a thing"], "Received: a thing$"),
        (["tench", "n01440764"], "folders tench and n01440764 are of the same class"),
    ],
)
def test_folders_by_names_that_do_not_do(folders, message):
    with pytest.raises(InputError, match=message):
        map_by_name(a_model(1000), folders)


@pytest.mark.parametrize(
    ("model", "received"),
    [
        (a_model(10), "a model with 10 classes"),
        (a_model(21843), "a model with 21,843 classes"),
        (
            a_model(1000, [f"mine {i}" for i in range(1000)]),
            "a model with 1,000 others, the first of them `mine 0`",
        ),
    ],
)
def test_sets_of_ilsvrc_2012_for_other_models(model, received):
    with pytest.raises(InputError, match=f"imagenet_a is for .* Received: {received}"):
        check_ilsvrc2012(model, "imagenet_a")
