"""Files that are no checkpoint, or that claim what is not there."""

import io
import pickle
import shutil
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest
from layout_files import (
    TENSORS,
    TINY,
    assert_refused,
    save_big_transfer,
    save_tf2_h5,
)
from safetensors.numpy import save_file

from bit_keras.checkpoints.names import ROOT_KERNEL


def test_a_missing_file(tmp_path):
    assert_refused(tmp_path / "a.npz", "no such file")


def test_a_folder(tmp_path):
    assert_refused(tmp_path, "a folder")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK", bytes(99)])
@pytest.mark.parametrize("name", ["a.npz", "a.txt"])
def test_other_content(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name)


def test_unknown_content_lists_what_can_be_read(tmp_path):
    listed = ["big_transfer", "big_vision", "`.npz`", "`.h5`", "`.safetensors`"]
    (tmp_path / "a.bin").write_bytes(b"something else")
    assert_refused(tmp_path / "a.bin", *listed)
    np.savez(tmp_path / "a.npz", weights=np.ones(3), bias=np.ones(3))
    assert_refused(tmp_path / "a.npz", *listed)
    save_file({"weight": np.ones(3)}, tmp_path / "a.safetensors")
    assert_refused(tmp_path / "a.safetensors", *listed)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.ones(3)
    assert_refused(tmp_path / "a.h5", *listed)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", "")
    assert_refused(tmp_path / "a.pt", "archive/data.pkl", *listed)


def test_a_keras_3_weight_file_is_sent_to_load_weights(tmp_path):
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "a.weights.h5")
    assert_refused(tmp_path / "a.weights.h5", "bit_keras.load_weights", ".weights.h5")
    shutil.copy(tmp_path / "a.weights.h5", tmp_path / "a.h5")
    assert_refused(tmp_path / "a.h5", "bit_keras.load_weights", ".weights.h5")


# Hostile files


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was loaded",))


def test_a_pickle_is_not_loaded(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
        )
        content = header.getvalue() + pickle.dumps(_Bomb())
        archive.writestr(f"{ROOT_KERNEL}.npy", content)
    assert_refused(tmp_path / "a.npz", f"`{ROOT_KERNEL}` is pickled")


def _npy(descr, shape, data):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return header.getvalue() + data


@pytest.mark.parametrize(
    ("shape", "data"),
    [((2**40,), b""), ((2**62, 2**62), bytes(4)), ((3,), bytes(8)), ((1,), bytes(8))],
)
def test_a_header_that_claims_another_size(tmp_path, shape, data):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(f"{ROOT_KERNEL}.npy", _npy("<f4", shape, data))
    assert_refused(tmp_path / "a.npz", f"`{ROOT_KERNEL}`", str(shape), str(len(data)))


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'",
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b"-" * 4999 + b"1",
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b"(" * 5000,
        b"\x93NUMPY\x09\x00",
        _npy("<f4", (-1, -3), bytes(12)),
        _npy("<f4", (0, 2**62), b""),
        _npy("|V0", (2**62, 2**62), b""),
        b"",
    ],
)
def test_a_hostile_header(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(f"{ROOT_KERNEL}.npy", header)
    assert_refused(tmp_path / "a.npz")


def test_a_zip_bomb(tmp_path):
    zeros = {name: np.zeros_like(tensor) for name, tensor in TENSORS.items()}
    np.savez_compressed(tmp_path / "a.npz", **zeros)
    assert_refused(tmp_path / "a.npz", "zip bomb")


def test_a_zip_that_claims_more_than_it_holds(tmp_path):
    save_big_transfer(tmp_path / "a.npz", TENSORS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.index(b"PK\x01\x02")  # the first of the central directory
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xF0000000)
    (tmp_path / "a.npz").write_bytes(content)
    assert_refused(tmp_path / "a.npz")


_HOSTILE_DATASETS = {
    "huge": (lambda g, n: g.create_dataset(n, [2**40], "f4"), str(2**42)),
    "chunked": (
        lambda g, n: g.create_dataset(n, [2**40], "f4", chunks=(9,)),
        str(2**42),
    ),
    "external": (
        lambda g, n: g.create_dataset(n, [3], "f4", external=[("/etc/passwd", 0, 12)]),
        "in one piece",
    ),
    "virtual": (
        lambda g, n: g.create_virtual_dataset(n, h5py.VirtualLayout((3,), "f4")),
        "in one piece",
    ),
    "external link": (
        lambda g, n: g.__setitem__(n, h5py.ExternalLink("other.h5", "/x")),
        "not in the file",
    ),
    "soft link": (
        lambda g, n: g.__setitem__(n, h5py.SoftLink("/x")),
        "not in the file",
    ),
    "nothing": (lambda g, n: None, "not in the file"),
    "group": (lambda g, n: g.create_group(n), "damaged"),
    "text": (lambda g, n: g.create_dataset(n, data=["a", "b", "c"]), "object"),
}


@pytest.mark.parametrize("kind", _HOSTILE_DATASETS)
def test_a_hostile_dataset_in_an_h5(tmp_path, kind):
    put, word = _HOSTILE_DATASETS[kind]
    save_tf2_h5(tmp_path / "a.h5", TENSORS)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        head = file["head/dense"]
        name = head.attrs["weight_names"][1]
        del head[name]
        put(head, name)
    assert_refused(tmp_path / "a.h5", word)


@pytest.mark.parametrize(
    ("layer", "held", "expected"),
    [("block3", 9, 10), ("group_norm", 1, 2), ("head/dense", 1, 2)],
)
def test_an_h5_layer_with_a_tensor_too_few(tmp_path, layer, held, expected):
    save_tf2_h5(tmp_path / "a.h5", TENSORS)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file[layer].attrs["weight_names"] = file[layer].attrs["weight_names"][1:]
    assert_refused(
        tmp_path / "a.h5",
        f"`{layer}` holds {held} tensors where {expected} are expected",
    )


def test_an_h5_of_another_order(tmp_path):
    save_tf2_h5(tmp_path / "a.h5", TENSORS)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        names = list(file["block1"].attrs["weight_names"])
        file["block1"].attrs["weight_names"] = [names[-1], *names[:-1]]
    assert_refused(tmp_path / "a.h5", "shape", str(TINY))


def test_an_h5_of_another_keras_2_model(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file["dense/kernel:0"] = np.ones((3, 3))
        file["dense"].attrs["weight_names"] = [b"kernel:0"]
    assert_refused(tmp_path / "a.h5", "1 layers with weights", "`.npz`")


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"{}",
        b'{"a":{}}',
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,2]}}',
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}',
        b'{"norm.bias":{"dtype":"F8_E4M3","shape":[16],"data_offsets":[0,16]}}',
        b'{"norm.bias":{"dtype":"I32","shape":[4],"data_offsets":[0,16]}}',
        b'{"norm.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    ],
)
def test_a_hostile_safetensors_header(tmp_path, header):
    content = struct.pack("<Q", len(header)) + header + bytes(16)
    (tmp_path / "a.safetensors").write_bytes(content)
    assert_refused(tmp_path / "a.safetensors")


def test_a_safetensors_header_that_claims_gigabytes(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{")
    assert_refused(tmp_path / "a.safetensors")
