import numpy as np
import pytest
import tensorflow as tf
from image_folders import contents, numbered, write_images

from bit_keras.data.load import rule_for, train_batches
from bit_keras.data.sources import open_source
from bit_keras.errors import InputError


def numbered_arrays(labels):
    """Images of one colour each, which is their number."""
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(images, (len(labels), 2, 2, 3)).copy(), np.array(labels)


TRAIN = numbered_arrays([0, 1, 2] * 20 + [2] * 7)
TEST = numbered_arrays([0, 1, 2])
DATASETS = tuple(map(tf.data.Dataset.from_tensor_slices, (TRAIN, TEST)))


def few(count, seed=0, dataset=(TRAIN, TEST)):
    return open_source(dataset, examples_per_class=count, subset_seed=seed)


@pytest.mark.parametrize("dataset", [(TRAIN, TEST), DATASETS])
def test_each_class_has_as_many_examples(dataset):
    source = few(5, dataset=dataset)
    chosen = contents(source.train)
    assert np.bincount([label for _, label in chosen]).tolist() == [5, 5, 5]
    assert all(TRAIN[1][number] == label for number, label in chosen)
    assert len(set(chosen)) == 15 == source.train.num_examples
    assert contents(source.test) == [(0, 0), (1, 1), (2, 2)]
    assert chosen == contents(few(5).train)
    assert source.train.read_labels().tolist() == [label for _, label in chosen]
    assert rule_for(source).num_examples == 15


def test_fewer_examples_are_among_more_of_the_same_seed():
    one, five, ten = (set(contents(few(count).train)) for count in (1, 5, 10))
    assert one < five < ten
    assert five != set(contents(few(5, seed=1).train))
    # All of the classes, not of their beginnings alone, can be drawn.
    drawn = [contents(few(5, seed).train) for seed in range(20)]
    assert {number for chosen in drawn for number, _ in chosen} >= set(range(55, 60))


def test_a_class_is_drawn_from_whatever_the_others_hold():
    other = numbered_arrays([0, 1, 2] * 20 + [1] * 7)
    zeros = [
        [number for number, label in contents(source.train) if label == 0]
        for source in (few(5), few(5, dataset=(other, TEST)))
    ]
    assert zeros[0] == zeros[1]


def test_images_are_not_decoded_to_draw_from_them(tmp_path):
    write_images(tmp_path, numbered("a", 80) + numbered("b", 80))
    source = open_source(tmp_path)
    for path in source.train.paths:
        with open(path, "wb"):
            pass
    subset = open_source(source, examples_per_class=3)
    assert len(subset.train.paths) == 6
    assert {path.split("/")[-2] for path in subset.train.paths} == {"a", "b"}


@pytest.mark.parametrize("dataset", [(TRAIN, TEST), DATASETS])
def test_training_sees_the_subset_alone(dataset, monkeypatch):
    monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", 0)
    source = few(2, dataset=dataset)
    recipe = rule_for(source).scaled(batch_size=6, resize=2, crop=2)
    for images, labels in train_batches(source, recipe).take(3):
        numbers = np.rint((images.numpy()[:, 0, 0, 0] + 1) * 127.5)
        seen = zip(numbers, labels.numpy().argmax(axis=1), strict=True)
        assert sorted(seen) == sorted(contents(source.train))


def test_too_few_examples_are_an_error_that_names_the_class():
    with pytest.raises(InputError, match="Class `0` has 20 training .* Received: 21"):
        few(21)
    names = {"class_names": ["ant", "bee", "cat", "dog"]}
    with pytest.raises(InputError, match="Class `dog` has 0 training examples"):
        open_source((TRAIN, TEST), examples_per_class=1, **names)


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_an_impossible_number_is_refused(count):
    with pytest.raises(InputError, match="`examples_per_class` must be a whole number"):
        few(count)
