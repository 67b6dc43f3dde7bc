"""Weight files of every layout, read to the last bit."""

import json
import pathlib
import tempfile

import h5py
import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from layout_files import (
    SAVERS,
    TENSORS,
    TINY,
    assert_holds,
    random_tensors,
    save_big_transfer,
    save_tf2_h5,
    timm_tensors,
)
from parity.make_checkpoint import fingerprint, make_checkpoint
from safetensors.numpy import save_file

from bit_keras.checkpoints import Architecture, read_checkpoint
from bit_keras.checkpoints.names import HEAD_KERNEL

GOLDEN = pathlib.Path(__file__).parents[1] / "parity" / "golden.npz"


@pytest.mark.parametrize("saver", SAVERS)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=6, deadline=None)
def test_every_layout_gives_the_same_network(saver, data):
    layout, suffix, save = SAVERS[saver]
    width = data.draw(st.sampled_from([0.5, 1, 1.5]))
    most = 3 if width == 0.5 else 1
    units = tuple(data.draw(st.integers(1, most)) for _ in range(4))
    architecture = Architecture(units, width, data.draw(st.integers(0, 20)))
    dtype = data.draw(st.sampled_from([np.float16, np.float32]))
    tensors = random_tensors(architecture, data.draw(st.integers(0, 9)), dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"any name{suffix}"
        save(path, tensors)
        checkpoint = read_checkpoint(str(path))
        assert checkpoint.path == path
        assert checkpoint.layout == layout
        assert checkpoint.architecture == architecture
        assert checkpoint.notes == ()
        assert_holds(checkpoint, tensors)


@pytest.mark.parametrize(
    ("style", "layout"),
    [
        ("big_transfer", "big_transfer"),
        ("big_transfer_numbered", "big_transfer"),
        ("big_vision", "big_vision"),
    ],
)
def test_the_reference_checkpoint_in_its_three_styles(tmp_path, style, layout):
    with np.load(GOLDEN) as golden:
        expected = golden["checkpoint/tiny2112/fingerprint"]
        meta = json.loads(str(golden["meta"]))
    case = next(c for c in meta["forward"] if c["case"].startswith("tiny2112/"))
    arguments = [case[k] for k in ("units", "width", "num_classes", "checkpoint_seed")]
    np.savez(tmp_path / "a.npz", **make_checkpoint(*arguments, style=style))
    checkpoint = read_checkpoint(tmp_path / "a.npz")
    assert checkpoint.layout == layout
    tensors = dict(checkpoint.tensors())
    assert np.max(np.abs(fingerprint(tensors) - expected)) <= 1e-9 * expected[2]
    assert_holds(checkpoint, make_checkpoint(*arguments))


def test_an_h5_with_its_names_as_strings(tmp_path):
    save_tf2_h5(tmp_path / "a.h5", TENSORS, text=h5py.string_dtype())
    assert_holds(read_checkpoint(tmp_path / "a.h5"), TENSORS)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    save_tf2_h5(tmp_path / "a.npz", TENSORS)
    assert read_checkpoint(tmp_path / "a.npz").layout == "tf2_h5"


def test_one_tensor_is_read_at_a_time(tmp_path, monkeypatch):
    save_big_transfer(tmp_path / "a.npz", TENSORS)
    checkpoint = read_checkpoint(tmp_path / "a.npz")
    reads = []
    read_array = np.lib.format.read_array

    def counted(*args, **kwargs):
        reads.append(args)
        return read_array(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "read_array", counted)
    tensors = checkpoint.tensors()
    for count in (1, 2, 3):
        next(tensors)
        assert len(reads) == count


def test_fortran_order_other_byte_order_and_compression(tmp_path):
    odd = {
        name: np.asfortranarray(tensor).astype(tensor.dtype.newbyteorder(">"))
        for name, tensor in TENSORS.items()
    }
    np.savez_compressed(tmp_path / "a.npz", **odd)
    assert_holds(read_checkpoint(tmp_path / "a.npz"), TENSORS)


def test_a_compressed_head_of_zeros(tmp_path):
    tensors = random_tensors(Architecture((1, 1, 1, 1), 0.5, 1000))
    tensors[HEAD_KERNEL][:] = 0
    np.savez_compressed(tmp_path / "a.npz", **tensors)
    assert_holds(read_checkpoint(tmp_path / "a.npz"), tensors)


@pytest.mark.parametrize("layout", ["big_vision", "timm"])
def test_bfloat16_is_read_as_float32(tmp_path, layout):
    tensors = random_tensors(TINY, dtype=ml_dtypes.bfloat16)
    _, suffix, save = SAVERS[layout]
    save(tmp_path / f"a{suffix}", tensors)
    expected = {name: t.astype(np.float32) for name, t in tensors.items()}
    assert_holds(read_checkpoint(tmp_path / f"a{suffix}"), expected)


def test_a_dense_head_in_a_timm_state_dict(tmp_path):
    state = timm_tensors(TENSORS)
    state["head.fc.weight"] = state["head.fc.weight"][:, :, 0, 0].copy()
    save_file(state, tmp_path / "a.safetensors")
    assert_holds(read_checkpoint(tmp_path / "a.safetensors"), TENSORS)


def test_timm_names_are_these(tmp_path):
    """Spelt out once, as in timm's `resnetv2_50x1_bit`."""
    state = timm_tensors(TENSORS)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    first = "stages.0.blocks.0."
    assert shapes["stem.conv.weight"] == (32, 3, 7, 7)
    assert shapes[f"{first}norm1.weight"] == shapes[f"{first}norm1.bias"] == (32,)
    assert shapes[f"{first}conv1.weight"] == (32, 32, 1, 1)
    assert shapes[f"{first}conv2.weight"] == (32, 32, 3, 3)
    assert shapes[f"{first}norm3.bias"] == (32,)
    assert shapes[f"{first}conv3.weight"] == (128, 32, 1, 1)
    assert shapes[f"{first}downsample.conv.weight"] == (128, 32, 1, 1)
    assert shapes["norm.weight"] == shapes["norm.bias"] == (1024,)
    assert shapes["head.fc.weight"] == (3, 1024, 1, 1)
    assert shapes["head.fc.bias"] == (3,)
    save_file(state, tmp_path / "a.safetensors")
    assert_holds(read_checkpoint(tmp_path / "a.safetensors"), TENSORS)
