import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from image_folders import contents, numbered, write_images
from PIL import Image

from bit_keras.assets import doodles_folder
from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError, RunError


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


def test_classes_of_arrays_can_be_named():
    train, test = arrays(labels=(0, 0, 2, 2)), (arrays()[0][:1], np.array([1]))
    source = open_source((train, test), class_names=["ant", "bee", "cat"])
    assert source.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ((0, 1, 2, 1), ["a", "b"], "0 to 1 for 2 classes. Received: 0 to 2"),
        ((0, 1, -1, 1), ["a", "b"], "0 to 1 for 2 classes. Received: -1 to 1"),
        ((1, 1, 1, 1), ["a", "b"], "two or more classes. Received: only `b`"),
        ((0, 1, 1, 1), ["a", "a"], "name of its own. Received: a, a"),
    ],
)
def test_names_and_labels_must_fit(labels, names, message):
    data = arrays(labels=labels)
    with pytest.raises(InputError, match=message):
        open_source((data, (data[0][:1], data[1][:1])), class_names=names)


def test_only_what_has_no_names_can_be_given_some():
    with pytest.raises(InputError, match="bring their own. Received: names for dood"):
        open_source("doodles", class_names=["a"] * 20)


def as_dataset(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels))


@pytest.mark.parametrize("channels", [1, 3])
def test_datasets_of_single_examples_are_taken(channels):
    images, labels = arrays(channels)
    train = as_dataset(images, labels.astype(np.uint8))
    source = open_source((train, train.filter(lambda image, label: label == 0)))
    assert (source.class_names, source.image_size) == (("0", "1", "2"), (5, 6))
    assert (source.train.num_examples, source.test.num_examples) == (4, 2)
    actual = list(source.train.images())
    expected = np.broadcast_to(images, (4, 5, 6, 3))
    np.testing.assert_array_equal([image for image, _ in actual], expected)
    assert [int(label) for _, label in actual] == [0, 1, 2, 0]
    assert source.train.read_labels().tolist() == [0, 1, 2, 0]


def test_datasets_of_images_of_several_sizes_are_taken():
    def examples():
        for side in (3, 4, 9):
            yield np.full((side, side + 1, 3), side, np.uint8), side % 2

    spec = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32)
    dataset = tf.data.Dataset.from_generator(examples, output_signature=spec)
    source = open_source((dataset, dataset), class_names=["even", "odd"])
    assert source.class_names == ("even", "odd") and source.image_size == (4, 5)
    assert contents(source.test) == [(3, 1), (4, 0), (9, 1)]


IMAGES, LABELS = arrays()
UNKNOWN = tf.data.Dataset.from_generator(
    lambda: iter(()), output_types=(tf.uint8, tf.int64)
)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (as_dataset(IMAGES, LABELS).batch(2), r"one by one; call unbatch\(\)"),
        (as_dataset(IMAGES, LABELS).repeat(), r"without end; give it without repeat"),
        (as_dataset(IMAGES, LABELS).take(0), "train set has no examples"),
        (as_dataset(IMAGES / 255, LABELS), r"tf.cast\(image, tf.uint8\).*float64"),
        (as_dataset(IMAGES[..., :2], LABELS), r"Images of .*uint8 \(5, 6, 2\)"),
        (as_dataset(IMAGES[..., 0], LABELS), r"Images of .*uint8 \(5, 6\)"),
        (as_dataset(IMAGES, np.eye(4)), "tf.argmax of one-hot labels.*float64 .4"),
        (as_dataset(IMAGES, LABELS / 1), r"Labels of .*float64 \(\)"),
        (as_dataset(IMAGES, LABELS * 0), "two or more classes. Received: 0 to 0"),
        (as_dataset(IMAGES, LABELS + 1), "Class 0 has no training image"),
        (as_dataset(IMAGES, LABELS - 1), "Received: -1 to 1"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), "must give .image, label., an"),
        (UNKNOWN, "tf.ensure_shape"),
    ],
)
def test_datasets_that_one_cannot_learn_from(dataset, message):
    with pytest.raises(InputError, match=message):
        open_source((dataset, dataset))


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
        for name in (
            *("tested", "validated", "train_only", "unlabelled", "secret"),
            *("test_only", "single"),
        )
    ]

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 1))}
        if self.builder_config.name != "unlabelled":
            names = ["low", "high"]
            if self.builder_config.name == "single":
                names = ["all"]
            features["label"] = tfds.features.ClassLabel(names=names)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        second = {"tested": "test", "secret": "test", "validated": "validation"}
        first = "test" if self.builder_config.name == "test_only" else "train"
        splits = {first: self._generate_examples(range(10))}
        if self.builder_config.name in second:
            splits[second[self.builder_config.name]] = self._generate_examples((10, 11))
        return splits

    def _generate_examples(self, numbers):
        for number in numbers:
            example = {"image": np.full((3, 4, 1), number, np.uint8)}
            if self.builder_config.name != "unlabelled":
                is_secret = self.builder_config.name == "secret" and number > 9
                example["label"] = -1 if is_secret else number % 2
                if self.builder_config.name == "single":
                    example["label"] = 0
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
        ("squares/test_only", {}, "no split to train on; give train_split and test_s"),
        ("squares/single", {}, "has a single class; .* Received: all"),
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


class ByHand(tfds.core.GeneratorBasedBuilder):
    """Two photographs, one of them turned, that one has to download by hand."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask the authors for photographs,
    and put them in.
    """

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["low", "high"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        files = dl_manager.manual_dir
        return {name: self._generate_examples(files) for name in ("train", "test")}

    def _generate_examples(self, files):
        for number, path in enumerate(sorted(files.iterdir())):
            yield number, {"image": path, "label": number}


def test_what_has_to_be_downloaded_by_hand_is_said_in_one_sentence(tmp_path):
    with pytest.raises(InputError) as raised:
        open_source("by_hand", data_dir=tmp_path)
    message = str(raised.value)
    assert "by hand; give the folder that holds its files as manual_dir" in message
    assert f"{tmp_path}/downloads/manual does not exist or is empty" in message
    assert "\n" not in message
    assert message.endswith("Ask the authors for photographs, and put them in.")
    assert message.count("Ask the authors") == 1


def test_a_set_that_was_downloaded_by_hand(tmp_path):
    """Photographs in it are not turned, for those of published results were not."""
    by_hand = tmp_path / "files"
    by_hand.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("a.jpg", {}), ("b.jpg", {"exif": exif})):
        Image.new("RGB", (8, 16)).save(by_hand / name, **options)
    source = open_source("by_hand", data_dir=tmp_path, manual_dir=by_hand)
    assert [image.shape for image, _ in source.train.images()] == [(16, 8, 3)] * 2
    folder = tmp_path / "folder"
    for part in ("train", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
            (folder / part / name / "1.jpg").write_bytes(
                (by_hand / f"{name}.jpg").read_bytes()
            )
    shapes = [image.shape for image, _ in open_source(folder).train.images()]
    assert shapes == [(16, 8, 3), (8, 16, 3)]


def test_tfds_records_tell_their_number_and_their_bytes(tfds_folder):
    split = open_source("squares/tested", data_dir=tfds_folder).train
    names, reads, labels = zip(*split.encoded(), strict=True)
    assert names == tuple(f"example {number} of split train" for number in range(10))
    decoded = [int(tf.io.decode_png(read())[0, 0, 0]) for read in reads]
    assert list(zip(decoded, labels, strict=True)) == contents(split)
    assert split.read_labels().tolist() == list(labels)


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
