import numpy as np
import pytest
import tensorflow as tf
from data.variant_sets import write_set
from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

from bit_keras.assets.label_maps import classes_of, imagenet2012, objectnet
from bit_keras.data.imagenet_variants import find_variant, open_variant
from bit_keras.errors import InputError

LABELS = [6, 11, 988]
IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 34, 33, 3)).astype("uint8"))


def read(variant):
    """Returns the images and the right classes of a set."""
    examples = [variant.source.test.decode(r) for r in variant.source.test.ordered()]
    images, labels = zip(*examples, strict=True)
    return images, [np.flatnonzero(variant.targets(label)).tolist() for label in labels]


@pytest.mark.parametrize(
    ("dataset", "written"),
    [
        ("imagenet_v2", "imagenet_v2/matched-frequency"),
        ("imagenet_v2/topimages", "imagenet_v2/topimages"),
        ("imagenet_v2/threshold-0.7:2.0.0", "imagenet_v2/threshold-0.7:2.0.0"),
        ("imagenet_sketch", "imagenet_sketch"),
        ("imagenet_a", "imagenet_a"),
        ("imagenet_r", "imagenet_r"),
    ],
)
def test_sets_with_one_right_class(tmp_path, dataset, written):
    write_set(tmp_path, written, "test", IMAGES, label=LABELS)
    variant = open_variant(dataset, tmp_path)
    images, right = read(variant)
    assert right == [[label] for label in LABELS]
    for image, expected in zip(images, IMAGES, strict=True):
        np.testing.assert_array_equal(image, expected)
    assert variant.source.train is None
    name = find_variant(dataset)
    if name in ("imagenet_a", "imagenet_r"):
        ids = imagenet_common.label_names_file()
        ids = tf.io.gfile.GFile(ids).read().split()
        assert [ids[place] for place in variant.among] == list(classes_of(name))
        assert len(variant.rows) == len(set(variant.among)) == 200
        assert variant.source.num_classes == 200
    else:
        assert variant.among is None and variant.rows is None
        assert variant.source.class_names == imagenet2012().class_names


@pytest.mark.parametrize(
    ("name", "ends", "sums"),
    [
        ("imagenet_a", [6, 11, 987, 988], (102_178, 69_725_368)),
        ("imagenet_r", [1, 2, 983, 988], (86_135, 54_436_113)),
    ],
)
def test_the_200_classes_are_those_of_the_published_lists(name, ends, sums):
    """Ends, sum and sum of squares of the lists of robustness_metrics (Google)."""
    places = np.array([imagenet2012().places[synset] for synset in classes_of(name)])
    assert [*places[:2], *places[-2:]] == ends
    assert (places.sum(), (places**2).sum()) == sums


def test_real_has_several_right_classes_or_none(tmp_path):
    listed = [[970, 795], [], [3]]
    write_set(
        tmp_path,
        "imagenet2012_real",
        "validation",
        IMAGES,
        original_label=LABELS,
        real_label=listed,
    )
    variant = open_variant("imagenet2012_real", tmp_path)
    _, right = read(variant)
    assert right == [[795, 970], [], [3]]
    assert len(variant.rows) == 1000 and variant.among is None


def write_objectnet(folder, names, side=36):
    """Writes an image with a red border for each name; returns what is inside."""
    inside = {}
    for number, name in enumerate(names):
        image = np.zeros((side, side, 3), np.uint8)
        image[...] = (255, 0, 0)
        random = np.random.default_rng(number)
        inside[name] = random.integers(0, 256, (side - 4, side - 4, 3), np.uint8)
        image[2:-2, 2:-2] = inside[name]
        path = folder / "images" / name / "0a1b2c3d.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return inside


@pytest.mark.parametrize("given", ["objectnet-1.0", ".", "objectnet-1.0/images"])
def test_objectnet_counts_what_ilsvrc_2012_has_without_the_border(tmp_path, given):
    names = ["air_freshener", "chair", "t-shirt", "alarm_clock"]
    inside = write_objectnet(tmp_path / "objectnet-1.0", names)
    with pytest.warns(UserWarning, match="Of the 113 classes .* 3 are in"):
        variant = open_variant("objectnet", tmp_path / given)
    images, right = read(variant)
    assert variant.source.class_names == ("alarm_clock", "chair", "t-shirt")
    assert right == [[409, 530], [423, 559, 765], [610]]
    for image, name in zip(images, variant.source.class_names, strict=True):
        np.testing.assert_array_equal(image, inside[name])


def test_the_table_of_objectnet():
    table, places = objectnet(), imagenet2012().places
    assert len(table) == 113
    ids = [synset for row in table.values() for synset in row]
    # No class of ILSVRC-2012 is of two of them: an answer tells the object.
    assert len(ids) == len(set(ids)) == 125
    words = imagenet2012().lemmas
    # As in the authors' folder_to_imagenet_1k.json.
    for folder, expected in {
        "bicycle": ["mountain bike, all-terrain bike, off-roader"]
        + ["bicycle-built-for-two, tandem bicycle, tandem"],
        "skirt": ["hoopskirt, crinoline", "miniskirt, mini", "overskirt"],
        "wok": ["wok"],
        "pop_can": ["pop bottle, soda bottle"],
    }.items():
        assert [words[places[synset]] for synset in table[folder]] == expected


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("objectnet", "not among TFDS's sets; .* Received: "),
        ("imagenet_v2/best", "imagenet_v2/best"),
        ("imagenet_a:7.0.0", "no version 7.0.0 of imagenet_a"),
    ],
)
def test_sets_that_are_not_there(tmp_path, dataset, message):
    with pytest.raises(InputError, match=message):
        open_variant(dataset, tmp_path)


def test_other_names_are_none_of_them(tmp_path):
    assert find_variant("imagenet_v2/topimages:3.0.0") == "imagenet_v2"
    for dataset in ("cifar10", "imagenet2012", "imagenet_a_b", None, ([], []), ""):
        assert find_variant(dataset) is None


def test_a_set_with_other_classes(tmp_path):
    folder = write_set(tmp_path, "imagenet_a", "test", IMAGES, label=LABELS)
    names = folder / "label.labels.txt"
    names.write_text("\n".join(reversed(names.read_text().split())) + "\n")
    with pytest.raises(InputError, match="in the order of their WordNet ids"):
        open_variant("imagenet_a", tmp_path)
