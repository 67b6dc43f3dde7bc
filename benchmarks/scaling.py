"""How speed and memory grow with the batch, the resolution, the width and the depth.

    python benchmarks/scaling.py --out scaling.json

Each point is a process of its own that runs `bit_keras.benchmark` for inference in the
serving form and for training steps, on random images; one axis changes at a time, from
R50x1. For each point there are images/s, the median step, the first step, the peak of
memory, and the model FLOP utilisation: the network's operations, three times those of
a forward pass in training, as a share of what a product of large matrices reaches in
the same process. A point that fails, say for want of memory, tells its status, and the
others go on. `benchmarks/plot.py` draws the file.
"""

import json
import pathlib
import sys

import child
from absl import app, flags

AXES = ("batch_size", "image_size", "width", "depth")
# The middle of all axes, and the points of each, with a GPU and without one.
ON_GPU = (
    {"batch_size": 128, "image_size": 224, "width": 1, "depth": 50},
    {
        "batch_size": [32, 64, 128, 256, 512],
        "image_size": [128, 224, 320, 480],
        "width": [0.5, 1, 2, 4],
        "depth": [26, 50, 101, 152],
    },
)
ON_CPU = (
    {"batch_size": 8, "image_size": 128, "width": 1, "depth": 50},
    {
        "batch_size": [1, 4, 8, 16, 32],
        "image_size": [64, 128, 224],
        "width": [0.5, 1, 2],
        "depth": [26, 50, 101],
    },
)
FLAGS = flags.FLAGS
flags.DEFINE_list("axes", list(AXES), "Which axes to follow.")
flags.DEFINE_list("modes", ["infer", "train"], "What to measure.")
flags.DEFINE_enum(
    "precision", None, ["float32", "mixed_bfloat16"], "By default bfloat16 on a GPU."
)
flags.DEFINE_integer("steps", None, "Measurements of a point.")
flags.DEFINE_integer("seconds", 600, "Longest time that a point may take.")
flags.DEFINE_string(
    "out", "scaling.json", "File for the figures; finished points in it stay."
)
flags.DEFINE_string("one", None, "Of a child process: its point, as JSON.")


def run_one(point):
    """Measures a point; returns all of it."""
    from bit_keras.workflows.benchmark import benchmark

    measured = benchmark(
        modes=FLAGS.modes,
        precision=FLAGS.precision,
        steps=FLAGS.steps,
        progress=False,
        **point,
    )
    return measured.to_dict()


def run_child(point):
    """Returns the figures of a point, or in one line why there are none."""
    given = [flag for flag in sys.argv[1:] if not flag.startswith("--out")]
    command = [
        sys.executable,
        __file__,
        *given,
        f"--precision={FLAGS.precision}",
        f"--one={json.dumps(point)}",
    ]
    return child.run(command, FLAGS.seconds)


def points(middle, values, axes):
    """Returns the distinct points of some axes, the middle first.

    Args:
        middle: Value by axis.
        values: List of values by axis.
        axes: Which axes to follow.
    """
    found = [middle]
    for axis in axes:
        found += [middle | {axis: value} for value in values[axis]]
    return [point for number, point in enumerate(found) if point not in found[:number]]


def describe(point, figures):
    """Returns what a person wants to know of a point, in a line."""
    name = "R{depth}x{width:g}, {batch_size} images of {image_size} px".format(**point)
    if "failed" in figures:
        return f"{name}: {figures['failed']}"
    speeds = (
        f"{mode} {found['images_per_second']:,.1f} images/s, "
        f"{found['matrix_share']:.0%} of the matrix rate"
        for mode, found in figures["modes"].items()
    )
    return f"{name}: {'; '.join(speeds)}"


def main(_):
    if FLAGS.one:
        print(json.dumps(run_one(json.loads(FLAGS.one))))
        return
    import tensorflow as tf

    # Only looked for: used here, it would have no memory left for the children.
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    middle, values = ON_GPU if has_gpu else ON_CPU
    FLAGS.precision = FLAGS.precision or ("mixed_bfloat16" if has_gpu else "float32")
    path = pathlib.Path(FLAGS.out)
    rows = json.loads(path.read_text()) if path.is_file() else []
    rows = [row for row in rows if "failed" not in row]
    if any(row["precision"] != FLAGS.precision for row in rows):
        sys.exit(f"{path} holds figures of another precision; give another --out.")
    for point in points(middle, values, FLAGS.axes):
        if not any(row["point"] == point for row in rows):
            rows.append({"point": point, **run_child(point)})
            path.write_text(json.dumps(rows, indent=1))
            print(describe(point, rows[-1]), flush=True)


if __name__ == "__main__":
    app.run(main)
