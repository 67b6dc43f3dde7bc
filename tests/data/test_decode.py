import numpy as np
import pytest
from PIL import Image

from bit_keras.data import decode
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


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_a_damaged_file_is_named(tmp_path, kept):
    path = saved(tmp_path, Image.fromarray(PIXELS), "cut.png")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cut.png is damaged or no image.*JPEG, PNG"):
        decode.read_image(path)


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
