import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras.data import decode
from bit_keras.data.headers import size_in_header
from bit_keras.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def saved(tmp_path, image, name, **kwargs):
    image.save(tmp_path / name, **kwargs)
    return tmp_path / name


def read(path):
    return decode.read_image(path).numpy()


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("A.PNG", {}), ("a.bmp", {}), ("a.webp", {"lossless": True})],
)
def test_colours_are_kept(tmp_path, name, options):
    path = saved(tmp_path, Image.fromarray(PIXELS), name, **options)
    np.testing.assert_array_equal(read(path), PIXELS)
    assert decode.expand([tmp_path]) == [path]


@pytest.mark.parametrize("name", ["grey.png", "grey.bmp"])
def test_grey_is_repeated(tmp_path, name):
    image = read(saved(tmp_path, Image.fromarray(GREY), name))
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=-1))


@pytest.mark.parametrize("name", ["alpha.png", "alpha.bmp"])
def test_transparency_is_dropped(tmp_path, name):
    rgba = np.concatenate([PIXELS, GREY[..., None]], axis=-1)
    path = saved(tmp_path, Image.fromarray(rgba), name)
    np.testing.assert_array_equal(read(path), PIXELS)


def test_a_palette_is_looked_up(tmp_path):
    palette = Image.fromarray(PIXELS).quantize(8)
    np.testing.assert_array_equal(
        read(saved(tmp_path, palette, "palette.png")), np.array(palette.convert("RGB"))
    )


@pytest.mark.parametrize("colours", [2, 8, 200])
def test_a_palette_of_a_bmp_is_looked_up(tmp_path, colours):
    """TensorFlow by itself takes the indices for grey values."""
    many = np.random.default_rng(1).integers(0, 256, (20, 21, 3), dtype=np.uint8)
    palette = Image.fromarray(many).quantize(colours)
    path = saved(tmp_path, palette, "palette.bmp")
    expected = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read(path), expected)
    contents = tf.data.Dataset.from_tensors(path.read_bytes())
    np.testing.assert_array_equal(next(iter(contents.map(decode.decode))), expected)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("LA", {}), ("1", {}), ("P", {"transparency": 0}), ("RGBA", {})],
)
def test_other_kinds_of_png_are_as_elsewhere(tmp_path, mode, options):
    image = Image.fromarray(PIXELS)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    path = saved(tmp_path, image, "a.png", **options)
    expected = np.array(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(read(path), expected)


def test_colours_of_sixteen_bits_are_cut_too(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    np.testing.assert_array_equal(read(tmp_path / "deep.png"), deep >> 8)


def test_sixteen_bits_are_cut_to_eight(tmp_path):
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    image = read(saved(tmp_path, deep, "deep.png"))
    np.testing.assert_array_equal(image[..., 0], GREY)


def test_the_inks_of_a_printers_jpeg_become_colours(tmp_path):
    smooth = Image.fromarray(PIXELS).resize((32, 32), Image.Resampling.BICUBIC)
    path = saved(tmp_path, smooth.convert("CMYK"), "inks.jpg", quality=95)
    elsewhere = np.array(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read(path) - elsewhere).mean() <= 3


def test_jpeg_is_decoded_as_elsewhere(tmp_path):
    smooth = Image.fromarray(PIXELS).resize((32, 32), Image.Resampling.BICUBIC)
    path = saved(tmp_path, smooth, "a.jpg", quality=95)
    elsewhere = np.array(Image.open(path)).astype(int)
    # The published pipeline's decoder is the quick one, which rounds more coarsely.
    assert np.abs(read(path) - elsewhere).mean() <= 3


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.fromarray(GREY).quantize(16), Image.fromarray(255 - GREY)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(path), np.array(frames[0].convert("RGB")))


@pytest.mark.parametrize(
    ("kept", "reason"),
    [(0, "an empty file"), (1, "no such format"), (10, "cut off"), (60, "cut off")],
)
def test_a_damaged_file_is_named(tmp_path, kept, reason):
    path = saved(tmp_path, Image.fromarray(PIXELS), "cut.png")
    path.write_bytes(path.read_bytes()[:kept])
    message = rf"cut.png is damaged or no image.*{reason}\); give a whole JPEG, PNG"
    with pytest.raises(InputError, match=message):
        decode.read_image(path)


FORMATS = ("png", "jpg", "bmp", "gif", "webp")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_off_anywhere_is_found(tmp_path, suffix):
    path = saved(tmp_path, Image.fromarray(PIXELS), f"a.{suffix}")
    contents = path.read_bytes()
    assert decode.problem_of(path.read_bytes) is None
    # A GIF's last byte only says that it ends.
    for kept in [*range(0, len(contents) - 2, 7), len(contents) - 2]:
        assert decode.problem_of(lambda kept=kept: contents[:kept]) is not None


@pytest.mark.parametrize("suffix", FORMATS)
def test_sizes_are_read_without_decoding(tmp_path, suffix):
    for width, height in ((1, 300), (300, 1), (5, 6)):
        image = Image.new("RGB", (width, height))
        path = saved(tmp_path, image, f"a.{suffix}")
        assert size_in_header(path.read_bytes()) == (width, height)


@pytest.mark.parametrize("options", [{"lossless": True}, {"exif": b"Exif\0\0MM"}])
def test_sizes_of_other_kinds_of_webp(tmp_path, options):
    image = Image.new("RGBA", (3, 400))
    path = saved(tmp_path, image, "a.webp", **options)
    assert size_in_header(path.read_bytes()) == (3, 400)


def test_sizes_of_progressive_jpegs(tmp_path):
    image = Image.new("RGB", (70, 400))
    path = saved(tmp_path, image, "a.jpg", progressive=True)
    assert size_in_header(path.read_bytes()) == (70, 400)


def test_an_animated_webp_is_named(tmp_path):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    path = saved(tmp_path, frames[0], "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="a.webp is .*an animated WebP"):
        decode.read_image(path)


def test_a_huge_image_is_named_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "huge.png"
    header = struct.pack(">I4sII", 13, b"IHDR", 20_000, 10_000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header)
    message = "20000 x 10000 pixels, more than 178,956,970"
    with pytest.raises(InputError, match=message):
        decode.read_image(path)


def test_a_file_that_may_not_be_read_is_no_image(tmp_path):
    assert "directory" in decode.problem_of(tmp_path.read_bytes)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no.png is not there"):
        decode.read_image(tmp_path / "no.png")


def test_files_and_folders_become_images_in_order(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "b/deep/3.gif", "b/.hidden.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a.tiff").touch()
    files = decode.expand([tmp_path / "b", tmp_path / "a.tiff"])
    names = [str(path.relative_to(tmp_path)) for path in files]
    assert names == ["b/1.JPG", "b/2.png", "b/deep/3.gif", "a.tiff"]


def test_nothing_to_look_at_is_said(tmp_path):
    with pytest.raises(InputError, match="no image to look at.*Received: nothing"):
        decode.expand([])
    with pytest.raises(InputError, match=f"no image to look at.*Received: {tmp_path}"):
        decode.expand([tmp_path])
    with pytest.raises(InputError, match="gone is not there; give image files"):
        decode.expand([tmp_path / "gone"])
