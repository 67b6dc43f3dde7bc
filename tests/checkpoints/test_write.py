"""Written weight files: every bit kept, nothing left behind."""

import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from layout_files import random_tensors, timm_tensors

from bit_keras.checkpoints import (
    Architecture,
    read_checkpoint,
    write_npz,
    write_safetensors,
)
from bit_keras.checkpoints.names import HEAD_BIAS, ROOT_KERNEL
from bit_keras.errors import InputError, RunError

TINY = Architecture((1, 1, 1, 1), 0.5, 3)
WRITERS = [(write_npz, "a.npz"), (write_safetensors, "a.safetensors")]


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_bit_is_kept(tmp_path, write, name, dtype):
    tensors = random_tensors(TINY, dtype=dtype)
    tiny, largest = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    tensors[HEAD_BIAS] = np.array([-0.0, tiny, -largest], dtype)
    write(tmp_path / name, TINY, tensors.items())
    read = dict(read_checkpoint(tmp_path / name).tensors())
    assert list(read) == list(tensors)
    for key, tensor in tensors.items():
        assert read[key].dtype == dtype
        assert read[key].tobytes() == tensor.tobytes()


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_bfloat16_becomes_float32(tmp_path, write, name):
    tensors = random_tensors(TINY, dtype=ml_dtypes.bfloat16)
    write(tmp_path / name, TINY, tensors.items())
    for key, tensor in read_checkpoint(tmp_path / name).tensors():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, tensors[key].astype(np.float32))


def test_npz_is_what_numpy_reads_and_in_order(tmp_path):
    tensors = random_tensors(TINY)
    write_npz(tmp_path / "a.npz", TINY, tensors.items())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert read.files == list(tensors)
        for name, tensor in tensors.items():
            assert read[name].flags.c_contiguous
            np.testing.assert_array_equal(read[name], tensor)


def test_any_order_of_tensors_and_of_axes_is_taken(tmp_path):
    tensors = random_tensors(TINY)
    given = [(n, np.asfortranarray(t)) for n, t in reversed(tensors.items())]
    write_npz(tmp_path / "a.npz", TINY, given)
    for name, tensor in read_checkpoint(tmp_path / "a.npz").tensors():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_equal_tensors_give_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, TINY, random_tensors(TINY).items())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_safetensors_is_a_timm_state_dict(tmp_path):
    from safetensors.numpy import load_file

    tensors = random_tensors(TINY)
    write_safetensors(tmp_path / "a.safetensors", TINY, tensors.items())
    state, expected = load_file(tmp_path / "a.safetensors"), timm_tensors(tensors)
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(state[name], tensor)


def test_names_and_shapes_are_those_of_timm(tmp_path):
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnetv2_50x1_bit", num_classes=10)
    architecture = Architecture.from_depth(50, 1, num_classes=10)
    expected = timm_tensors(random_tensors(architecture))
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert state == {name: tensor.shape for name, tensor in expected.items()}


def _without(name):
    return [item for item in random_tensors(TINY).items() if item[0] != name]


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (_without(HEAD_BIAS), f"1 of its tensors were not given, first `{HEAD_BIAS}`"),
        ([*_without(None), ("x", np.zeros(3))], r"`x` .* \(3,\) .* no such tensor"),
        ([*_without(None), (HEAD_BIAS, np.zeros(3))], "has had it already"),
        (
            [*_without(ROOT_KERNEL), (ROOT_KERNEL, np.zeros((7, 7, 3, 64)))],
            r"\(7, 7, 3, 64\) where the network has \(7, 7, 3, 32\)",
        ),
        ([*_without(HEAD_BIAS), (HEAD_BIAS, np.zeros(3, int))], "dtype int64"),
    ],
    ids=["missing", "unknown", "doubled", "shape", "dtype"],
)
def test_wrong_tensors_leave_the_old_file(tmp_path, write, name, tensors, message):
    (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match=message):
        write(tmp_path / name, TINY, tensors)
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_an_error_of_the_source_leaves_nothing(tmp_path, write, name):
    def broken():
        yield next(iter(random_tensors(TINY).items()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / name, TINY, broken())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_a_folder_in_place_of_a_file(tmp_path, write, name):
    with pytest.raises(InputError, match="it is a folder; give a file's name"):
        write(tmp_path, TINY, random_tensors(TINY).items())
    assert not list(tmp_path.iterdir())


def test_a_failing_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_npz(tmp_path / "a.npz", TINY, random_tensors(TINY).items())
    assert not list(tmp_path.iterdir())


def test_without_the_library_safetensors(tmp_path, monkeypatch):
    write_safetensors(tmp_path / "a.safetensors", TINY, random_tensors(TINY).items())
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(InputError, match=r"pip install bit-keras\[safetensors\]"):
        write_safetensors(tmp_path / "b.safetensors", TINY, ())
    with pytest.raises(InputError, match=r"pip install bit-keras\[safetensors\]"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_npz_members_are_not_limited_to_4_gigabytes(tmp_path):
    write_npz(tmp_path / "a.npz", TINY, random_tensors(TINY).items())
    content = (tmp_path / "a.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        for member in archive.infolist():
            # The header before a member has room for 64-bit sizes: field 1 of 16 bytes.
            field = member.header_offset + 30 + len(member.filename)
            assert struct.unpack_from("<HH", content, field) == (1, 16)
