import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.load import eval_batches, load_dataset, rule_for, train_batches
from bit_keras.data.mixup import PARTNERS
from bit_keras.data.sources import open_source
from bit_keras.errors import InputError
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


def counting_source():
    """A source whose images have to be decoded, and a list of those that were."""
    source = open_source((numbered_images(10), numbered_images(7)))
    decoded = []

    def load(number):
        image = source.train.load(number)
        with tf.control_dependencies(
            [tf.py_function(lambda n: decoded.append(int(n)), [number], [])]
        ):
            return tf.identity(image)

    train = dataclasses.replace(source.train, load=load, is_in_memory=False)
    return dataclasses.replace(source, train=train), decoded


KINDS = ("in memory", "by number", "one after another")


@pytest.fixture
def make_source(monkeypatch):
    """Makes ten training images that are read in one of the ways that there are."""

    def make(kind):
        arrays = numbered_images(10), numbered_images(7)
        if kind == "one after another":
            arrays = tuple(map(tf.data.Dataset.from_tensor_slices, arrays))
        if kind != "in memory":
            monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", 0)
        return open_source(arrays)

    return make


def augmented_recipe(**changes):
    """Batches of four, that ten images cannot be divided into, with all that varies."""
    given = {"batch_size": 4, "crop": 3, "mixup_alpha": 1.0}
    return small_recipe(**given | changes)


def assert_equal_batches(actual, expected):
    assert_together([actual], expected)


@pytest.mark.parametrize(
    ("kind", "cropping"), zip(KINDS, ("random", "inception", "none"), strict=True)
)
def test_a_stream_entered_late_is_the_same_stream(make_source, kind, cropping):
    recipe = augmented_recipe(cropping=cropping)
    source = make_source(kind)
    whole = first_batches(train_batches(source, recipe, seed=5), 11)
    for first_step in (1, 2, 5, 9):
        late = train_batches(source, recipe, 5, first_step)
        assert_equal_batches(first_batches(late, 2), whole[first_step : first_step + 2])


@pytest.mark.parametrize(
    ("kind", "count", "partner"),
    [
        *(("by number", 4, partner) for partner in (None, *PARTNERS)),
        ("in memory", 2, "roll"),
        ("one after another", 2, "reversal"),
    ],
)
def test_parts_of_training_batches_make_up_the_whole(make_source, kind, count, partner):
    changes = {"mixup_partner": partner} if partner else {"mixup_alpha": 0.0}
    recipe = augmented_recipe(**changes)
    source = make_source(kind)
    whole = first_batches(train_batches(source, recipe, 1, first_step=2), 4)
    parts = [train_batches(source, recipe, 1, 2, (i, count)) for i in range(count)]
    assert_together([first_batches(part, 4) for part in parts], whole)


def refusing_source(allowed):
    """A source where only some images can be decoded."""
    source = open_source((numbered_images(10), numbered_images(7)))

    def load(number):
        tf.debugging.assert_equal(tf.reduce_any(number == allowed), True)
        return source.train.load(number)

    train = dataclasses.replace(source.train, load=load, is_in_memory=False)
    return dataclasses.replace(source, train=train)


@pytest.mark.parametrize(
    ("part", "partner", "rows"),
    [
        ((0, 1), None, [0, 1, 2, 3]),
        ((1, 2), None, [2, 3]),
        ((0, 4), "reversal", [0, 3]),
        ((1, 2), "reversal", [0, 1, 2, 3]),
        ((2, 4), "roll", [1, 2]),
        ((0, 2), "roll", [0, 1, 3]),
        ((3, 4), "permutation", [0, 1, 2, 3]),
    ],
)
def test_images_that_are_not_needed_are_not_decoded(monkeypatch, part, partner, rows):
    """Neither those of the steps before nor those of rows of other parts."""
    monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", 0)
    plain = open_source((numbered_images(10), numbered_images(7)))
    unmixed = small_recipe(batch_size=4)
    (images, _), *_ = first_batches(train_batches(plain, unmixed, 3, 7), 1)
    needed = [numbers(images)[row] for row in rows]
    recipe = unmixed
    if partner:
        recipe = small_recipe(batch_size=4, mixup_alpha=1.0, mixup_partner=partner)
    source = refusing_source(needed)
    first_batches(train_batches(source, recipe, 3, 7, part), 1)
    source = refusing_source(needed[1:])
    with pytest.raises(tf.errors.InvalidArgumentError):
        first_batches(train_batches(source, recipe, 3, 7, part), 1)


@pytest.mark.parametrize("part", [(0, 3), (2, 2), (-1, 2), (0, 0)])
def test_batches_that_cannot_be_divided_are_refused(part):
    source = open_source((numbered_images(10), numbered_images(7)))
    with pytest.raises(InputError, match="batch of 4 .*Received: part -?[0-9] of"):
        train_batches(source, small_recipe(batch_size=4), part=part)
    with pytest.raises(InputError, match="batch of 7 .*Received: part -?[0-9] of"):
        eval_batches(source, source.test, 4, part=part)


def test_a_step_before_the_first_is_refused():
    source = open_source((numbered_images(10), numbered_images(7)))
    with pytest.raises(InputError, match="must not be negative. Received: -1"):
        train_batches(source, small_recipe(), first_step=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_nothing(make_source, kind):
    source, recipe = make_source(kind), augmented_recipe()
    streams = []
    for threads in (1, 7):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        batches = train_batches(source, recipe).with_options(options)
        streams.append(first_batches(batches, 10))
    assert_equal_batches(*streams)


@pytest.mark.parametrize("partner", PARTNERS)
def test_training_batches_have_shapes_that_are_known_beforehand(make_source, partner):
    source, recipe = make_source("by number"), augmented_recipe(mixup_partner=partner)
    for part, size in ((None, 4), ((0, 2), 2)):
        spec = train_batches(source, recipe, part=part).element_spec
        assert [tuple(s.shape) for s in spec] == [(size, 3, 3, 3), (size, 3)]


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


def evaluated(**kwargs):
    """The batches of seven test images, and their (number, label, weight) by row."""
    source = open_source((numbered_images(9), numbered_images(7)))
    dataset = eval_batches(source, source.test, 4, **kwargs)
    batches = first_batches(dataset, -1)
    assert dataset.cardinality() == len(batches)
    images, labels, weights = map(np.concatenate, zip(*batches, strict=True))
    return dataset, batches, (images, labels, weights)


@pytest.mark.parametrize("options", [{}, {"max_batch_size": 3}, {"multiple": 4}])
def test_the_test_images_come_once_each_in_order(options):
    _, _, (images, labels, weights) = evaluated(**options)
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < 7)
    assert numbers(images[:7]) == list(range(7))
    np.testing.assert_array_equal(labels[:7], np.eye(3)[np.arange(7) % 3])
    assert not images[7:].any() and not labels[7:].any()


@pytest.mark.parametrize(
    ("limit", "multiple", "in_few_sizes", "sizes"),
    [
        (7, 1, False, [7]),
        (128, 1, False, [7]),
        (4, 1, False, [4, 4]),
        (3, 1, False, [3, 3, 3]),
        (1, 1, False, [1] * 7),
        (128, 2, False, [8]),
        (128, 8, False, [8]),
        (5, 2, False, [4, 4]),
        (1, 4, False, [4, 4]),
        (3, 16, False, [16]),
        (128, 1, True, [8]),
        (7, 1, True, [7]),
        (4, 1, True, [4, 4]),
        (3, 1, True, [3, 3, 3]),
        (128, 2, True, [8]),
        (128, 6, True, [12]),
        (5, 2, True, [4, 4]),
        (3, 16, True, [16]),
    ],
)
def test_evaluation_batches_are_of_one_known_size(limit, multiple, in_few_sizes, sizes):
    dataset, batches, (images, _, weights) = evaluated(
        max_batch_size=limit, multiple=multiple, in_few_sizes=in_few_sizes
    )
    assert [len(images) for images, *_ in batches] == sizes
    shapes = [tuple(spec.shape) for spec in dataset.element_spec]
    assert shapes == [(sizes[0], 4, 4, 3), (sizes[0], 3), (sizes[0],)]
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < 7)
    assert numbers(images[:7]) == list(range(7))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_of_evaluation_batches_make_up_the_whole(count):
    options = {"max_batch_size": 4, "multiple": 4}
    _, whole, _ = evaluated(**options)
    parts = [evaluated(**options, part=(i, count))[1] for i in range(count)]
    assert_together(parts, whole)


def assert_together(parts, whole):
    """Asserts that the rows of the parts, one below the other, are the whole's."""
    for batch, *of_parts in zip(whole, *parts, strict=True):
        for values, *pieces in zip(batch, *of_parts, strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), values)


def test_a_set_smaller_than_a_batch_fills_it():
    train, _ = load(count=3)
    for images, _ in first_batches(train, 3):
        assert len(images) == 5
        assert set(numbers(images)) == {0, 1, 2}


def test_a_seed_decides_everything():
    source = open_source("doodles")
    recipe = HyperRule.light(28, 28, 800)
    one, same, other = (
        first_batches(load_dataset(source, recipe, seed=seed)[0], 3)
        for seed in (1, 1, 2)
    )
    assert_equal_batches(same, one)
    assert not np.array_equal(other[0][0], one[0][0])


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
    for images, labels, *_ in (*first_batches(train, 1), *first_batches(test, 1)):
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
    for _, labels, _ in first_batches(test, -1):
        assert set(np.unique(labels)) == {0, 1}


def test_images_that_fit_into_memory_are_decoded_once():
    source, decoded = counting_source()
    train_once = load_dataset(source, small_recipe())[0]
    first_batches(train_once, 8)
    assert sorted(decoded) == list(range(10))
    first_batches(train_batches(source, small_recipe(), seed=3), 2)
    assert len(decoded) == 10


def test_images_that_do_not_fit_into_memory_give_the_same_epochs(monkeypatch):
    monkeypatch.setattr("bit_keras.data.load.MAX_CACHED_BYTES", 0)
    train, _ = load()
    (first, _), (second, _) = first_batches(train, 2)
    assert sorted(numbers(first) + numbers(second)) == list(range(10))


def test_the_rule_of_a_source_is_that_of_its_size_and_number():
    source = open_source("doodles")
    assert rule_for(source) == HyperRule(28, 28, 800)
    assert rule_for(source, HyperRule.light) == HyperRule.light(28, 28, 800)
