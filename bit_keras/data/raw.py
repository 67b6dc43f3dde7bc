"""Batches of images as they are decoded, which the device resizes, cuts and mixes.

A small image is resized to many times its bytes, which would then be computed by the
processor and copied to the device. So the pixels are sent as they are, with the places
that were drawn for each image. What a network sees is the same, but for the rounding of
sums.
"""

import typing

import tensorflow as tf

from bit_keras.data import preprocess
from bit_keras.data.mixup import draw_mixing, mixed, weighted
from bit_keras.errors import InputError


class RawImages(typing.NamedTuple):
    """Images of one size, or one of them, and what is to be done with each.

    A tuple, since a data set that copies to a device takes no other structure.

    Args:
        pixels: uint8 `(batch, height, width, 3)`.
        rows: float32 `(batch, crop)`: for each row of the result its place between the
            rows of the image, 0 at the first one.
        columns: float32 `(batch, crop)`, likewise.
        mixing: Proportion and partners as of `mixup.draw_mixing`, or those of
            `with_partners`; `()` for none.
    """

    pixels: tf.Tensor
    rows: tf.Tensor
    columns: tf.Tensor
    mixing: tuple = ()


def train_images(images, resize_to, crop, seeds, cropping="random", flip="random"):
    """Is `preprocess.train_image` for a whole batch, put off.

    Args:
        images: uint8 `(batch, height, width, 3)`; the last three are static.
        resize_to: As there.
        crop: As there.
        seeds: Two integers for each image, int64 `(batch, 2)`.
        cropping: As there.
        flip: As there.

    Returns:
        `RawImages`.
    """
    size = images.shape[1:3]

    def draw(seed):
        return preprocess.draw_cut(size, resize_to, crop, seed, cropping, flip)

    cuts = tf.map_fn(draw, seeds, fn_output_signature=tf.int32)
    top, left, height, width, resized, row, column, flipped = tf.split(cuts, 8, axis=1)
    rows = _places(top, height, resized, row, crop)
    columns = _places(left, width, resized, column, crop)
    columns = tf.where(flipped == 1, columns[:, ::-1], columns)
    return RawImages(images, rows, columns)


def eval_image(image, crop, eval_resize=None):
    """Is `preprocess.eval_image`, put off, where that resizes straight to the crop.

    Args:
        image: uint8 `(height, width, 3)` of a static shape.
        crop: Height and width of the result in pixels.
        eval_resize: Must be `None`.

    Returns:
        `RawImages` of this one, without the axis of the batch.
    """
    if eval_resize is not None:
        raise InputError(
            "Raw images are resized straight to the crop; `eval_resize` must be None. "
            f"Received: {eval_resize}"
        )
    rows, columns = (_places(0, side, crop, 0, crop) for side in image.shape[:2])
    return RawImages(image, rows, columns)


def mixup(images, labels, alpha, seed, partner, batch_size, part):
    """Is `mixup.mixup`, put off for the images of a whole batch.

    Args:
        images: `RawImages`.
        labels: As there.
        alpha: As there.
        seed: As there.
        partner: As there.
        batch_size: As there.
        part: Must be all of the batch.

    Returns:
        `RawImages` with `mixing`, and mixed labels.
    """
    if part != (0, 1):
        raise InputError(f"Raw images are mixed in whole batches. Received: {part}")
    mixing = draw_mixing(alpha, seed, partner, batch_size)
    return images._replace(mixing=mixing), mixed(labels, *mixing)


def with_partners(raw):
    """Gives each image what it is mixed with, so that a batch can be divided.

    Args:
        raw: `RawImages` of a whole batch.

    Returns:
        The same images. If they are mixed, `mixing` holds the proportion of each one,
        float32 `(batch,)`, and the `RawImages` that they are mixed with.
    """
    if not raw.mixing:
        return raw
    proportion, partners = raw.mixing
    others = [tf.gather(part, partners) for part in raw[:3]]
    proportions = tf.fill(tf.shape(partners), proportion)
    return raw._replace(mixing=(proportions, RawImages(*others)))


def render(raw):
    """Makes of raw images what a network sees, on the device that calls it.

    Args:
        raw: `RawImages`.

    Returns:
        float32 `(batch, crop, crop, 3)` in [-1, 1].

    Example:

    >>> images = tf.function(render, jit_compile=True)(RawImages(pixels, rows, columns))
    """
    left, right = tf.floor(raw.columns), tf.math.ceil(raw.columns)
    across = (raw.columns - left)[:, None, :, None]
    above, below = tf.floor(raw.rows), tf.math.ceil(raw.rows)
    down = (raw.rows - above)[:, :, None, None]

    def corner(rows, columns):
        picked = tf.gather(raw.pixels, tf.cast(rows, tf.int32), axis=1, batch_dims=1)
        picked = tf.gather(picked, tf.cast(columns, tf.int32), axis=2, batch_dims=1)
        return tf.cast(picked, tf.float32)

    def interpolated(rows):
        first, second = corner(rows, left), corner(rows, right)
        return first + (second - first) * across

    top, bottom = interpolated(above), interpolated(below)
    images = preprocess.to_model_range(top + (bottom - top) * down)
    if not raw.mixing:
        return images
    proportion, partners = raw.mixing
    if isinstance(partners, RawImages):
        proportion = proportion[:, None, None, None]
        return weighted(images, render(partners), proportion)
    return mixed(images, proportion, partners)


def render_batch(batch):
    """Renders the images of a batch if they are raw ones.

    Args:
        batch: A tuple of `RawImages`, or of images as a network sees them, and more.

    Returns:
        The tuple with images as a network sees them.
    """
    images, *others = batch
    is_raw = isinstance(images, RawImages)
    return (_compiled_render(images) if is_raw else images, *others)


_compiled_render = tf.function(render, jit_compile=True, autograph=False)


def _places(begin, size, resized, offset, crop):
    """Returns where bilinear resizing with half-pixel centres takes values from.

    Args:
        begin: First row (or column) of the part of the image that is resized; like the
            next three an integer, or one for each image, `(batch, 1)`.
        size: Number of its rows.
        resized: Number of rows that it is resized to.
        offset: First one of these that is in the crop.
        crop: Number of rows in the crop.

    Returns:
        float32 `(crop,)` or `(batch, crop)`, none outside of the part, whose edges go
        on forever.
    """
    last = tf.cast(size, tf.float32) - 1
    scale = tf.cast(size, tf.float32) / tf.cast(resized, tf.float32)
    centres = (tf.cast(offset + tf.range(crop), tf.float32) + 0.5) * scale - 0.5
    return tf.cast(begin, tf.float32) + tf.clip_by_value(centres, 0.0, last)
