import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bit_keras.data.decode import decode
from bit_keras.data.exif import ORIENTATION_TAG, orientation, upright

SMOOTH = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
).resize((24, 16), Image.Resampling.BICUBIC)


def jpeg(**options):
    file = io.BytesIO()
    SMOOTH.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def turned_jpeg(number):
    exif = Image.Exif()
    exif[0x010F] = "a maker"  # An entry before it, whose value lies elsewhere.
    exif[ORIENTATION_TAG] = number
    return jpeg(exif=exif)


def with_tiff(tiff, before=b""):
    """A JPEG with an Exif segment of these bytes, after other segments."""
    plain = jpeg()
    body = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return plain[:2] + before + segment + plain[2:]


def tiff_of(order, number, kind=3):
    return struct.pack(
        order + "2sHIHHHIHHI",
        b"II" if order == "<" else b"MM",
        42,
        8,
        1,
        ORIENTATION_TAG,
        kind,
        1,
        number,
        0,
        0,
    )


def read_orientation(contents):
    eager = int(orientation(tf.constant(contents)))
    piped = tf.data.Dataset.from_tensors(contents).map(orientation)
    assert int(next(iter(piped))) == eager
    return eager


@pytest.mark.parametrize("number", range(1, 9))
def test_photographs_are_turned_as_pillow_turns_them(number):
    contents = turned_jpeg(number)
    assert read_orientation(contents) == number
    pixels = Image.fromarray(decode(contents, exif=False).numpy())
    pixels.getexif()[ORIENTATION_TAG] = number
    expected = np.array(ImageOps.exif_transpose(pixels))
    np.testing.assert_array_equal(decode(contents), expected)
    piped = tf.data.Dataset.from_tensors(contents).map(decode)
    np.testing.assert_array_equal(next(iter(piped)), expected)
    if number > 4:
        assert expected.shape == (24, 16, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_order_of_bytes_is_read(order):
    assert read_orientation(with_tiff(tiff_of(order, 6))) == 6


def test_segments_before_it_are_passed_over():
    other = b"\xff\xe1\x00\x0cAdobe XMP!" + b"\xff\xff\xff\xe2\x00\x02"
    assert read_orientation(with_tiff(tiff_of(">", 8), before=other)) == 8


@pytest.mark.parametrize(
    "tiff",
    [
        b"",
        b"II",
        tiff_of("<", 0),
        tiff_of("<", 9),
        tiff_of("<", 65535),
        tiff_of("<", 6, kind=7),
        tiff_of("<", 6)[:14],
        tiff_of("<", 6)[:4] + b"\xff" * 4 + tiff_of("<", 6)[8:],
        tiff_of("<", 6)[:8] + b"\xff" * 2,
    ],
)
def test_what_is_not_valid_turns_nothing(tiff):
    contents = with_tiff(tiff)
    assert read_orientation(contents) == 1
    np.testing.assert_array_equal(decode(contents), decode(contents, exif=False))


def test_a_photograph_without_exif_is_upright():
    assert read_orientation(jpeg()) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xe1\0\x20Exif\0\0MM"]))
def test_no_bytes_at_all_make_it_fail(garbage, start):
    assert 1 <= int(orientation(tf.constant(b"\xff\xd8" + start + garbage))) <= 8


def test_orientation_works_in_an_exported_signature(tmp_path):
    module = tf.Module()
    module.decode = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    contents = turned_jpeg(6)
    np.testing.assert_array_equal(loaded.decode(contents), decode(contents))


def test_an_upright_image_stays_as_it_is():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(upright(image, 1), image)
