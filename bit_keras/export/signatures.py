"""The functions of a SavedModel that are called by name."""

import tensorflow as tf

from bit_keras.data.decode import decode
from bit_keras.data.preprocess import eval_image

# As many classes as the top-5 accuracy looks at.
TOP_CLASSES = 5


def decode_batch(contents, size):
    """Decodes encoded images as evaluation does; a bad one fails the whole batch.

    Args:
        contents: string `(batch,)`, each a JPEG, PNG, BMP, GIF or WebP.
        size: Height and width in pixels that they are resized to.

    Returns:
        float32 `(batch, size, size, 3)` in [-1, 1].

    Raises:
        tf.errors.InvalidArgumentError: If one is no image; says which, by its place.
    """
    number = tf.shape(contents, tf.int64)[0]

    def prepare(place, content):
        return place, eval_image(decode(content), size)

    # `tf.data` decodes side by side, and can go on after an error, which names no
    # element: whoever is missing afterwards was bad.
    images = tf.data.Dataset.from_tensor_slices(contents).enumerate()
    images = images.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    nothing = (tf.zeros([0], tf.int64), tf.zeros([0, size, size, 3]))
    batches = images.ignore_errors().batch(tf.maximum(number, 1))
    batches = batches.concatenate(tf.data.Dataset.from_tensors(nothing))
    places, images = batches.take(1).get_single_element()
    first_bad = tf.reduce_min(
        tf.sets.difference(tf.range(number)[None], places[None]).values
    )
    no_image = tf.strings.format(
        "image_bytes[{}] is damaged or no image that can be read here; give a whole "
        "JPEG, PNG, BMP, GIF or WebP.",
        first_bad,
    )
    whole = tf.debugging.Assert(tf.size(places) == tf.size(contents), [no_image])
    with tf.control_dependencies([whole]):
        return tf.identity(images)


def classes_of(logits, class_names):
    """Returns what a client wants to know about images.

    Args:
        logits: float `(batch, classes)`.
        class_names: A name for each class, or `None` to call them by number.

    Returns:
        A dict: `probabilities` `(batch, classes)`, of a softmax; `top_probabilities`
        and `labels`, strings, `(batch, min(5, classes))`, the likeliest first.
    """
    count = logits.shape[-1]
    names = class_names or [f"class {index}" for index in range(count)]
    probabilities = tf.nn.softmax(logits)
    top = tf.math.top_k(probabilities, min(TOP_CLASSES, count))
    return {
        "probabilities": probabilities,
        "top_probabilities": top.values,
        "labels": tf.gather(tf.constant(names), top.indices),
    }
