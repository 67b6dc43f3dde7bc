"""From a decoded image to what a network sees, as in the published code."""

import tensorflow as tf

from bit_keras.data.seeds import two_seeds
from bit_keras.errors import InputError

# Share of the image's area, and width by height, of an inception crop: TensorFlow's
# own choice of the second, which the published code leaves as it is.
INCEPTION_AREA = (0.05, 1.0)
INCEPTION_RATIO = (0.75, 1.33)


def to_model_range(image):
    """Maps pixel values from [0, 255] to [-1, 1], in float32."""
    return (tf.cast(image, tf.float32) - 127.5) / 127.5


def resize(image, size):
    """Resizes to a square, whatever the proportions: bilinear, without antialiasing.

    Args:
        image: `(height, width, 3)` or a batch of such, of any numeric dtype.
        size: Height and width of the result in pixels.

    Returns:
        float32 `(size, size, 3)`, not rounded.
    """
    image = tf.image.resize(image, (size, size), method="bilinear", antialias=False)
    # TensorFlow returns an image that has the size already in the dtype that it has.
    return tf.cast(image, tf.float32)


def train_image(image, resize_to, crop, seed, cropping="random", flip="random"):
    """Crops and flips, at random where that is asked for.

    Args:
        image: uint8 `(height, width, 3)`.
        resize_to: Height and width in pixels before a random crop.
        crop: Height and width in pixels of the result.
        seed: Two integers; equal ones give equal results.
        cropping: `"random"`: the image is resized to a square of `resize_to`, of which
            a random part is taken, as in fine-tuning; `"inception"`: a random part, of
            5 to 100 % of the area and of other proportions, is resized to the result,
            as in pre-training; `"none"`: the whole image is.
        flip: `"random"`: left and right are exchanged in half of all cases, as the
            paper says; `"always"`, as big_transfer's TensorFlow and JAX code does;
            `"none"`.

    Returns:
        float32 `(crop, crop, 3)` in [-1, 1], not rounded to whole pixel values.

    Source: big_transfer's `input_pipeline_tf2_or_jax.py`; big_vision's
    `pp/ops_image.py` (inception crop).
    """
    cut = draw_cut(tf.shape(image)[:2], resize_to, crop, seed, cropping, flip)
    if cropping == "inception":
        image = tf.slice(image, [cut[0], cut[1], 0], [cut[2], cut[3], -1])
        image.set_shape([None, None, 3])
    image = resize(image, resize_to if cropping == "random" else crop)
    if cropping == "random":
        image = tf.slice(image, [cut[5], cut[6], 0], [crop, crop, 3])
    mirrored = tf.cond(cut[7] == 1, lambda: image[:, ::-1], lambda: image)
    return to_model_range(mirrored)


def draw_cut(size, resize_to, crop, seed, cropping="random", flip="random"):
    """Draws how an image becomes what training sees.

    Args:
        size: int32 (height, width) of the image.
        resize_to: As in `train_image`.
        crop: As in `train_image`.
        seed: As in `train_image`.
        cropping: As in `train_image`.
        flip: As in `train_image`.

    Returns:
        int32 `(8,)`: top, left, height and width of the part of the image that is
        resized; the height and width that it gets; top and left of the crop of that;
        and 1 if left and right are exchanged, else 0.

    Raises:
        InputError: If there is no such way to crop or to flip.
    """
    crop_seed, flip_seed = two_seeds(seed)
    part, resized, offset = [0, 0, size[0], size[1]], [crop], [0, 0]
    if cropping == "random":
        resized, offset = [resize_to], _crop_offset(resize_to - crop, crop_seed)
    elif cropping == "inception":
        part = _inception_part(size, crop_seed)
    elif cropping != "none":
        raise InputError(
            "`cropping` must be 'random', 'inception' or 'none'. "
            f"Received: {cropping!r}"
        )
    return tf.concat([part, resized, offset, [_is_flipped(flip, flip_seed)]], 0)


def _crop_offset(limit, seed):
    """Draws top and left as `tf.image.stateless_random_crop` does."""
    drawn = tf.random.stateless_uniform([3], seed, 0, tf.int32.max, tf.int32)
    return drawn[:2] % (limit + 1)


def _inception_part(size, seed):
    """Draws a part of random area and proportions; the whole where none fits."""
    begin, part, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], 0),
        tf.zeros([0, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=INCEPTION_RATIO,
        area_range=INCEPTION_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], part[:2]], 0)


def _is_flipped(flip, seed):
    """Returns 1 or 0, drawn as in `tf.image.stateless_random_flip_left_right`."""
    if flip == "random":
        return tf.cast(tf.random.stateless_uniform([], seed) < 0.5, tf.int32)
    if flip in ("always", "none"):
        return int(flip == "always")
    raise InputError(f"`flip` must be 'random', 'always' or 'none'. Received: {flip!r}")


def eval_image(image, crop, eval_resize=None):
    """Resizes straight to the size of the crop that training saw, or by way of another.

    Args:
        image: uint8 `(height, width, 3)`.
        crop: Height and width of the result in pixels.
        eval_resize: If given, the shorter side becomes so many pixels, the proportions
            are kept, and the middle is cut out, as after pre-training. Each pixel is
            then the mean over its area of the image. At least `crop`.

    Returns:
        float32 `(crop, crop, 3)` in [-1, 1].

    Source: big_transfer's `input_pipeline_tf2_or_jax.py` ("usage of crop_size here is
    intentional"); big_vision's `pp/ops_image.py` (`resize_small` and `central_crop`),
    which rounds to whole pixel values in between, unlike here.
    """
    if eval_resize is None:
        return to_model_range(resize(image, crop))
    sides = tf.shape(image)[:2]
    factor = eval_resize / tf.reduce_min(sides)
    new_sides = tf.cast(tf.round(tf.cast(sides, tf.float64) * factor), tf.int32)
    image = tf.image.resize(image, new_sides, method="area")
    top, left = tf.unstack((new_sides - crop) // 2)
    image = tf.image.crop_to_bounding_box(image, top, left, crop, crop)
    return to_model_range(image)
