"""From a decoded image to what a network sees, as in the published fine-tuning code."""

import tensorflow as tf

from bit_keras.data.seeds import two_seeds


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


def train_image(image, resize_to, crop, seed):
    """Resizes, crops and flips at random.

    The published TensorFlow and JAX code flips every image; the paper and the PyTorch
    code flip at random, as here.

    Args:
        image: uint8 `(height, width, 3)`.
        resize_to: Height and width in pixels before the crop.
        crop: Height and width in pixels of the crop.
        seed: Two integers; equal ones give equal results.

    Returns:
        float32 `(crop, crop, 3)` in [-1, 1].

    Source: big_transfer's `input_pipeline_tf2_or_jax.py`.
    """
    crop_seed, flip_seed = two_seeds(seed)
    image = resize(image, resize_to)
    image = tf.image.stateless_random_crop(image, (crop, crop, 3), crop_seed)
    image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    return to_model_range(image)


def eval_image(image, crop):
    """Resizes straight to the size of the crop that training saw.

    Args:
        image: uint8 `(height, width, 3)`.
        crop: Height and width of the result in pixels.

    Returns:
        float32 `(crop, crop, 3)` in [-1, 1].

    Source: big_transfer's `input_pipeline_tf2_or_jax.py` ("usage of crop_size here is
    intentional").
    """
    return to_model_range(resize(image, crop))
