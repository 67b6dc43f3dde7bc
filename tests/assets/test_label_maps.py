import pathlib

import pytest
import tensorflow_datasets as tfds

from bit_keras.assets.label_maps import (
    FOLDER,
    are_same_classes,
    find_label_map,
    imagenet21k,
    imagenet2012,
)


def test_ilsvrc_2012_is_in_the_order_of_tfds():
    file = "datasets/imagenet2012/labels.txt"
    labels = pathlib.Path(tfds.__file__).with_name(file.partition("/")[0])
    labels /= file.partition("/")[2]
    assert list(imagenet2012().ids) == labels.read_text().split()


@pytest.mark.parametrize(
    ("place", "synset", "name"),
    [  # As in Keras's imagenet_class_index.json, with spaces.
        (0, "n01440764", "tench"),
        (2, "n01484850", "great white shark"),
        (281, "n02123045", "tabby"),
        (388, "n02510455", "giant panda"),
        (850, "n04399382", "teddy"),
        (901, "n04579145", "whiskey jug"),
        # Of these Keras's names are twice there: crane, cardigan, maillot.
        (134, "n02012849", "crane (n02012849)"),
        (517, "n03126707", "crane (n03126707)"),
        (264, "n02113186", "Cardigan, Cardigan Welsh corgi"),
        (474, "n02963159", "cardigan"),
        (638, "n03710637", "maillot"),
        (639, "n03710721", "maillot, tank suit"),
    ],
)
def test_classes_of_ilsvrc_2012(place, synset, name):
    classes = imagenet2012()
    assert (classes.ids[place], classes.class_names[place]) == (synset, name)
    assert classes.places[synset] == place


def test_imagenet21k_has_the_two_classes_without_images_at_their_places():
    # Where transformers removes them from Google's list, to come to 21,841.
    ids = imagenet21k().ids
    assert len(ids) == 21843
    assert (ids[9205], ids[15027]) == ("n03931044", "n09859684")
    assert imagenet21k().lemmas[9205] == "picture, image, icon, ikon"
    assert list(ids) == sorted(ids)
    assert set(imagenet2012().ids) - set(ids) == {"n04399382"}


@pytest.mark.parametrize("make", [imagenet2012, imagenet21k])
def test_every_class_has_a_name_of_its_own(make):
    names = make().class_names
    assert len({name.casefold() for name in names}) == len(set(make().ids))
    assert not any("\n" in name or name != name.strip() for name in names)
    words = zip(names, make().lemmas, strict=True)
    assert all(name.startswith(first.split(", ")[0]) for name, first in words)


def test_names_and_ids_are_the_same_classes():
    classes = imagenet2012()
    assert are_same_classes(list(classes.class_names), classes.ids)
    assert find_label_map(classes.ids[::-1]) is None
    assert not are_same_classes(classes.class_names, classes.ids[::-1])
    assert not are_same_classes(classes.ids, imagenet21k().ids)
    assert are_same_classes(["a", "b"], ("a", "b"))
    assert not are_same_classes(["a", "b"], ["b", "a"])


def test_the_files_are_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 500_000
