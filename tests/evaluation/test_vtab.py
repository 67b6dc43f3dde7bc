import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.evaluation import vtab_labels as labels
from bit_keras.evaluation.vtab import GROUPS, TASKS, choose_tasks
from bit_keras.models.presets import VTAB
from bit_keras.recipes.vtab import vtab_rule


def test_the_tasks_are_those_of_the_published_files():
    assert {name: task.num_classes for name, task in TASKS.items()} == {
        name: num_classes for name, (num_classes, _) in VTAB.items()
    }
    assert all(name == task.name for name, task in TASKS.items())
    for name, (_, crop) in VTAB.items():
        assert vtab_rule(name).crop == crop


def test_groups_are_of_seven_four_and_eight_tasks():
    sizes = [sum(t.group == group for t in TASKS.values()) for group in GROUPS]
    assert sizes == [7, 4, 8]
    structured = {"clevr", "dmlab", "kitti", "dsprites", "smallnorb"}
    for task in TASKS.values():
        assert (task.group == "structured") == (task.data.name in structured)


def test_appendix_f_names_what_is_neither_flipped_nor_cropped():
    no_flip = {"dsprites-orientation", "smallnorb-azimuth", "dsprites-xpos"}
    no_crop = {"clevr-count", "clevr-distance", "dmlab", "kitti-distance"}
    no_crop |= {"dsprites-xpos"}
    for name, task in TASKS.items():
        assert task.flip == (name not in no_flip)
        assert task.crop == (name not in no_crop)
        rule = vtab_rule(name)
        assert rule.flip == ("none" if name in no_flip else "random")
        assert rule.cropping == ("none" if name in no_crop else "random")


def test_the_rule_of_a_thousand_examples():
    rule = vtab_rule("dsprites-orientation")
    assert (rule.resize, rule.crop, rule.steps, rule.mixup_alpha) == (160, 128, 500, 0)
    # 96 by 96 pixels are large ones already.
    rule = vtab_rule("smallnorb-azimuth", num_examples=800)
    assert (rule.resize, rule.crop, rule.num_examples) == (512, 480, 800)


def test_test_sets_have_the_published_sizes():
    sizes = {name: task.data.num_test for name, task in TASKS.items()}
    assert sizes == {
        "caltech101": 6084,
        "cifar100": 10_000,
        "dtd": 1880,
        "oxford_flowers102": 6149,
        "oxford_iiit_pet": 3669,
        "sun397": 21_750,
        "svhn": 26_032,
        "patch_camelyon": 32_768,
        "eurosat": 5400,
        "resisc45": 6300,
        "diabetic_retinopathy": 42_670,
        "clevr-count": 15_000,
        "clevr-distance": 15_000,
        "dmlab": 22_735,
        "kitti-distance": 711,
        "dsprites-xpos": 73_728,
        "dsprites-orientation": 73_728,
        "smallnorb-azimuth": 12_150,
        "smallnorb-elevation": 12_150,
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["all"], list(TASKS)),
        (["specialized"], ["patch_camelyon", "eurosat", "resisc45"]),
        (["svhn", "dtd", "svhn"], ["dtd", "svhn"]),
        (["dtd", "natural"], list(TASKS)[:7]),
    ],
)
def test_tasks_are_chosen_by_name_or_group(names, expected):
    chosen = [task.name for task in choose_tasks(names)]
    assert chosen[: len(expected)] == expected
    assert len(chosen) == len(expected) + ("specialized" in names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["clevr"], "no group `clevr`; did you mean `clevr-count`"),
        (["dtd", "xyz"], "no group `xyz`; one of all, natural, specialized"),
        ([], "at least one task"),
    ],
)
def test_a_task_that_there_is_not(names, message):
    with pytest.raises(InputError, match=message):
        choose_tasks(names)


def clevr(distances):
    coords = np.zeros((len(distances), 3), np.float32)
    coords[:, 2] = distances
    sizes = tf.zeros([len(distances)], tf.int64)
    return {"objects": {"pixel_coords": tf.constant(coords), "size": sizes}}


@pytest.mark.parametrize("number", range(3, 11))
def test_clevr_counts_begin_at_three(number):
    label = labels.CLEVR_COUNT.apply(clevr([9.0] * number))
    assert (int(label), label.dtype) == (number - 3, tf.int64)
    assert labels.CLEVR_COUNT.class_names[int(label)] == f"{number} objects"


def last_negative(thresholds, value):
    """The published definition: the last place where `thresholds - value < 0`."""
    return np.flatnonzero(np.float32(thresholds) - np.float32(value) < 0).max()


@pytest.mark.parametrize(
    "nearest", [0.1, 7.99, 8, 8.01, 8.5, 8.6, 9, 9.4, 9.5, 9.9, 10, 10.1, 99, 100]
)
def test_clevr_distances_are_in_six_classes(nearest):
    example = clevr([nearest + 3, nearest, nearest + 50])
    label = labels.CLEVR_DISTANCE.apply(example)
    thresholds = [0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0]
    assert int(label) == last_negative(thresholds, nearest)
    # A distance on a threshold belongs to the class before.
    assert int(label) == sum(nearest > limit for limit in (8, 8.5, 9, 9.5, 10))


@pytest.mark.parametrize(
    ("types", "depths", "expected"),
    [
        ([0], [7.9], 0),
        ([1], [8.0], 0),
        ([2], [8.1], 1),
        ([0, 2], [20.5, 19.9], 1),
        ([0], [20.0], 1),
        ([1], [20.1], 2),
        ([0], [-3.0], 0),
        # Pedestrians, cyclists and trams are no vehicles, however near.
        ([3, 4, 5, 6, 7, 0], [1, 2, 3, 4, 5, 25.0], 2),
        ([3, 6], [2.0, 3.0], 3),
        ([], [], 3),
    ],
)
def test_kitti_distances_are_those_of_vehicles(types, depths, expected):
    location = np.zeros((len(types), 3), np.float32)
    location[:, 2] = depths
    example = {"type": tf.constant(types, tf.int64), "location": location}
    label = labels.KITTI_DISTANCE.apply({"objects": example})
    assert (int(label), label.dtype) == (expected, tf.int64)
    vehicles = [z for kind, z in zip(types, depths, strict=True) if kind < 3]
    nearest = min([*vehicles, 1000.0])
    assert expected == last_negative([-100.0, 8.0, 20.0, 999.0], nearest)


@pytest.mark.parametrize(
    ("task", "feature", "count"),
    [
        ("dsprites-xpos", "label_x_position", 32),
        ("dsprites-orientation", "label_orientation", 40),
    ],
)
def test_dsprites_values_fall_into_sixteen_classes(task, feature, count):
    rule = TASKS[task].label
    values = np.arange(count)
    ours = [int(rule.apply({feature: tf.constant(v, tf.int64)})) for v in values]
    np.testing.assert_array_equal(ours, np.floor(values / (count / 16)))
    assert set(ours) == set(range(16)) == set(map(int, rule.class_names))


def test_a_task_is_a_fact():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["dtd"].num_classes = 48
