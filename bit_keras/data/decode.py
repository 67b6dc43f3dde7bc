"""Image files to pixels."""

import pathlib

import tensorflow as tf

from bit_keras.data.exif import orientation, upright
from bit_keras.data.headers import is_animated_webp, size_in_header
from bit_keras.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# Larger images are refused, for the sake of memory; Pillow draws the same line.
MAX_PIXELS = 178_956_970


def decode(contents, exif=True):
    """Decodes the bytes of a JPEG, PNG, BMP, GIF or WebP.

    Args:
        contents: Scalar string tensor.
        exif: Whether a JPEG is turned as its EXIF orientation says, as viewers do. The
            code that published results come from does not.

    Returns:
        uint8 `(height, width, 3)`: grey is repeated, transparency dropped (in a GIF it
        becomes black), 16 bits are cut to 8, inks and palettes become colours, and of
        an animated GIF or PNG the first frame is taken. An animated WebP is an error.
    """
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    kind = tf.strings.substr(contents, 0, 2)
    image = tf.cond(
        kind == b"BM", lambda: _look_up_bmp_palette(contents, image), lambda: image
    )
    if exif:
        image = tf.cond(
            kind == b"\xff\xd8",
            lambda: upright(image, orientation(contents)),
            lambda: image,
        )
    return tf.ensure_shape(image, [None, None, 3])


def _look_up_bmp_palette(contents, image):
    """Replaces indices, which TensorFlow takes for grey values, by their colours."""
    header = tf.cast(
        tf.io.decode_raw(tf.strings.substr(contents, 0, 32), "uint8"), "int32"
    )
    has_palette = header[28] == 8

    def look_up():
        start = 14 + header[14] + 256 * header[15]
        palette = tf.io.decode_raw(tf.strings.substr(contents, start, 1024), "uint8")
        # Of fewer than 256 colours the bytes after them are read, but not looked up.
        palette = tf.pad(palette, [[0, 1024 - tf.size(palette)]])
        blue_green_red = tf.reshape(palette, (256, 4))[:, :3]
        return tf.gather(blue_green_red[:, ::-1], tf.cast(image[..., 0], tf.int32))

    return tf.cond(has_palette, look_up, lambda: image)


def read_image(path):
    """Reads one image file, turned as its EXIF orientation says.

    Args:
        path: The file.

    Returns:
        uint8 tensor `(height, width, 3)`.

    Raises:
        InputError: If the file is not there or is no whole image.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InputError(f"{path} is not there; give an image file.")
    reason = problem_of(path.read_bytes, decode_too=False)
    if not reason:
        try:
            with tf.device("CPU"):
                return decode(tf.io.read_file(str(path)))
        except tf.errors.OpError:
            reason = problem_of(path.read_bytes)
    raise InputError(unreadable(path, reason))


def unreadable(name, reason):
    """Returns the sentence on an image that cannot be read."""
    return (
        f"{name} is damaged or no image that can be read here ({reason}); give a whole "
        "JPEG, PNG, BMP, GIF or WebP file, or remove it."
    )


def problem_of(read, decode_too=True):
    """Finds out why an image file cannot be used.

    Args:
        read: Function without arguments that returns its bytes.
        decode_too: Whether to try to decode it, not only to look at its first bytes.

    Returns:
        The reason in a few words, or `None` if it can be used.
    """
    try:
        contents = read()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not contents:
        return "an empty file"
    size = size_in_header(contents)
    if size is None:
        return "no such format"
    if size[0] * size[1] > MAX_PIXELS:
        return f"{size[0]} x {size[1]} pixels, more than {MAX_PIXELS:,}"
    if is_animated_webp(contents):
        return "an animated WebP"
    if not decode_too:
        return None
    try:
        with tf.device("CPU"):
            _decode_in_one_call(tf.constant(contents))
    except tf.errors.OpError:
        return "damaged or cut off"
    return None


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode_in_one_call(contents):
    """Is `decode` for threads, which would else wait for each other at each step.

    TensorFlow builds it once, whichever thread comes first.
    """
    return decode(contents, exif=False)


def image_files(folder):
    """Returns the image files below a folder, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def expand(paths):
    """Returns image files for a mixture of files and folders.

    Args:
        paths: Files, taken as they are, and folders, whose image files are taken.

    Returns:
        A list of `pathlib.Path`, at least one.

    Raises:
        InputError: If a path is not there or there is no image at all.
    """
    files = []
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise InputError(f"{path} is not there; give image files or folders.")
        files += image_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(
            "There is no image to look at; give image files, or folders of files that "
            f"end in {', '.join(SUFFIXES)}. Received: "
            f"{', '.join(map(str, paths)) or 'nothing'}"
        )
    return files
