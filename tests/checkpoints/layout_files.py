"""Tiny networks in every layout, written without any code of the package's readers."""

import re

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from bit_keras.checkpoints import Architecture, read_checkpoint
from bit_keras.errors import InputError


def random_tensors(architecture, seed=0, dtype=np.float32):
    """Makes values in [-1, 1) for every tensor of an architecture."""
    rng = np.random.default_rng(seed)
    return {
        name: (2 * rng.random(shape, np.float32) - 1).astype(dtype)
        for name, shape in architecture.shapes().items()
    }


TINY = Architecture((1, 1, 1, 1), 0.5, 3)
TENSORS = random_tensors(TINY)


def assert_holds(checkpoint, tensors):
    """Compares names, order, shapes, dtypes and values."""
    read = list(checkpoint.tensors())
    assert [name for name, _ in read] == list(tensors)
    for name, tensor in read:
        assert tensor.dtype == tensors[name].dtype
        assert tensor.flags.c_contiguous
        np.testing.assert_array_equal(tensor, tensors[name], strict=True)


def assert_refused(path, *parts):
    """Checks that the file gets one sentence that names it and holds all parts."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"Cannot read the checkpoint {path}: ")
    assert message.endswith(".")
    assert message.isprintable()
    for part in parts:
        assert part in message
    return message


def save_big_transfer(path, tensors):
    np.savez(path, **tensors)


def save_numbered(path, tensors):
    """Numbers every convolution after the first, as some published files do."""
    count = iter(range(len(tensors)))

    def number(match):
        running = next(count)
        return f"{match[0]}_{running}" if running else match[0]

    np.savez(
        path,
        **{re.sub("standardized_conv2d", number, n): t for n, t in tensors.items()},
    )


_BIG_VISION = (
    (r"resnet/root_block/standardized_conv2d", "root_block/conv_root"),
    (r"resnet/group_norm", "norm-pre-head"),
    (r"resnet/head/conv2d", "head"),
    (r"resnet/", ""),
    (r"/a/proj/standardized_conv2d", "/conv_proj"),
    (r"/a/standardized_conv2d", "/conv1"),
    (r"/b/standardized_conv2d", "/conv2"),
    (r"/c/standardized_conv2d", "/conv3"),
    (r"/a/group_norm", "/gn1"),
    (r"/b/group_norm", "/gn2"),
    (r"/c/group_norm", "/gn3"),
    (r"/gamma$", "/scale"),
    (r"/beta$", "/bias"),
)


def big_vision_tensors(tensors, prefix=""):
    """Renames and reshapes canonical tensors as big_vision has them."""
    result = {}
    for name, tensor in tensors.items():
        if name.endswith(("gamma", "beta")):
            tensor = tensor.reshape(1, 1, 1, -1)
        elif name == "resnet/head/conv2d/kernel":
            tensor = tensor[0, 0]
        for pattern, replacement in _BIG_VISION:
            name = re.sub(pattern, replacement, name)
        result[prefix + name] = tensor
    return result


def save_big_vision(path, tensors):
    np.savez(path, **big_vision_tensors(tensors))


def save_big_vision_params(path, tensors):
    np.savez(path, **big_vision_tensors(tensors, "params/"))


def timm_tensors(tensors):
    """Renames and transposes canonical tensors as timm has them."""
    result = {}
    for name, tensor in big_vision_tensors(tensors).items():
        if tensor.ndim == 2:
            tensor = tensor.T[:, :, None, None]
        elif tensor.shape[:3] == (1, 1, 1):
            tensor = tensor.ravel()
        elif tensor.ndim == 4:
            tensor = tensor.transpose(3, 2, 0, 1)
        if match := re.match(r"block(\d)/unit(\d+)/", name):
            stage, index = int(match[1]) - 1, int(match[2]) - 1
            name = f"stages.{stage}.blocks.{index}.{name[match.end() :]}"
        for old, new in (
            ("root_block/conv_root", "stem.conv"),
            ("norm-pre-head", "norm"),
            ("head", "head.fc"),
            ("conv_proj", "downsample.conv"),
            ("gn", "norm"),
            ("/kernel", ".weight"),
            ("/scale", ".weight"),
            ("/bias", ".bias"),
        ):
            name = name.replace(old, new)
        result[name] = np.ascontiguousarray(tensor)
    return result


def save_timm(path, tensors):
    save_file(timm_tensors(tensors), path)


KERAS_2_LAYERS = (
    "root_block",
    "block1",
    "block2",
    "block3",
    "block4",
    "group_norm",
    "re_lu",
    "global_average_pooling2d",
    "head/dense",
)


def save_tf2_h5(path, tensors, text="S"):
    """Writes what Keras 2 writes for bit_tf2's model: order tells the tensors apart.

    The names differ from the published files' on purpose, so that a reader cannot rely
    on them; HDF5 does not let the names in one group repeat. `text` is the dtype of the
    lists of names: older h5py wrote bytes of fixed length, newer h5py strings.
    """
    layers = {layer: [] for layer in KERAS_2_LAYERS}
    for name, tensor in tensors.items():
        layer = re.match("resnet/(root_block|block.|group_norm|head)", name)[1]
        if name == "resnet/head/conv2d/kernel":
            tensor = tensor[0, 0]
        layers["head/dense" if layer == "head" else layer].append(tensor)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(list(layers), text)
        for layer, weights in layers.items():
            group = file.create_group(layer)
            weight_names = [f"{layer}/w{i * 7 % 1000}:0" for i in range(len(weights))]
            group.attrs["weight_names"] = np.array(weight_names, text)
            for name, tensor in zip(weight_names, weights, strict=True):
                group[name] = tensor


SAVERS = {
    "big_transfer": ("big_transfer", ".npz", save_big_transfer),
    "numbered": ("big_transfer", ".npz", save_numbered),
    "big_vision": ("big_vision", ".npz", save_big_vision),
    "big_vision_params": ("big_vision", ".npz", save_big_vision_params),
    "tf2_h5": ("tf2_h5", ".h5", save_tf2_h5),
    "timm": ("timm", ".safetensors", save_timm),
}
