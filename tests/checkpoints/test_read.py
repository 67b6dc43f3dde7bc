"""Networks that are whole, and those refused in one sentence."""

import zipfile

import h5py
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from layout_files import (
    SAVERS,
    TENSORS,
    TINY,
    assert_holds,
    assert_refused,
    big_vision_tensors,
    random_tensors,
    save_big_transfer,
    save_tf2_h5,
)
from parity.make_checkpoint import make_checkpoint

from bit_keras.checkpoints import Architecture, read_checkpoint
from bit_keras.checkpoints.names import HEAD_BIAS, HEAD_KERNEL, ROOT_KERNEL
from bit_keras.errors import InputError

GAMMA = "resnet/block2/unit01/b/group_norm/gamma"


@pytest.mark.parametrize("name", ["BiT-S-R50x3.h5", "BiT-S-R101x1.h5", "R50x1_160.h5"])
def test_a_published_name_on_another_architecture_is_noted(tmp_path, name):
    save_tf2_h5(tmp_path / name, TENSORS)
    checkpoint = read_checkpoint(tmp_path / name)
    (note,) = checkpoint.notes
    assert name in note
    assert "holds R[1,1,1,1]x0.5 with 3 classes" in note
    assert_holds(checkpoint, TENSORS)


def test_a_published_name_on_its_architecture_is_not(tmp_path):
    tensors = make_checkpoint((3, 4, 6, 3), 1, num_classes=2, seed=0)
    for name in ("BiT-M-R50x1-ILSVRC2012.npz", "R50x1_160.npz"):
        np.savez(tmp_path / name, **tensors)
        assert read_checkpoint(tmp_path / name).notes == ()
        (tmp_path / name).unlink()


# Another network


def _big_transfer_without(name):
    return {key: tensor for key, tensor in TENSORS.items() if key != name}


@pytest.mark.parametrize("name", [ROOT_KERNEL, GAMMA, HEAD_KERNEL, HEAD_BIAS])
def test_a_missing_tensor(tmp_path, name):
    np.savez(tmp_path / "a.npz", **_big_transfer_without(name))
    assert_refused(tmp_path / "a.npz", "missing", f"`{name}`", str(TINY))


def test_an_unknown_tensor(tmp_path):
    np.savez(tmp_path / "a.npz", **TENSORS, extra=np.ones(2))
    assert_refused(tmp_path / "a.npz", "`extra` is not one of a BiT network")


def test_a_name_that_would_break_the_line(tmp_path):
    np.savez(tmp_path / "a.npz", **TENSORS, **{"a\nb\x1b[31m": np.ones(2)})
    assert "`a b [31m`" in assert_refused(tmp_path / "a.npz")


def test_a_projection_where_there_is_none(tmp_path):
    tensors = random_tensors(Architecture((2, 1, 1, 1), 0.5))
    name = "resnet/block1/unit02/a/proj/standardized_conv2d/kernel"
    tensors[name] = np.ones((1, 1, 128, 128), np.float32)
    np.savez(tmp_path / "a.npz", **tensors)
    assert_refused(tmp_path / "a.npz", f"`{name}` is not one of a BiT network")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (ROOT_KERNEL, (7, 7, 3, 64)),
        (ROOT_KERNEL, (32, 3, 7, 7)),
        (GAMMA, ()),
        (GAMMA, (1, 1, 1, 64)),
        (HEAD_BIAS, (4,)),
    ],
)
def test_a_wrong_shape(tmp_path, name, shape):
    np.savez(tmp_path / "a.npz", **{**TENSORS, name: np.ones(shape, np.float32)})
    wanted = TENSORS[name].shape
    assert_refused(tmp_path / "a.npz", f"`{name}`", str(shape), str(wanted), str(TINY))


def test_a_head_without_classes(tmp_path):
    tensors = _big_transfer_without(HEAD_BIAS)
    np.savez(tmp_path / "a.npz", **{**tensors, HEAD_KERNEL: np.ones((), np.float32)})
    assert_refused(
        tmp_path / "a.npz", f"`{HEAD_KERNEL}` has shape ()", "no such tensor"
    )


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (np.ones(64, np.int32), "int32"),
        (np.ones(64, bool), "bool"),
        (np.ones(64, complex), "complex"),
        (np.full(64, "x"), "str"),
        (np.ones((0,), np.float32), "empty"),
        (np.full(64, np.nan, np.float32), "not finite"),
        (np.full(64, -np.inf, np.float16), "not finite"),
    ],
)
def test_values_that_are_no_weights(tmp_path, value, word):
    np.savez(tmp_path / "a.npz", **{**TENSORS, GAMMA: value})
    assert_refused(tmp_path / "a.npz", f"`{GAMMA}`", word)


def test_no_multiple_of_32_channels(tmp_path):
    np.savez(tmp_path / "a.npz", **{ROOT_KERNEL: np.ones((7, 7, 3, 40))})
    assert_refused(tmp_path / "a.npz", "0.625 times")


# Doubled tensors


def test_the_same_member_twice(tmp_path):
    save_big_transfer(tmp_path / "a.npz", TENSORS)
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr(f"{GAMMA}.npy", archive.read(f"{GAMMA}.npy"))
    assert_refused(tmp_path / "a.npz", f"`{GAMMA}` and `{GAMMA}`")


def test_a_kernel_with_and_without_number(tmp_path):
    numbered = ROOT_KERNEL.replace("conv2d", "conv2d_8")
    np.savez(tmp_path / "a.npz", **TENSORS, **{numbered: TENSORS[ROOT_KERNEL]})
    assert_refused(tmp_path / "a.npz", f"`{ROOT_KERNEL}` and `{numbered}`")


def test_a_tensor_inside_and_outside_of_params(tmp_path):
    tensors = big_vision_tensors(TENSORS)
    np.savez(tmp_path / "a.npz", **tensors, **{"params/head/bias": np.ones(3)})
    assert_refused(tmp_path / "a.npz", "`head/bias` and `params/head/bias`")


def test_a_tensor_of_an_h5_listed_twice(tmp_path):
    save_tf2_h5(tmp_path / "a.h5", TENSORS)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        names = file["block1"].attrs["weight_names"]
        file["block1"].attrs["weight_names"] = [names[0], names[0], *names[2:]]
    assert_refused(tmp_path / "a.h5", "`block1/block1/w0:0` is listed twice")


# Damaged files


@pytest.mark.parametrize("saver", ["big_transfer", "tf2_h5", "timm"])
def test_a_file_that_changes_after_the_check(tmp_path, saver):
    _, suffix, save = SAVERS[saver]
    path = tmp_path / f"a{suffix}"
    save(path, TENSORS)
    checkpoint = read_checkpoint(path)
    save(path, random_tensors(Architecture((1, 1, 1, 1), 0.5, 4)))
    with pytest.raises(InputError, match="held .* 3 classes .* now .* 4 classes"):
        next(checkpoint.tensors())
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        next(checkpoint.tensors())


@pytest.fixture(scope="module", params=["big_transfer", "big_vision", "tf2_h5", "timm"])
def whole(request, tmp_path_factory):
    """Returns (layout, path of a whole file, path for a damaged one)."""
    layout, suffix, save = SAVERS[request.param]
    folder = tmp_path_factory.mktemp(layout)
    save(folder / f"whole{suffix}", TENSORS)
    return layout, folder / f"whole{suffix}", folder / f"damaged{suffix}"


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=25, deadline=None)
def test_a_cut_file_is_refused(whole, data):
    _, source, path = whole
    content = source.read_bytes()
    kept = data.draw(
        st.integers(0, len(content) - 1) | st.integers(-2000, -1), label="kept"
    )
    path.write_bytes(content[:kept])
    assert_refused(path)


# Where the file says what it holds: the start, the end and, in HDF5, anywhere.
_places = st.integers(0, 3000) | st.integers(-9000, -1) | st.integers(0, 10_000_000)


@hypothesis.given(st.dictionaries(_places, st.integers(1, 255), min_size=1, max_size=4))
@hypothesis.settings(max_examples=25, deadline=None)
def test_a_file_with_changed_bytes_is_refused_or_harmless(whole, changes):
    layout, source, path = whole
    damaged = bytearray(source.read_bytes())
    for place, change in changes.items():
        damaged[place % len(damaged)] ^= change
    path.write_bytes(damaged)
    try:
        read = dict(read_checkpoint(path).tensors())
    except InputError as error:
        assert str(error).isprintable()
        return
    shapes = {name: tensor.shape for name, tensor in read.items()}
    assert shapes == {name: tensor.shape for name, tensor in TENSORS.items()}
    assert all(np.isfinite(tensor).all() for tensor in read.values())
    if layout in ("big_transfer", "big_vision"):  # the others have no checksums
        for name, tensor in read.items():
            np.testing.assert_array_equal(tensor, TENSORS[name], strict=True)
