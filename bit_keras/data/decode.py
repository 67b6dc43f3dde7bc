"""Image files to pixels."""

import pathlib

import tensorflow as tf

from bit_keras.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def decode(contents):
    """Decodes the bytes of a JPEG, PNG, BMP, GIF or WebP.

    Args:
        contents: Scalar string tensor.

    Returns:
        uint8 `(height, width, 3)`: grey is repeated, transparency dropped, 16 bits are
        cut to 8, and of an animation the first frame is taken.
    """
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def read_image(path):
    """Reads one image file.

    Args:
        path: The file.

    Returns:
        uint8 tensor `(height, width, 3)`.

    Raises:
        InputError: If the file is not there or is no whole image.
    """
    if not pathlib.Path(path).exists():
        raise InputError(f"{path} is not there; give an image file.")
    try:
        return decode(tf.io.read_file(str(path)))
    except tf.errors.OpError as error:
        raise InputError(
            f"{path} is damaged or no image that can be read here; give a whole JPEG, "
            "PNG, BMP, GIF or WebP file, or remove it."
        ) from error


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
