"""Photographs that cameras store turned, with a note on how to turn them back."""

import tensorflow as tf

ORIENTATION_TAG = 0x0112
SHORT = 3  # Two bytes, the type that the tag must have.
# Far more segments than a photograph has before its pixels.
MAX_SEGMENTS = 200


def orientation(contents):
    """Reads the EXIF orientation of a JPEG, in TensorFlow alone.

    It works in `tf.data` and in an exported signature, and never fails on a file that
    can be decoded.

    Args:
        contents: Scalar string tensor, the bytes of a JPEG.

    Returns:
        int32 scalar, 1 to 8; 1, upright, where nothing valid is said.

    Source: CIPA DC-008 (Exif 2.32), sections 4.5.4 and 4.6.4.
    """
    start, size = _exif_segment(contents)
    return tf.cond(
        size >= 8, lambda: _orientation_in(_bytes(contents, start, size)), lambda: 1
    )


def _bytes(contents, start, size):
    piece = tf.strings.substr(contents, start, size)
    return tf.cast(tf.io.decode_raw(piece, tf.uint8), tf.int32)


def _exif_segment(contents):
    """Returns where the TIFF data of the Exif segment starts, and its size or 0."""
    length = tf.strings.length(contents)

    def is_going_on(place, size):
        return (size < 0) & (place + 10 <= length)

    def look_at(place, _):
        """Returns the next segment's place, or the data's with its size."""
        header = _bytes(contents, place, 10)
        marker, segment_size = header[1], 256 * header[2] + header[3]
        is_exif = (marker == 0xE1) & tf.reduce_all(header[4:] == [*b"Exif\0\0"])
        # Start of scan, end of image, or no marker at all.
        is_last = (header[0] != 0xFF) | (marker == 0xDA) | (marker == 0xD9)
        is_filling = marker == 0xFF
        next_place = place + tf.where(is_filling, 1, 2 + segment_size)
        place = tf.where(is_exif, place + 10, next_place)
        size = tf.where(is_exif, segment_size - 8, tf.where(is_last, 0, -1))
        return place, size

    return tf.while_loop(is_going_on, look_at, (2, -1), maximum_iterations=MAX_SEGMENTS)


def _orientation_in(tiff):
    """Returns the orientation that the bytes of a TIFF header and directory tell."""
    size = tf.size(tiff)
    # So that reading a wrong address gives nothing.
    tiff = tf.pad(tiff, [[0, 16]])
    is_big_endian = tiff[0] == ord("M")

    def number(two_bytes):
        """Reads numbers of two bytes each, in the last axis."""
        high_low = tf.where(is_big_endian, [256, 1], [1, 256])
        return tf.reduce_sum(two_bytes * high_low, axis=-1)

    # The directory's address has four bytes; a segment is never longer than two tell.
    address = tf.where(is_big_endian, number(tiff[6:8]), number(tiff[4:6]))
    address = tf.minimum(address, size)
    count = tf.minimum(number(tiff[address : address + 2]), (size - address) // 12)
    entries = tiff[address + 2 : address + 2 + 12 * count]
    entries = tf.reshape(entries, (-1, 12))
    is_orientation = (number(entries[:, 0:2]) == ORIENTATION_TAG) & (
        number(entries[:, 2:4]) == SHORT
    )
    values = tf.boolean_mask(number(entries[:, 8:10]), is_orientation)
    value = tf.reduce_max(tf.concat([values[:1], [1]], 0))
    return tf.where(value <= 8, value, 1)


def upright(image, orientation):
    """Turns and mirrors an image as its orientation asks for.

    Args:
        image: `(height, width, 3)`.
        orientation: int32 scalar, 1 to 8.

    Returns:
        The image as it should be seen.
    """

    def turn():
        turned = tf.cond(
            orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image
        )
        for axis, mirrored in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
            turned = tf.cond(
                tf.reduce_any(orientation == mirrored),
                lambda image=turned, axis=axis: tf.reverse(image, [axis]),
                lambda image=turned: image,
            )
        return turned

    return tf.cond(orientation > 1, turn, lambda: image)
