"""Small images of the most frequent errors, as files beside a report."""

import pathlib

import numpy as np
import tensorflow as tf

from bit_keras.files import replaced

EXAMPLES_FOLDER = "examples"
# Of one side; on the page they have fewer, which screens of high density show sharply.
MAX_PIXELS = 96


def write_thumbnails(out_dir, images, confidences):
    """Writes a small JPEG file of each image.

    Args:
        out_dir: Folder of the report; the files lie in `examples/` within it.
        images: Mapping of numbers of examples to float images [H, W, 3], -1 to 1.
        confidences: Floats [N], 0 to 1, the probability of the predicted class for
            each example.

    Returns:
        A list of what a report says of each: `number`, `confidence` and `file`, the
        path in the folder.
    """
    written = []
    for number, image in images.items():
        file = pathlib.Path(EXAMPLES_FOLDER, f"{number}.jpg")
        with replaced(pathlib.Path(out_dir, file)) as temporary:
            temporary.write_bytes(_encode(image))
        facts = {"number": int(number), "confidence": float(confidences[number])}
        written.append({**facts, "file": file.as_posix()})
    return written


def _encode(image):
    """Returns the bytes of a JPEG file of an image, made smaller if it is large."""
    longest = max(image.shape[:2])
    if longest > MAX_PIXELS:
        size = [max(1, round(side * MAX_PIXELS / longest)) for side in image.shape[:2]]
        image = tf.image.resize(image, size, method="area")
    pixels = np.clip(np.rint((np.asarray(image) + 1) * 127.5), 0, 255)
    return tf.io.encode_jpeg(
        pixels.astype(np.uint8), quality=92, chroma_downsampling=False
    ).numpy()
