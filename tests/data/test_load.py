import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.load import eval_batches, load_dataset, rule_for
from bit_keras.data.sources import open_source
from bit_keras.recipes.hyperrule import LIGHT, HyperRule


def numbered_images(count):
    """Images of one colour each, which is their number, and labels of three classes."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(count) % 3
    return np.broadcast_to(images, (count, 4, 4, 3)).copy(), labels


def small_recipe(count=10, **changes):
    recipe = HyperRule(4, 4, count).scaled(resize=4, crop=4)
    return dataclasses.replace(recipe, **{"batch_size": 5} | changes)


def numbers(images):
    return np.rint((np.array(images)[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def load(count=10, **kwargs):
    arrays = numbered_images(count), numbered_images(7)
    return load_dataset(arrays, small_recipe(count), **kwargs)


def first_batches(dataset, count):
    return [tuple(map(np.array, batch)) for batch in dataset.take(count)]


def test_every_epoch_has_each_training_image_once_in_a_new_order():
    train, _ = load()
    batches = first_batches(train, 6)
    epochs = [
        numbers(np.concatenate([batches[i][0], batches[i + 1][0]])) for i in (0, 2, 4)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len(set(map(tuple, epochs))) == 3
    for images, labels in batches:
        expected = np.eye(3)[np.array(numbers(images)) % 3]
        np.testing.assert_array_equal(labels, expected)


def test_the_test_images_come_once_each_in_order():
    _, test = load()
    images, labels = map(np.concatenate, zip(*first_batches(test, -1), strict=True))
    assert numbers(images) == list(range(7))
    np.testing.assert_array_equal(labels, np.eye(3)[np.arange(7) % 3])


@pytest.mark.parametrize(("limit", "sizes"), [(7, [7]), (4, [4, 3]), (3, [3, 3, 1])])
def test_evaluation_batches_are_of_one_size_where_possible(limit, sizes):
    source = open_source((numbered_images(9), numbered_images(7)))
    batches = first_batches(eval_batches(source, source.test, 4, limit), -1)
    assert [len(images) for images, _ in batches] == sizes


def test_a_set_smaller_than_a_batch_fills_it():
    train, _ = load(count=3)
    for images, _ in first_batches(train, 3):
        assert len(images) == 5
        assert set(numbers(images)) == {0, 1, 2}


def test_a_seed_decides_everything():
    source = open_source("doodles")
    recipe = HyperRule.light(28, 28, 800)

    def batches(seed):
        return first_batches(load_dataset(source, recipe, seed=seed)[0], 3)

    for one, other in zip(batches(1), batches(1), strict=True):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)
    assert any(
        not np.array_equal(one[0], other[0])
        for one, other in zip(batches(1), batches(2), strict=True)
    )


@pytest.mark.parametrize("cached_bytes", [0, 1 << 30])
def test_the_order_depends_neither_on_the_global_seed_nor_on_the_past(
    monkeypatch, cached_bytes
):
    monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", cached_bytes)

    def order(train):
        return [numbers(images) for images, _ in first_batches(train, 6)]

    train, _ = load()
    expected = order(train)
    assert order(train) == expected
    for global_seed in (0, 1):
        tf.random.set_seed(global_seed)
        assert order(load()[0]) == expected
    assert order(load(seed=1)[0]) != expected


def test_keras_can_tell_that_training_batches_do_not_end():
    train, test = load()
    assert train.cardinality() == tf.data.INFINITE_CARDINALITY
    assert test.cardinality() == 1


def test_values_are_those_of_a_network():
    train, test = load_dataset("doodles", HyperRule.light(28, 28, 800))
    for images, labels in (*first_batches(train, 1), *first_batches(test, 1)):
        assert images.dtype == labels.dtype == np.float32
        assert images.shape[1:] == (LIGHT["crop"], LIGHT["crop"], 3)
        assert images.min() == -1 and 0.9 < images.max() <= 1
        np.testing.assert_array_equal(labels.sum(axis=1), 1)


def test_mixup_is_where_the_recipe_asks_for_it():
    arrays = numbered_images(10), numbered_images(7)
    train, test = load_dataset(arrays, small_recipe(mixup_alpha=0.5))
    shares = []
    for images, labels in first_batches(train, 20):
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        assert images.min() >= -1
        shares.append(labels.max(axis=1).min())
    assert min(shares) < 0.9  # some batch is visibly mixed
    assert len(set(np.round(shares, 5))) > 5  # each in its own proportion
    for _, labels in first_batches(test, -1):
        assert set(np.unique(labels)) == {0, 1}


def test_images_that_fit_into_memory_are_decoded_once():
    images, labels = numbered_images(10)
    decoded = []

    def decode(image, label):
        tf.py_function(lambda label: decoded.append(int(label)), [label], [])
        return image, label

    source = open_source(((images, labels), (images, labels)))
    split = dataclasses.replace(source.train, decode=decode)
    source = dataclasses.replace(source, train=split)
    first_batches(load_dataset(source, small_recipe())[0], 8)
    assert sorted(decoded) == sorted(labels)


def test_images_that_do_not_fit_into_memory_give_the_same_epochs(monkeypatch):
    monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", 0)
    train, _ = load()
    (first, _), (second, _) = first_batches(train, 2)
    assert sorted(numbers(first) + numbers(second)) == list(range(10))


def test_the_rule_of_a_source_is_that_of_its_size_and_number():
    source = open_source("doodles")
    assert rule_for(source) == HyperRule(28, 28, 800)
    assert rule_for(source, HyperRule.light) == HyperRule.light(28, 28, 800)
