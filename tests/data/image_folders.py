"""Folders of small images."""

import numpy as np
import tensorflow as tf


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
    """Names of as many images in a folder."""
    return [f"{folder}/{number}.png" for number in range(count)]
