"""Random BiT checkpoints and images for numerical parity tests.

The real weights are large and need a network.  These stand-ins have the same
tensor names, shapes and order of magnitude, are the same on every machine, and
are deliberately *unlike* fresh initial weights: kernels have a non-zero mean
and a different scale per output channel, every gamma, beta and bias is
non-trivial, and the head is not zero.  A model that standardizes over the
wrong axes, forgets a beta or swaps two tensors of equal shape gives clearly
different numbers.  The third gamma of each unit is halved: with all gammas
near one a deep random network amplifies rounding errors about a thousandfold,
and float32 could not be told from a small mistake.

Order of the random draws
-------------------------
One `numpy.random.RandomState(seed)` is consumed tensor by tensor:

  1. root convolution;
  2. for each block, for each unit:
     gn1, conv1, gn2, conv2, gn3, conv3, and, in the first unit, the projection;
  3. final group norm;
  4. head.

Within a convolution: per-channel mean, per-channel scale, then the kernel.
Within a group norm: gamma, then beta.  Within the head: kernel, then bias.

So the values do not depend on the naming style, and because the head comes
last two checkpoints that differ only in `num_classes` share their backbone.

Only NumPy is needed:

    python make_checkpoint.py tiny.npz --units 1 1 1 1 --classes 10 --seed 1
"""

import argparse
import sys

import numpy as np

STYLES = ("big_transfer", "big_transfer_numbered", "big_vision")


def make_checkpoint(
    units, width, num_classes, seed, style="big_transfer", kernel_scale=1.0
):
    """Makes the float32 tensors of one BiT ResNet.

    Args:
        units: Number of residual units in each block, for example
            `(3, 4, 6, 3)` for a ResNet-50.
        width: Integer width factor; the root has `64 * width` channels.
        num_classes: Size of the classification head.
        seed: Seed of the random draws.
        style: How tensors are named, one of `STYLES`:
            `"big_transfer"` is the layout of the published files;
            `"big_transfer_numbered"` is the variation of it where every
            convolution after the first carries a running number
            (`standardized_conv2d_17`); `"big_vision"` is the newer layout,
            with group norm parameters of shape `(1, 1, 1, C)` and a
            two-dimensional head kernel.
        kernel_scale: Factor on all convolution kernels (not the head). Weight
            standardization should undo it, up to its epsilon: use a small
            factor, such as 1e-3, to make that epsilon visible.

    Returns:
        A dict from tensor name to array, in the order of the draws.
    """
    if style not in STYLES:
        raise ValueError(f"`style` must be one of {STYLES}. Received: {style!r}")
    if len(units) != 4 or min(units) < 1:
        raise ValueError(f"`units` must be four positive integers. Received: {units}")
    rng = np.random.RandomState(seed)
    names = (
        _BigVisionNames()
        if style == "big_vision"
        else _BigTransferNames(numbered=style == "big_transfer_numbered")
    )
    tensors = {}

    def conv(where, size, c_in, c_out):
        kernel = _kernel(rng, size, c_in, c_out) * kernel_scale
        tensors[names.conv(*where)] = kernel.astype(np.float32)

    def norm(where, channels, gain=1.0):
        gamma = gain * (1.0 + 0.2 * rng.uniform(-1, 1, channels))
        beta = 0.2 * rng.uniform(-1, 1, channels)
        for name, value in zip(names.norm(*where), (gamma, beta), strict=True):
            value = value.astype(np.float32)
            tensors[name] = value.reshape(names.norm_shape(channels))

    conv(("root",), 7, 3, 64 * width)
    c_in = 64 * width
    for b, num_units in enumerate(units, 1):
        c_mid = 64 * width * 2 ** (b - 1)
        c_out = 4 * c_mid
        for u in range(1, num_units + 1):
            norm((b, u, 1), c_in)
            conv((b, u, 1), 1, c_in, c_mid)
            norm((b, u, 2), c_mid)
            conv((b, u, 2), 3, c_mid, c_mid)
            norm((b, u, 3), c_mid, gain=0.5)
            conv((b, u, 3), 1, c_mid, c_out)
            if u == 1:
                conv((b, u, "proj"), 1, c_in, c_out)
            c_in = c_out
    norm(("final",), c_in)

    kernel = rng.standard_normal((c_in, num_classes)) * np.sqrt(1.0 / c_in)
    bias = 0.1 * rng.standard_normal(num_classes)
    kernel_name, bias_name = names.head()
    tensors[kernel_name] = kernel.astype(np.float32).reshape(
        names.head_shape(c_in, num_classes)
    )
    tensors[bias_name] = bias.astype(np.float32)
    return tensors


def make_images(shape, seed):
    """Makes float32 images in [-1, 1], shape `(batch, height, width, 3)`.

    Half of the amplitude is a coarse 5x4 mosaic and half is pixel noise, so
    images differ from each other and are not symmetric under flips, shifts,
    transposition or a change of channel order.
    """
    batch, height, width, channels = shape
    rng = np.random.RandomState(seed)
    coarse = rng.uniform(-1, 1, (batch, 5, 4, channels))
    noise = rng.uniform(-1, 1, shape)
    rows = np.arange(height) * 5 // height
    columns = np.arange(width) * 4 // width
    mosaic = coarse[:, rows][:, :, columns]
    return (0.5 * mosaic + 0.5 * noise).astype(np.float32)


def make_labels(batch, num_classes, seed):
    """Makes int64 class labels."""
    labels = np.random.RandomState(seed).randint(0, num_classes, batch)
    return labels.astype(np.int64)


def fingerprint(arrays):
    """Returns (number of values, sum, sum of absolute values).

    Compare with a relative tolerance of 1e-9 times the last entry: the order
    of summation, and the last bit of a logarithm, may differ between machines.
    """
    if isinstance(arrays, dict):
        arrays = arrays.values()
    count, total, absolute = 0, 0.0, 0.0
    for array in arrays:
        count += array.size
        total += float(np.sum(array, dtype=np.float64))
        absolute += float(np.sum(np.abs(array), dtype=np.float64))
    return np.array([count, total, absolute])


def _kernel(rng, size, c_in, c_out):
    std = np.sqrt(2.0 / (size * size * c_in))
    mean = std * rng.uniform(0, 1, c_out)
    scale = rng.uniform(0.5, 1.5, c_out)
    kernel = rng.standard_normal((size, size, c_in, c_out))
    kernel *= std
    kernel += mean
    kernel *= scale
    return kernel


class _BigTransferNames:
    def __init__(self, numbered):
        self._numbered = numbered
        self._count = 0

    def conv(self, block, unit=None, which=None):
        conv = "standardized_conv2d"
        if self._numbered and self._count:
            conv = f"{conv}_{self._count}"
        self._count += 1
        if block == "root":
            return f"resnet/root_block/{conv}/kernel"
        part = "a/proj" if which == "proj" else "abc"[which - 1]
        return f"resnet/block{block}/unit{unit:02d}/{part}/{conv}/kernel"

    def norm(self, block, unit=None, which=None):
        prefix = "resnet"
        if block != "final":
            part = "abc"[which - 1]
            prefix = f"resnet/block{block}/unit{unit:02d}/{part}"
        return f"{prefix}/group_norm/gamma", f"{prefix}/group_norm/beta"

    def norm_shape(self, channels):
        return (channels,)

    def head(self):
        return "resnet/head/conv2d/kernel", "resnet/head/conv2d/bias"

    def head_shape(self, features, num_classes):
        return (1, 1, features, num_classes)


class _BigVisionNames:
    def conv(self, block, unit=None, which=None):
        if block == "root":
            return "root_block/conv_root/kernel"
        conv = "conv_proj" if which == "proj" else f"conv{which}"
        return f"block{block}/unit{unit:02d}/{conv}/kernel"

    def norm(self, block, unit=None, which=None):
        prefix = "norm-pre-head"
        if block != "final":
            prefix = f"block{block}/unit{unit:02d}/gn{which}"
        return f"{prefix}/scale", f"{prefix}/bias"

    def norm_shape(self, channels):
        return (1, 1, 1, channels)

    def head(self):
        return "head/kernel", "head/bias"

    def head_shape(self, features, num_classes):
        return (features, num_classes)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Writes a random BiT checkpoint as an .npz file."
    )
    parser.add_argument("path", help="the file to write, or - to only list")
    parser.add_argument("--units", type=int, nargs=4, default=[3, 4, 6, 3])
    parser.add_argument("--width", type=int, default=1)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--style", choices=STYLES, default=STYLES[0])
    parser.add_argument("--kernel-scale", type=float, default=1.0)
    args = parser.parse_args(argv)

    tensors = make_checkpoint(
        args.units,
        args.width,
        args.classes,
        args.seed,
        args.style,
        args.kernel_scale,
    )
    if args.path == "-":
        for name, value in tensors.items():
            print(f"{name:60s} {value.shape}")
    else:
        np.savez(args.path, **tensors)
    count, total, absolute = fingerprint(tensors)
    print(
        f"{len(tensors)} tensors, {int(count):,} values, "
        f"sum {total:.6f}, absolute sum {absolute:.6f}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
