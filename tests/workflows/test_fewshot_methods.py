"""Subsets of a few examples, read once."""

import dataclasses

import numpy as np
import tensorflow as tf

from bit_keras.data.sources import open_source
from bit_keras.workflows.fewshot_methods import FewShotSet


def make_source(decoded):
    """Returns a set whose images tell their number, and which notes what is decoded."""
    numbers = np.arange(40)
    images = np.broadcast_to(numbers[:, None, None, None], (40, 8, 8, 3))
    arrays = images.astype(np.uint8), numbers % 4
    source = open_source((arrays, arrays))
    plain = source.train

    def load(number):
        tf.py_function(lambda n: decoded.append(int(n)), [number], [])
        return plain.load(number)

    train = dataclasses.replace(plain, load=load, is_in_memory=False, image_size=None)
    return dataclasses.replace(source, train=train)


def read(data, *draw):
    images = data.subset(*draw).train.images()
    return [(int(image[0, 0, 0]), int(label)) for image, label in images]


def test_subsets_are_the_same_where_all_images_are_read_once():
    decoded = []
    once = FewShotSet(make_source(decoded), draws=((5, 0), (5, 1)))
    subsets = {
        (count, seed): read(once, count, seed) for count in (1, 5) for seed in (0, 1)
    }
    assert sorted(decoded) == list(once.drawn)
    each = FewShotSet(make_source([]))
    for draw, images in subsets.items():
        assert images == read(each, *draw)
        assert [number for number, _ in images] == list(each.draw(*draw))
