"""Kernels for GPUs that XLA compiles into a step, in place of what it makes by itself.

They are written in the intermediate language of Triton (`kernels/*.mlir`). The compiler
for it is a part of TensorFlow's XLA, so that nothing has to be built or installed. Only
a function that XLA compiles for a GPU can hold them: `using_gpu_kernels` says when the
layers may use them, and exports are made of plain TensorFlow.
"""

import functools
import importlib.resources
import string

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from bit_keras.layers.switch import Switch

# The oldest GPUs whose matrix units know bfloat16.
COMPUTE_CAPABILITY = (8, 0)

# The name by which XLA calls a kernel in Triton's language; JAX uses it, too.
TARGET = "__gpu$xla.gpu.triton"

# How each dtype is called there, and how its values become float32 and back. Nothing
# is to be done for float32, for which the language has no such word.
_DTYPES = {
    "bfloat16": ("bf16", "arith.extf", "to", "arith.truncf", "to"),
    "float16": ("f16", "arith.extf", "to", "arith.truncf", "to"),
    "float32": ("f32", "tt.bitcast", "->", "tt.bitcast", "->"),
}

_switch = Switch("gpu_kernels")


def using_gpu_kernels(enabled=True):
    """Lets layers use the kernels, inside of a function that XLA compiles for a GPU.

    Args:
        enabled: Whether they may.
    """
    return _switch.turned(enabled)


def enabled():
    """Returns whether layers may use the kernels now."""
    return _switch.is_on()


def supported():
    """Returns whether there are GPUs, and all of them can run the kernels."""
    gpus = tf.config.get_visible_devices("GPU")
    details = map(tf.config.experimental.get_device_details, gpus)
    capabilities = [d.get("compute_capability", (0, 0)) for d in details]
    return bool(gpus) and min(capabilities) >= COMPUTE_CAPABILITY


def can_normalize(x, gamma, beta, groups):
    """Returns whether the kernels can normalize such a tensor.

    Args:
        x: `(batch, height, width, channels)`.
        gamma: Scales `(channels,)`.
        beta: Shifts `(channels,)`.
        groups: Number of groups.
    """
    # Tiles have powers of two of everything.
    sizes = (groups, x.shape[-1] // groups)
    return (
        x.shape.is_fully_defined()
        and all(size & (size - 1) == 0 for size in sizes)
        and x.dtype.name in _DTYPES
        and gamma.dtype == beta.dtype == tf.float32
    )


def group_normalize(x, gamma, beta, groups, epsilon, relu, hands_on=False):
    """Normalizes as `normalize.group_normalize`.

    Args:
        x: `(batch, height, width, channels)` that `can_normalize` accepts.
        gamma: float32 scales `(channels,)`.
        beta: float32 shifts `(channels,)`.
        groups: Number of groups.
        epsilon: Added to the variance.
        relu: Whether negative results become zero.
        hands_on: Whether `x` is returned, too, for a residual connection: the gradient
            that reaches it there is added in the same pass over the memory.

    Returns:
        The normalized tensor, of the dtype of `x`; or a pair of it and `x`.
    """

    @tf.custom_gradient
    def normalized(x, gamma, beta):
        kernel = functools.partial(
            _call_for_groups, x.shape, x.dtype, groups, epsilon, relu, hands_on
        )
        batch, channels = x.shape[0], x.shape[-1]
        of_groups = tf.TensorSpec((batch, groups))
        y, mean, inverse = kernel(
            "group_norm_forward",
            [x, gamma, beta],
            [tf.TensorSpec(x.shape, x.dtype), of_groups, of_groups],
        )

        def gradient(dy, *residual):
            dx, sums = kernel(
                "group_norm_backward",
                [x, dy, gamma, beta, mean, inverse, *residual],
                [
                    tf.TensorSpec(x.shape, x.dtype),
                    tf.TensorSpec((batch, 2, channels)),
                ],
            )
            dgamma, dbeta = tf.unstack(tf.reduce_sum(sums, axis=0))
            return dx, dgamma, dbeta

        return ((y, tf.identity(x)) if hands_on else y), gradient

    return normalized(x, gamma, beta)


def _call_for_groups(
    shape, dtype, groups, epsilon, relu, residual, name, operands, results
):
    """Calls a kernel whose programs have an image and a tile of channels each."""
    batch, height, width, channels = shape
    pixels, group_size = height * width, channels // groups
    tile_channels, tile_rows, warps = choose_tile(name, pixels, channels, group_size)
    tile = (tile_channels, tile_rows)
    code = group_norm_code(
        name, dtype.name, pixels, channels, groups, epsilon, relu, residual, tile
    )
    return call(
        name, code, operands, results, (channels // tile_channels, batch), warps
    )


def choose_tile(name, pixels, channels, group_size):
    """Returns the channels and the rows of a tile, and the warps that share it.

    The rows are those that were fastest for the shapes of a ResNet-50 on an H100.
    """
    if pixels < 128:
        rows, warps = 32, 4
    elif name == "group_norm_forward":
        rows, warps = (64, 8) if pixels < 512 else (128, 8)
    elif pixels < 512:
        rows, warps = 256, 8
    else:
        rows, warps = (64, 8) if pixels < 2048 else (128, 16)
    tile_channels = max(min(64, channels), group_size)
    # Wider tiles have fewer rows: all values have to fit into the registers.
    rows = max(64 * rows // max(64, tile_channels), 1)
    return tile_channels, min(rows, 1 << (pixels - 1).bit_length()), warps


@functools.cache
def group_norm_code(
    name, dtype, pixels, channels, groups, epsilon, relu, residual, tile
):
    """Returns the code of a kernel for one shape.

    Args:
        name: "group_norm_forward" or "group_norm_backward".
        dtype: Name of the dtype of the activations.
        pixels: Height times width.
        channels: Number of channels.
        groups: Number of groups.
        epsilon: Added to the variance.
        relu: Whether negative results become zero.
        residual: Whether the backward kernel adds another gradient of its input.
        tile: Channels of a tile, which are whole groups, and pixels of it.
    """
    tile_channels, tile_rows = tile
    element, widen, widen_to, narrow, narrow_to = _DTYPES[dtype]
    group_size = channels // groups
    tile_groups = tile_channels // group_size
    tiles = -(-pixels // tile_rows)
    return _template(name, residual).substitute(
        T=element,
        WIDEN=widen,
        WIDEN_TO=widen_to,
        NARROW=narrow,
        NARROW_TO=narrow_to,
        PIXELS=pixels,
        CHANNELS=channels,
        GROUPS=groups,
        GROUP_SIZE=group_size,
        SUMS=2 * channels,
        VALUES=pixels * group_size,
        IMAGE_SIZE=pixels * channels,
        TILES=tiles,
        LAST_TILE=tiles - 1,
        TILE_ROWS=tile_rows,
        TILE_CHANNELS=tile_channels,
        TILE_GROUPS=tile_groups,
        TILE=f"{tile_rows}x{tile_channels}x",
        GROUPED=f"{tile_groups}x{group_size}x",
        TILE_SIZE=tile_rows * channels,
        EPSILON=f"{epsilon:e}",
        # Minus infinity, in bits.
        FLOOR="0.0" if relu else "0xFF800000",
    )


@functools.cache
def _template(name, residual):
    file = importlib.resources.files("bit_keras.layers") / "kernels" / f"{name}.mlir"
    unwanted = "// without residual" if residual else "// with residual"
    lines = file.read_text().splitlines()
    return string.Template("\n".join(x for x in lines if not x.endswith(unwanted)))


def call(name, code, operands, results, grid, warps):
    """Calls a kernel from a function that XLA compiles for a GPU.

    Args:
        name: Name of the function in the code.
        code: A module in Triton's intermediate language.
        operands: Tensors; pointers to them are the function's first arguments.
        results: A `tf.TensorSpec` for each result; pointers to these follow.
        grid: Number of programs along the first and the second axis.
        warps: Number of warps of a program.

    Returns:
        A tuple of tensors.
    """
    quoted = code.replace('"', r"\22").replace("\n", r"\0A")
    config = (
        f'{{name = "{name}", ir = "{quoted}", num_stages = 2 : i32, '
        f"num_warps = {warps} : i32, grid_x = {grid[0]} : i32, "
        f"grid_y = {grid[1]} : i32, grid_z = 1 : i32, debug = false}}"
    )
    return xla.custom_call_v2(TARGET, operands, results, config)
