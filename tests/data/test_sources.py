import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras.assets import doodles_folder
from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError, RunError


def write_images(folder, names, height=4, width=6):
    """Writes a PNG of one colour for each name, and returns the colours by name."""
    colours = {}
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((height, width, 3), number, np.uint8)
        path.write_bytes(tf.io.encode_png(image).numpy())
        colours[name] = number
    return colours


def contents(split):
    """The (colour, label) of every image."""
    return [(int(image[0, 0, 0]), int(label)) for image, label in split.images()]


def numbered(folder, count):
    return [f"{folder}/{number}.png" for number in range(count)]


def test_a_folder_of_classes_is_divided_class_by_class(tmp_path):
    names = numbered("dog", 10) + numbered("cat", 5) + numbered("ant", 2)
    colours = write_images(tmp_path, names)
    source = open_source(str(tmp_path), test_fraction=0.2)
    assert source.class_names == ("ant", "cat", "dog")
    assert source.name == tmp_path.name
    assert source.image_size == (4, 6)
    train, test = contents(source.train), contents(source.test)
    assert (source.train.num_examples, source.test.num_examples) == (13, 4)
    assert sorted([*train, *test]) == sorted(
        (colours[name], source.class_names.index(name.split("/")[0])) for name in names
    )
    assert np.bincount([label for _, label in test]).tolist() == [1, 1, 2]
    again = open_source(tmp_path, test_fraction=0.2)
    assert again.train.paths == source.train.paths
    assert again.test.paths == source.test.paths
    others = [open_source(tmp_path, seed=seed).test.paths for seed in range(1, 6)]
    assert any(paths != source.test.paths for paths in others)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_a_folder_with_its_own_split_is_taken_as_it_is(tmp_path, name):
    files = [
        "train/a/1.png",
        "train/b/deep/2.PNG",
        f"{name}/a/3.png",
        f"{name}/b/4.png",
    ]
    write_images(tmp_path, [*files, "train/.git/5.png", "train/a/.6.png"])
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    source = open_source(tmp_path)
    assert contents(source.train) == [(0, 0), (1, 1)]
    assert contents(source.test) == [(2, 0), (3, 1)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "two or more classes.*Received: no sub-folder"),
        (["a/1.png"], "two or more classes.*Received: a sub-folder"),
        (["a/1.png", "a/2.png", "b/1.png"], "Class `b` has one image"),
        (["a/1.png", "b/1.png", "empty/x.txt"], "empty holds no image"),
        (
            ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"],
            "`train` and `test` must hold the same classes; `b` is in one",
        ),
    ],
)
def test_folders_that_one_cannot_learn_from(tmp_path, names, message):
    write_images(tmp_path, names)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path)


def test_a_damaged_file_is_named_at_once_or_when_it_is_read(tmp_path):
    names = numbered("a", 4) + numbered("b", 4)
    write_images(tmp_path, names)
    source = open_source(tmp_path)
    (tmp_path / "a" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    splits = (source.train, source.test)
    with (
        pytest.raises(InputError, match="2.png is damaged"),
        naming_unreadable(*splits),
    ):
        for split in splits:
            contents(split)
    for name in names:
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(InputError, match="png is damaged"):
        open_source(tmp_path)


def test_an_error_of_another_kind_stays_what_it_is():
    with pytest.raises(tf.errors.InvalidArgumentError), naming_unreadable():
        tf.debugging.assert_equal(1, 2)


def arrays(channels=3, labels=(0, 1, 2, 0)):
    images = np.arange(4 * 5 * 6 * channels, dtype=np.uint8)
    images = images.reshape(4, 5, 6, channels)
    return images, np.array(labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_taken_as_they_are(channels):
    images, labels = arrays(channels)
    source = open_source(((images, labels), (images[:2], labels[:2])))
    assert source.class_names == ("0", "1", "2")
    assert source.image_size == (5, 6)
    actual = list(source.train.images())
    assert [int(label) for _, label in actual] == [0, 1, 2, 0]
    expected = np.broadcast_to(images, (4, 5, 6, 3))
    np.testing.assert_array_equal([image for image, _ in actual], expected)
    assert source.test.num_examples == 2


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((arrays()[0] / 255, arrays()[1]), "must be uint8 of shape.*float64"),
        ((arrays()[0][0, 0], arrays()[1]), r"must be uint8 of shape.*\(6, 3\)"),
        ((arrays()[0], arrays()[1][:3]), r"integer for each of 4 images.*\(3,\)"),
        ((arrays()[0], np.eye(4)), "integer for each of 4 images"),
        (arrays(labels=(0, 0, 2, 2)), "Class 1 has no training image"),
        (arrays(labels=(-1, 0, 1, 2)), "Received: -1 to 2"),
        (arrays(labels=(0, 0, 0, 0)), "two or more classes. Received: 0 to 0"),
        ((arrays()[0][:0], arrays()[1][:0]), r"no images. Received: shape \(0, 5"),
    ],
)
def test_arrays_that_one_cannot_learn_from(train, message):
    test = (arrays()[0][:1], np.array([0]))
    with pytest.raises(InputError, match=message):
        open_source((train, test))


@pytest.mark.parametrize(
    ("label", "message"),
    [(3, "Class 3 has no training image"), (-1, "Received: -1 to 2")],
)
def test_labels_of_the_test_images_are_looked_at_too(label, message):
    test = (arrays()[0][:1], np.array([label]))
    with pytest.raises(InputError, match=message):
        open_source((arrays(), test))


@pytest.mark.parametrize("dataset", [3, None, tf.data.Dataset.range(3)])
def test_something_that_is_no_set_is_refused(dataset):
    with pytest.raises(InputError, match="Received: (int|NoneType|_RangeDataset)"):
        open_source(dataset)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20, float("nan")])
def test_an_impossible_share_of_test_images_is_refused(fraction):
    with pytest.raises(InputError, match="`test_fraction` must lie between 0 and 1"):
        open_source("doodles", test_fraction=fraction)


def test_arrays_of_keras_datasets_are_taken():
    """CIFAR's labels come as a column, MNIST's images without channels."""
    images, labels = arrays(1)
    part = images[..., 0], labels[:, np.newaxis]
    source = open_source((part, part))
    (first, label), *_ = source.train.images()
    np.testing.assert_array_equal(first, np.repeat(images[0], 3, axis=-1))
    assert label.shape == () and source.num_classes == 3


def test_an_empty_name_is_refused():
    with pytest.raises(InputError, match="Received: str ''"):
        open_source("")


def test_a_list_of_something_else_is_refused():
    with pytest.raises(
        InputError, match="Arrays must be given as.*Received: a list of 3 parts"
    ):
        open_source([1, 2, 3])


class Squares(tfds.core.GeneratorBasedBuilder):
    """Twelve images of one colour."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name)
        for name in ("tested", "validated", "train_only", "unlabelled", "secret")
    ]

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 1))}
        if self.builder_config.name != "unlabelled":
            features["label"] = tfds.features.ClassLabel(names=["low", "high"])
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        second = {"tested": "test", "secret": "test", "validated": "validation"}
        splits = {"train": self._generate_examples(range(10))}
        if self.builder_config.name in second:
            splits[second[self.builder_config.name]] = self._generate_examples((10, 11))
        return splits

    def _generate_examples(self, numbers):
        for number in numbers:
            example = {"image": np.full((3, 4, 1), number, np.uint8)}
            if self.builder_config.name != "unlabelled":
                is_secret = self.builder_config.name == "secret" and number > 9
                example["label"] = -1 if is_secret else number % 2
            yield number, example


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for config in Squares.BUILDER_CONFIGS:
        Squares(config=config.name, data_dir=folder).download_and_prepare()
    return folder


def parity_of(numbers):
    return sorted((number, number % 2) for number in numbers)


@pytest.mark.parametrize(
    ("config", "train", "test"),
    [
        ("tested", range(10), (10, 11)),
        ("validated", range(10), (10, 11)),
        ("train_only", None, None),
    ],
)
def test_a_tfds_set_by_name(tfds_folder, config, train, test):
    source = open_source(f"squares/{config}", data_dir=tfds_folder)
    assert source.class_names == ("low", "high")
    assert source.image_size == (3, 4)
    actual = contents(source.train), contents(source.test)
    if train is None:
        assert [len(part) for part in actual] == [8, 2]
        assert sorted([*actual[0], *actual[1]]) == parity_of(range(10))
    else:
        assert sorted(actual[0]) == parity_of(train)
        assert sorted(actual[1]) == parity_of(test)


def test_tfds_splits_by_name(tfds_folder):
    source = open_source(
        "squares/tested",
        data_dir=tfds_folder,
        train_split="train[:4]",
        test_split="train[4:7]",
    )
    assert len(contents(source.train)) == source.train.num_examples == 4
    assert len(contents(source.test)) == source.test.num_examples == 3


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("squares/unlabelled", {}, "class label each.*Received: features image"),
        ("squares/tested", {"test_split": "dev"}, "no split dev; it has"),
        ("squares/tested", {"train_split": "train[5:2]"}, r"train\[5:2\] .* is empty"),
        ("squares/secret", {}, "Split test of the TFDS set squares has no labels"),
        ("squares/train_only", {"train_split": "train[:5]"}, "give test_split beside"),
        ("squares/tested", {"test_split": "train[5:]"}, "serves for both"),
        ("squares/other", {}, "squares/other cannot be opened. TFDS says: .*other"),
        ("squares:9.9.9", {}, "squares:9.9.9 cannot be opened. TFDS says: .*9.9.9"),
        ("no/such/folder", {}, "no/such/folder is neither a folder nor"),
        ("no_such_set", {}, "no_such_set is neither a folder nor the name of a TFDS"),
    ],
)
def test_tfds_sets_that_cannot_be_used(tfds_folder, name, splits, message):
    with pytest.raises(InputError, match=message):
        open_source(name, data_dir=tfds_folder, **splits)


def test_a_tfds_folder_in_the_home_folder(tfds_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tfds_folder.parent))
    source = open_source("squares/tested", data_dir=f"~/{tfds_folder.name}")
    assert source.train.num_examples == 10
    assert not list(tmp_path.iterdir()), "prepared anew, in a folder called ~"


def test_what_tfds_prints_is_kept_out_of_the_results(tmp_path, capsys):
    open_source("squares/tested", data_dir=tmp_path)
    printed = capsys.readouterr()
    assert printed.out == "" and "Downloading and preparing" in printed.err


def test_a_tfds_set_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def offline(self, *args, **kwargs):
        raise ConnectionError("Failed to resolve host\nmore of it")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(RunError, match="not in .* TFDS says: Failed to resolve host$"):
        open_source("mnist", data_dir=tmp_path)


def test_the_bundled_doodles():
    source = open_source("doodles")
    assert (source.name, source.num_classes) == ("doodles", 20)
    assert (source.train.num_examples, source.test.num_examples) == (800, 400)
    assert source.image_size == (28, 28)
    for split, count in ((source.train, 40), (source.test, 20)):
        labels = [int(label) for _, label in split.images()]
        assert np.bincount(labels).tolist() == [count] * 20
    assert not set(source.train.paths) & set(source.test.paths)
    files = [path for path in doodles_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1e6
    text = (doodles_folder() / "README.md").read_text()
    assert "Attribution 4.0" in text and "Quick, Draw!" in text


def test_a_source_is_returned_as_it_is():
    source = dataclasses.replace(open_source("doodles"), name="mine")
    assert open_source(source) is source
