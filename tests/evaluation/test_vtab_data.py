import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from vtab_sets import (
    NUM_TEST,
    TOTALS,
    encoded,
    objects,
    pattern,
    pixels,
    scramble,
    start_of,
    write_set,
)

from bit_keras.errors import InputError, RunError
from bit_keras.evaluation.vtab import TASKS
from bit_keras.evaluation.vtab_data import check_data, open_task


def key(split, number):
    """Tells examples of equal numbers in two splits from each other."""
    return number + 1_000_003 * len(split)


def clevr_facts(split, number, features):
    count = 3 + scramble(key(split, number), 8)
    depths = 7.5 + np.arange(count, 0, -1) * scramble(number, 100) / 100
    coords = np.stack([np.ones(count), np.zeros(count), depths], 1)
    return {
        "objects": objects(
            features["objects"], {"pixel_coords": coords.astype(np.float32)}
        )
    }


def kitti_facts(split, number, features):
    count = scramble(key(split, number), 5)
    types = [scramble(number + i, 8) for i in range(count)]
    location = np.zeros((count, 3), np.float32)
    location[:, 2] = [scramble(number - i, 60) for i in range(count)]
    values = {"type": types, "location": location}
    return {"objects": objects(features["objects"], values)}


def dsprites_facts(split, number, features):
    return {
        "label_x_position": scramble(key(split, number), 32),
        "label_orientation": scramble(number + 17, 40),
        "label_y_position": 5,
        "value_x_position": 0.5,
    }


def smallnorb_facts(split, number, features):
    return {
        "label_azimuth": scramble(key(split, number), 18),
        "label_elevation": scramble(number + 17, 9),
        "label_category": 4,
    }


def plain_facts(split, number, features):
    count = features["label"].num_classes
    return {"label": scramble(key(split, number), count)}


FACTS = {
    "clevr": clevr_facts,
    "kitti": kitti_facts,
    "dsprites": dsprites_facts,
    "smallnorb": smallnorb_facts,
}


def expected_label(task, features, split, number):
    """The task's definition in plain numpy, from what was written."""
    facts = FACTS.get(task.data.name, plain_facts)(split, number, features)
    things = facts.get("objects", [])
    if task.name == "clevr-count":
        return len(things) - 3
    if task.name == "clevr-distance":
        nearest = np.float32(min(thing["pixel_coords"][2] for thing in things))
        limits = np.float32([8, 8.5, 9, 9.5, 10])
        return int((nearest > limits).sum())
    if task.name == "kitti-distance":
        vehicles = [t["location"][2] for t in things if t["type"] in (0, 1, 2)]
        if not vehicles:
            return 3
        return int(min(vehicles) > 8) + int(min(vehicles) > 20)
    if task.name == "dsprites-xpos":
        return int(np.floor(facts["label_x_position"] / 2))
    if task.name == "dsprites-orientation":
        return int(np.floor(facts["label_orientation"] / 2.5))
    return facts[
        {"smallnorb-azimuth": "label_azimuth"}.get(
            task.name,
            "label_elevation" if task.name == "smallnorb-elevation" else "label",
        )
    ]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """All 16 sets, each with a thousand examples in their places and a few more."""
    folder = tmp_path_factory.mktemp("tfds")
    for name in TOTALS:
        write_set(folder, name, FACTS.get(name, plain_facts))
    return folder


def places(task, part):
    """Returns (split, number) of the examples of a part, in their order."""
    train = [("train", number) for number in range(800)]
    split, start = start_of(task.data.name, 0)
    val = [(split, number) for number in range(start, start + 200)]
    split, start = start_of(task.data.name, 1)
    test = [(split, number) for number in range(start, start + NUM_TEST)]
    return {
        "train800": train,
        "val200": val,
        "train1000": train + val,
        "test": test,
    }[part]


def expected_image(task, split, number):
    """The image as it was written, with three channels and whole range."""
    which = pattern(split, number)
    name = task.data.name
    if name in ("dmlab", "oxford_iiit_pet"):  # JPEG loses something.
        return tf.io.decode_jpeg(encoded(name, which), channels=3).numpy()
    image = np.broadcast_to(pixels(name, which), (*pixels(name, which).shape[:2], 3))
    return np.where(image == 1, 255, 0) if name == "dsprites" else image


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_examples_with_its_labels(data_dir, name):
    task = TASKS[name]
    features = tfds.builder(task.data.name, data_dir=data_dir).info.features
    source = open_task(task, data_dir)
    assert source.num_classes == task.num_classes
    at = places(task, "train1000")
    expected = [expected_label(task, features, *place) for place in at]
    assert len(set(expected)) > 1, "a constant would pass"
    assert source.train.num_examples == 1000
    np.testing.assert_array_equal(source.train.read_labels(), expected)
    # The files hold the first few of the test images alone.
    assert source.test.num_examples == task.data.num_test
    for split, part in ((source.train, "train1000"), (source.test, "test")):
        images = split.images().take(NUM_TEST)
        for place, (image, label) in zip(places(task, part), images, strict=False):
            assert int(label) == expected_label(task, features, *place)
            np.testing.assert_array_equal(image, expected_image(task, *place))
            assert image.dtype == tf.uint8


@pytest.mark.parametrize("name", ["caltech101", "clevr-distance", "smallnorb-azimuth"])
def test_a_search_learns_from_the_800_and_chooses_by_the_200(data_dir, name):
    task = TASKS[name]
    features = tfds.builder(task.data.name, data_dir=data_dir).info.features
    source = open_task(name, data_dir, train="train800", test="val200")
    for split, part in ((source.train, "train800"), (source.test, "val200")):
        expected = [expected_label(task, features, *at) for at in places(task, part)]
        assert split.num_examples == len(expected) == int(part[-3:])
        np.testing.assert_array_equal(split.read_labels(), expected)


@pytest.mark.parametrize("name", TOTALS)
def test_parts_are_those_of_the_published_percentages(data_dir, name):
    """TFDS cuts the real numbers of examples where task_adaptation's programs do."""
    splits = tfds.builder(name, data_dir=data_dir).info.splits
    [data] = {task.data for task in TASKS.values() if task.data.name == name}

    def cut(expression):
        return [
            (piece.filename, piece.skip, piece.examples_in_shard)
            for piece in splits[expression].file_instructions
        ]

    for part, which in (("val200", 0), ("test", 1)):
        split, start = start_of(name, which)
        stop = f"{start + 200}" if part == "val200" else ""
        assert cut(getattr(data, part)) == cut(f"{split}[{start}:{stop}]")
        number = splits[getattr(data, part)].num_examples
        assert number == data.expected_size(part)
    assert cut(data.train800) == cut("train[:800]")


def test_usual_sizes_come_from_the_set_or_its_images(data_dir):
    assert open_task("dsprites-xpos", data_dir).image_size == (64, 64)
    assert open_task("smallnorb-azimuth", data_dir).image_size == (96, 96)
    assert open_task("kitti-distance", data_dir).image_size == (9, 12)


def test_class_names(data_dir):
    assert open_task("dtd", data_dir).class_names[:2] == ("banded", "blotchy")
    assert open_task("eurosat", data_dir).class_names[0] == "AnnualCrop"
    assert open_task("kitti-distance", data_dir).class_names[3] == "no vehicle"


def test_everything_is_found(data_dir):
    rows = check_data(data_dir=data_dir)
    assert [row["dataset"] for row in rows] == list(TOTALS)
    assert {row["state"] for row in rows} == {"ready"}
    assert sum(len(row["tasks"]) for row in rows) == 19
    [clevr] = check_data([TASKS["clevr-distance"]], data_dir)
    assert clevr == {
        "dataset": "clevr",
        "tasks": ["clevr-distance"],
        "version": "3.1.0",
        "folder": str(data_dir / "clevr" / "3.1.0"),
        "state": "ready",
        "advice": "",
    }


def test_nothing_is_there(tmp_path):
    rows = {row["dataset"]: row for row in check_data(data_dir=tmp_path)}
    by_hand = {name for name, row in rows.items() if row["state"] == "by hand"}
    assert by_hand == {"resisc45", "diabetic_retinopathy_detection/btgraham-300"}
    for name in by_hand:
        assert tfds.builder(name).MANUAL_DOWNLOAD_INSTRUCTIONS
        assert "https://" in rows[name]["advice"]
    assert {row["state"] for row in rows.values()} == {"by hand", "download"}
    assert not list(tmp_path.iterdir())
    for name in TOTALS.keys() - by_hand:
        assert not tfds.builder(name).MANUAL_DOWNLOAD_INSTRUCTIONS


def change_lengths(folder, split, lengths):
    info = json.loads((folder / "dataset_info.json").read_text())
    [entry] = [entry for entry in info["splits"] if entry["name"] == split]
    entry["shardLengths"] = list(map(str, lengths))
    (folder / "dataset_info.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("task", "split", "lengths", "problem"),
    [
        ("clevr-count", "validation", [40], "validation of clevr/3.1.0 has 40 exampl"),
        ("clevr-count", "train", [800, 9, 9, 9], "there is no train.* in clevr/3.1.0"),
        ("smallnorb-azimuth", "test", [200, 300, 500], "test.50%:. of .* has 500 exa"),
    ],
)
def test_a_set_of_another_size(data_dir, tmp_path, task, split, lengths, problem):
    name = TASKS[task].data.name
    shutil.copytree(data_dir / name, tmp_path / name)
    [folder] = (tmp_path / name).iterdir()
    change_lengths(folder, split, lengths)
    with pytest.raises(InputError, match=f"{problem}.*; prepare the set anew"):
        open_task(task, tmp_path)
    [row] = check_data([TASKS[task]], tmp_path)
    assert row["state"] == "damaged"


def test_a_file_that_is_gone(data_dir, tmp_path):
    shutil.copytree(data_dir / "dtd", tmp_path / "dtd")
    (gone,) = (tmp_path / "dtd" / "3.0.1").glob("*-validation.*-00000-of-*")
    gone.unlink()
    with pytest.raises(InputError, match=f"the file {gone.name} is gone"):
        open_task("dtd", tmp_path)
    assert check_data([TASKS["dtd"]], tmp_path)[0]["state"] == "damaged"


def test_a_label_that_there_is_no_class_for(tmp_path):
    def negative(split, number, features):
        return {**clevr_facts(split, number, features), "objects": []}

    write_set(tmp_path, "clevr", negative)
    with pytest.raises(InputError, match="no labels"):
        open_task("clevr-count", tmp_path)


def test_the_version_of_the_published_code_comes_first(tmp_path):
    newest = write_set(tmp_path, "kitti", kitti_facts)
    [row] = check_data([TASKS["kitti-distance"]], tmp_path)
    assert row["version"] == newest.name != "3.1.0"
    write_set(tmp_path, "kitti", kitti_facts, version="3.1.0")
    [row] = check_data([TASKS["kitti-distance"]], tmp_path)
    assert row["version"] == "3.1.0"


def test_a_version_that_todays_tfds_does_not_make(data_dir, tmp_path):
    shutil.copytree(
        data_dir / "oxford_iiit_pet" / "4.0.0", tmp_path / "oxford_iiit_pet" / "3.2.0"
    )
    info = tmp_path / "oxford_iiit_pet" / "3.2.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("4.0.0", "3.2.0"))
    todays = tfds.builder_cls("oxford_iiit_pet")
    assert "3.2.0" not in (todays.VERSION, *todays.SUPPORTED_VERSIONS)
    assert open_task("oxford_iiit_pet", tmp_path).train.num_examples == 1000


def test_by_hand_and_without_a_network(tmp_path, monkeypatch):
    def fail(error):
        def download_and_prepare(*args, **kwargs):
            raise error

        monkeypatch.setattr(
            tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare
        )

    fail(AssertionError("Place it in downloads/manual."))
    with pytest.raises(InputError, match="resisc45 has to be downloaded by hand"):
        open_task("resisc45", tmp_path)
    fail(ConnectionError("no route"))
    with pytest.raises(RunError, match="dmlab is not in .*TFDS says: no route"):
        open_task("dmlab", tmp_path)
