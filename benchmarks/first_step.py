"""How long the first training step of a process takes, and what options change of it.

    python benchmarks/first_step.py --out first-step.json
    python benchmarks/first_step.py --options= \\
        --options=--xla_gpu_experimental_enable_fusion_autotuner=true

For each set of options for XLA there are two processes, one after the other: the first
finds an empty folder in `BIT_KERAS_COMPILE_CACHE`, the second what that one has left
there. With that variable come options of the package, in place of which those given
here stand. The step is the one that `fit` calls, on random images; what comes before
it, the imports and the making of the model, is told apart.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import child
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("options", [""], "For XLA, beside what is set.")
flags.DEFINE_integer("depth", 50, "Depth of the network.")
flags.DEFINE_float("width", 1, "Width of the network.")
flags.DEFINE_integer("classes", 1000, "Classes of its head.")
flags.DEFINE_integer("batch_size", 128, "Images in a step.")
flags.DEFINE_integer("size", 224, "Pixels of the images.")
flags.DEFINE_string("precision", "mixed_bfloat16", "Dtype policy of the network.")
flags.DEFINE_integer("steps", 20, "Later steps, of which the median counts.")
flags.DEFINE_integer("seconds", 600, "Longest time that a process may take.")
flags.DEFINE_string("out", None, "JSON file for the figures.")
flags.DEFINE_bool("one", False, "Whether this is a child process.")


def run_one():
    """Measures this process; returns its figures."""
    start = time.perf_counter()
    import bit_keras
    from bit_keras.evaluation.report import describe_environment
    from bit_keras.workflows import measure
    from bit_keras.workflows.benchmark_steps import training_step

    imported = time.perf_counter()
    backbone = bit_keras.BiTBackbone(
        depth=FLAGS.depth, width=FLAGS.width, dtype=FLAGS.precision
    )
    model = bit_keras.BiTClassifier(backbone, FLAGS.classes)
    made = time.perf_counter()
    rule = bit_keras.HyperRule(FLAGS.size, FLAGS.size, num_examples=1)
    arguments = {**rule.compile_args(), "jit_compile": True}
    step = training_step(model, FLAGS.size, arguments)(FLAGS.batch_size)
    ready = time.perf_counter()
    timing = measure.time_steps(step, FLAGS.steps)
    peak = measure.device_memory().peak()
    return {
        "imports, s": round(imported - start, 2),
        "model, s": round(made - imported, 2),
        "variables of optimizer and metrics, s": round(ready - made, 2),
        "first step, s": round(timing.first_seconds, 2),
        "ms per step": round(1e3 * timing.median, 2),
        "peak memory, GB": peak and round(peak / 1e9, 2),
        **describe_environment(),
    }


def run_pair(options):
    """Returns the figures of a process with an empty cache, and of one after it."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one"]
    given = os.environ.get("XLA_FLAGS", "")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "XLA_FLAGS": f"{given} {options}".strip(),
            "BIT_KERAS_COMPILE_CACHE": folder,
        }
        return {
            name: child.run(command, FLAGS.seconds, environment)
            for name in ("cold", "warm")
        }


def main(_):
    if FLAGS.one:
        print(json.dumps(run_one()))
        return
    report = {
        "network": f"R{FLAGS.depth}x{FLAGS.width:g}, {FLAGS.precision}",
        "batch size": FLAGS.batch_size,
        "pixels": FLAGS.size,
        "date": time.strftime("%Y-%m-%d"),
        "runs": {},
    }
    for options in FLAGS.options:
        report["runs"][options] = run_pair(options)
        print(options or "no options", json.dumps(report["runs"][options]), flush=True)
        if FLAGS.out:
            pathlib.Path(FLAGS.out).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
