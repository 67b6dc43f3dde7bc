"""The weights that come with the package."""

import dataclasses
import hashlib
import pathlib

import keras
import numpy as np
import recipes
import sets
import tensorflow as tf

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.assets.label_maps import cifar10_quickdraw300, find_label_map
from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.export.families import MINIATURE
from bit_keras.models.presets import get_preset

PRESET = get_preset("bit_t_r26x05")


def test_the_file_is_the_one_of_the_card():
    contents = PRESET.fetch().read_bytes()
    assert hashlib.sha256(contents).hexdigest() == PRESET.sha256
    card = pathlib.Path(__file__).parents[2] / "exports" / "t-r26x05" / "README.md"
    assert PRESET.sha256 in card.read_text()
    assert len(contents) < 8e6
    checkpoint = read_checkpoint(PRESET.fetch())
    assert checkpoint.architecture == PRESET.architecture
    assert {array.dtype for _, array in checkpoint.tensors()} == {np.dtype("float16")}


def test_the_recipe_of_the_card_is_that_of_the_program():
    row = dataclasses.replace(recipes.UPSTREAM["L"], epochs=100)
    assert row.recipe(74_000) == MINIATURE


def test_classes_have_names():
    label_map = cifar10_quickdraw300()
    assert len(label_map.ids) == PRESET.architecture.num_classes
    assert find_label_map(label_map.ids) is label_map
    assert find_label_map(PRESET.class_names) is label_map
    assert label_map.ids[3] == "cifar10/cat"
    held_out = sets.held_out()
    drawn = tuple(name for name in sets.DRAWN if name not in held_out)
    assert label_map.ids[10:] == tuple(f"quickdraw/{name}" for name in drawn)
    assert label_map.lemmas[10:] == drawn and len(drawn) == 300


def test_no_doodle_was_seen_upstream():
    doodles = {path.name for path in (doodles_folder() / "train").iterdir()}
    drawn = {name.partition("/")[2] for name in cifar10_quickdraw300().ids[10:]}
    assert not doodles & drawn


def test_features_of_doodles_tell_their_classes():
    """With one prototype a class, of five drawings; by chance 1 in 20 is right."""
    model = bit_keras.BiTClassifier.from_preset(PRESET.name, num_classes=0)

    def features(part, count):
        folders = sorted((doodles_folder() / part).iterdir())
        files = [path for each in folders for path in sorted(each.iterdir())[:count]]
        images = [tf.io.decode_png(path.read_bytes(), channels=3) for path in files]
        pixels = tf.image.resize(images, (64, 64)) / 127.5 - 1
        found = keras.utils.normalize(model.predict(pixels, verbose=0))
        return found.reshape(len(folders), count, -1)

    prototypes = features("train", 5).mean(axis=1)
    answers = (features("test", 10) @ prototypes.T).argmax(axis=-1)
    accuracy = np.mean(answers == np.arange(20)[:, np.newaxis])
    assert accuracy > 0.6
