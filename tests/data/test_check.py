import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from image_folders import contents, numbered, write_images

from bit_keras.data.check import check_images
from bit_keras.data.load import load_dataset
from bit_keras.data.sources import open_source
from bit_keras.data.splits import StreamedSplit
from bit_keras.errors import InputError
from bit_keras.recipes.hyperrule import HyperRule

DAMAGED = b"\x89PNG\r\n\x1a\n and no more"


@pytest.fixture
def folder(tmp_path):
    """A source of six and two training images of two classes, and four test images."""
    names = numbered("train/a", 6) + numbered("train/b", 2)
    names += numbered("test/a", 2) + numbered("test/b", 2)
    write_images(tmp_path, names)
    return tmp_path, open_source(tmp_path)


def check(source, max_bad_images=0):
    return check_images(source, max_bad_images, progress=False)


def test_a_set_without_bad_images_stays_as_it_is(folder):
    assert check(folder[1]) is folder[1]


def test_bad_images_are_left_out_with_a_warning(folder):
    path, source = folder
    (path / "train/a/1.png").write_bytes(b"")
    (path / "train/a/4.png").write_bytes(b"notes")
    (path / "test/b/0.png").write_bytes(DAMAGED)
    message = (
        r"3 of 12 images cannot be used: .*train/a/1.png \(an empty file\), .*a/4.png "
        r"\(no such format\), .*test/b/0.png \(damaged or cut off\); they are left out"
    )
    with pytest.warns(UserWarning, match=message):
        good = check(source, 3)
    assert contents(good.train) == [(0, 0), (2, 0), (3, 0), (5, 0), (6, 1), (7, 1)]
    assert contents(good.test) == [(8, 0), (9, 0), (11, 1)]
    names = [name.rsplit("/", 2)[1:] for name in good.train.paths]
    assert names[:3] == [["a", "0.png"], ["a", "2.png"], ["a", "3.png"]]
    assert good.train.num_examples == 6
    assert check(good) is good
    train, test = load_dataset(good, HyperRule(4, 6, 6, batch_size=6, crop=4))
    assert next(iter(train))[1].numpy().sum(axis=0).tolist() == [4, 2]
    assert next(iter(test))[2].numpy().sum() == 3


def test_too_many_bad_images_are_an_error_with_the_first_names(folder):
    path, source = folder
    for number in range(5):
        (path / f"train/a/{number}.png").write_bytes(b"")
    message = (
        r"^5 of 12 images cannot be used: .*0.png \(an empty file\), .*1.png .*2.png "
        r"\(an empty file\), \.\.\.; .*`max_bad_images`. Received: 4$"
    )
    with pytest.raises(InputError, match=message):
        check(source, 4)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_loses_all_its_images_is_an_error(folder, split):
    path, source = folder
    for number in range(2):
        (path / f"{split}/b/{number}.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="2 of 12"),
        pytest.raises(InputError, match=f"All {split} images of class `b` are bad"),
    ):
        check(source, 10)


def test_a_file_that_is_gone_is_bad(folder):
    path, source = folder
    (path / "train/a/1.png").unlink()
    with pytest.raises(InputError, match=r"1.png \(No such file or directory\);"):
        check(source)


def test_a_set_can_be_opened_with_bad_images_in_it(tmp_path):
    names = write_images(tmp_path, numbered("a", 4) + numbered("b", 4))
    for name in list(names)[:3]:
        (tmp_path / name).write_bytes(DAMAGED)
    assert open_source(tmp_path).image_size == (4, 6)


def streamed(contents, labels):
    """Encoded images that can only be read one after another, as those of TFDS."""
    records = {"content": contents, "label": labels, "number": np.arange(len(labels))}
    return StreamedSplit(
        num_examples=len(labels),
        records=tf.data.Dataset.from_tensor_slices(records),
        load=lambda content: tf.io.decode_png(content, 3),
        name="split train",
        record_bytes=100,
        is_encoded=True,
    )


def streamed_source(bad=(), labels=(0, 0, 0, 1, 1)):
    images = [np.full((2, 3, 3), number, np.uint8) for number in range(5)]
    files = [tf.io.encode_png(image).numpy() for image in images]
    for number in bad:
        files[number] = files[number][:40]
    split = streamed(files, np.int64(labels))
    source = open_source(((np.stack(images), [0, 1, 1, 1, 1]),) * 2)
    return dataclasses.replace(source, train=split)


def test_images_of_records_are_named_by_number():
    message = r"2 of 10 images .*: example 1 of split train \(damaged or cut off\), ex"
    with pytest.raises(InputError, match=message):
        check(streamed_source(bad=(1, 3)), 1)
    with pytest.warns(UserWarning, match=message):
        good = check(streamed_source(bad=(1, 3)), 2)
    assert contents(good.train) == [(0, 0), (2, 0), (4, 1)]
    assert [name for name, *_ in good.train.encoded()] == [
        f"example {number} of split train" for number in (0, 2, 4)
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, 0, 2, 1, 1), "0 to 1 for 2 classes. Received: 0 to 2"),
        ((0, 0, -1, 1, 1), "Received: -1 to 1"),
        ((1, 1, 1, 1, 1), "two or more classes. Received: only `1`"),
    ],
)
def test_labels_of_records_are_looked_at_on_the_way(labels, message):
    with pytest.raises(InputError, match=message):
        check(streamed_source(labels=labels))


def test_a_bad_record_that_was_not_looked_for_is_named_in_training():
    recipe = HyperRule(2, 3, 5, batch_size=5, crop=2)
    with pytest.raises(InputError, match="example 2 of split train is damaged"):
        load_dataset(streamed_source(bad=(2,)), recipe)


def test_pixels_are_not_looked_at():
    images = np.zeros((2, 3, 3, 3), np.uint8)
    source = open_source(((images, [0, 1]), (images, [0, 1])))
    assert check(source) is source


@pytest.mark.parametrize("number", [-1, 0.5, None])
def test_an_impossible_number_of_bad_images_is_refused(folder, number):
    with pytest.raises(InputError, match=f"`max_bad_images` .*Received: {number}"):
        check(folder[1], number)


def test_the_progress_bar_counts_images_beside_the_output(folder, capsys):
    check_images(folder[1])
    shown = capsys.readouterr()
    assert shown.out == "" and "12.0/12.0" in shown.err
