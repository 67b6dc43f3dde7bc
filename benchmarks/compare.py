"""Speed and memory of one training step and of inference, beside other implementations.

    python benchmarks/compare.py --out compare.json

Each contender runs in a process of its own, one after another, on random images that
lie on the device: `bit_keras` as `fit` and `predict` run it; BiT written with Keras's
own layers (`textbook`); and timm's model, eager and compiled. Inference of `bit_keras`
is that of the serving form. `--torch` names a Python that has PyTorch and timm, if this
one has not.

What parts of it cost is told by contenders that leave one out: the forms and kernels
for the device (`xla`), XLA (`graph`), weight standardization (`stored`; in inference
the serving form is that already, and `unfolded` puts it back), and all normalization
(`bare`), which is what the convolutions take and a bound for all:

    python benchmarks/compare.py --contenders=bit_keras,xla,graph,stored,unfolded,bare

On machines whose speed wavers, `--rounds=3` lets all contenders run three times, in
turns; the median one counts, and all are kept.
"""

import contextlib
import functools
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import child
from absl import app, flags

# Contenders that a mode has no use for.
NOT_IN = {"train": ("unfolded",), "infer": ("stored",)}
FLAGS = flags.FLAGS
flags.DEFINE_list(
    "contenders",
    ["bit_keras", "xla", "bare", "textbook", "timm", "timm-compiled"],
    "Which of them to run.",
)
flags.DEFINE_list("modes", ["train", "infer"], "What to measure.")
flags.DEFINE_integer("depth", 50, "Depth of the network.")
flags.DEFINE_integer("width", 1, "Width of the network.")
flags.DEFINE_integer("classes", 1000, "Classes of its head.")
flags.DEFINE_integer("batch_size", 128, "Images in a step.")
flags.DEFINE_integer("size", 224, "Pixels of the images.")
flags.DEFINE_enum("precision", "bfloat16", ["float32", "bfloat16"], "Numbers.")
flags.DEFINE_integer("steps", 20, "Steps of a measurement; the median of five counts.")
flags.DEFINE_integer("rounds", 1, "Runs of each contender.", lower_bound=1)
flags.DEFINE_integer("seconds", 600, "Longest time that a contender may take.")
flags.DEFINE_string("torch", sys.executable, "Python that has PyTorch and timm.")
flags.DEFINE_string("out", None, "JSON file for the figures.")
flags.DEFINE_string("one", None, "Of a child process: the contender and the mode.")


def measure(step, wait):
    """Returns the seconds of the first step, and the median ones of a later step."""
    start = time.perf_counter()
    wait(step())
    first = time.perf_counter() - start
    for _ in range(2):
        wait(step())
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(FLAGS.steps):
            result = step()
        wait(result)
        times.append((time.perf_counter() - start) / FLAGS.steps)
    return first, statistics.median(times)


def keras_contender(name, mode):
    """Returns first seconds, seconds of a step and peak memory of a Keras model."""
    import keras
    import tensorflow as tf

    import bit_keras
    from bit_keras.layers import GroupNorm

    policy = "mixed_bfloat16" if FLAGS.precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    rule = bit_keras.HyperRule(FLAGS.size, FLAGS.size, num_examples=1)
    arguments = {**rule.compile_args(), "jit_compile": name != "graph"}
    if name == "textbook":
        step = textbook_step(mode, arguments)
    else:
        if name == "bare":
            GroupNorm.call = without_normalization
        backbone = bit_keras.BiTBackbone(depth=FLAGS.depth, width=FLAGS.width)
        model = bit_keras.BiTClassifier(backbone, FLAGS.classes)
        if name == "xla":
            turn_off_fast_forms()
        if name == "stored":
            for conv in model.backbone.convolutions():
                conv.standardizes = False
        step = model_step(model, mode, arguments, name == "unfolded")
    first, seconds = measure(step, lambda result: result.numpy())
    peak = None
    if tf.config.list_physical_devices("GPU"):
        peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return {
        **figures(first, seconds, peak),
        "versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
    }


def model_step(model, mode, arguments, unfolded):
    """Returns a step of a `BiTClassifier`, to be called without arguments."""
    import tensorflow as tf

    from bit_keras.layers.fast_forms import using_fast_forms
    from bit_keras.workflows.benchmark_steps import inference_step, training_step

    if mode == "train":
        return training_step(model, FLAGS.size, arguments)(FLAGS.batch_size)
    if not unfolded:
        return inference_step(model, FLAGS.size, arguments)(FLAGS.batch_size)
    shape = (FLAGS.batch_size, FLAGS.size, FLAGS.size, 3)
    images = tf.random.stateless_uniform(shape, (0, 0), -1, 1)

    @tf.function(jit_compile=True, autograph=False)
    def compute():
        with using_fast_forms(True):
            return model(images, training=False)

    return lambda: compute()[0]


def turn_off_fast_forms():
    from bit_keras.layers import cpu_forms, gpu_kernels

    gpu_kernels.supported = cpu_forms.supported = lambda: False


def without_normalization(self, inputs, hands_on=False):
    """Takes the place of `GroupNorm.call`: the ReLU, and no more."""
    import tensorflow as tf

    # Kernels of variance 1 would else let activations overflow.
    scale = tf.cast(0.5 * inputs.shape[-1] ** -0.5, inputs.dtype)
    activated = tf.nn.relu(inputs) * scale
    return (activated, inputs) if hands_on else activated


def textbook_step(mode, arguments):
    """Returns a step of BiT made of Keras's layers, as its guides would write it."""
    import keras
    import tensorflow as tf
    from keras import layers, ops

    class WeightStandardizedConv2D(layers.Conv2D):
        def call(self, inputs):
            kernel = self.kernel
            mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
            kernel = (kernel - mean) / ops.sqrt(variance + 1e-10)
            return ops.conv(inputs, kernel, self.strides, padding="valid")

    def conv(x, filters, size, strides=1):
        x = layers.ZeroPadding2D((size - 1) // 2)(x) if size > 1 else x
        return WeightStandardizedConv2D(filters, size, strides, use_bias=False)(x)

    def norm(x):
        return layers.ReLU()(layers.GroupNormalization(32, epsilon=1e-5)(x))

    def unit(x, channels, strides):
        activated = norm(x)
        projects = strides > 1 or x.shape[-1] != 4 * channels
        shortcut = conv(activated, 4 * channels, 1, strides) if projects else x
        x = conv(activated, channels, 1)
        x = conv(norm(x), channels, 3, strides)
        return layers.Add()([conv(norm(x), 4 * channels, 1), shortcut])

    inputs = keras.Input((FLAGS.size, FLAGS.size, 3))
    x = conv(inputs, 64 * FLAGS.width, 7, strides=2)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    depths = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[FLAGS.depth]
    for block, units in enumerate(depths):
        for number in range(units):
            strides = 2 if block and not number else 1
            x = unit(x, 64 * FLAGS.width * 2**block, strides)
    x = layers.GlobalAveragePooling2D()(norm(x))
    model = keras.Model(inputs, layers.Dense(FLAGS.classes, dtype="float32")(x))
    images = tf.random.stateless_normal((FLAGS.batch_size, *inputs.shape[1:]), (0, 0))
    if mode == "infer":
        compute = tf.function(lambda: model(images, training=False), jit_compile=True)
        return lambda: compute()[0]
    known = ("optimizer", "loss", "jit_compile")
    model.compile(**{key: arguments[key] for key in known})
    labels = tf.one_hot(tf.range(FLAGS.batch_size) % FLAGS.classes, FLAGS.classes)
    model.make_train_function()
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    device = tf.config.list_logical_devices("GPU")
    if device:
        copied = tf.data.experimental.prefetch_to_device(device[0].name)
        data = data.apply(copied)
    batches = iter(data)
    return lambda: model.train_function(batches)["loss"]


def timm_contender(compiled, mode):
    """Returns the same of timm's model."""
    import timm
    import torch

    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    name = f"resnetv2_{FLAGS.depth}x{FLAGS.width}_bit"
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=FLAGS.classes).to(device)
    model = model.to(memory_format=torch.channels_last).train(mode == "train")
    forward = torch.compile(model) if compiled else model
    images = torch.randn(FLAGS.batch_size, 3, FLAGS.size, FLAGS.size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(FLAGS.batch_size, device=device) % FLAGS.classes
    optimizer = torch.optim.SGD(model.parameters(), 0.003, momentum=0.9)
    mixed = contextlib.nullcontext()
    if FLAGS.precision == "bfloat16":
        mixed = torch.autocast(device, torch.bfloat16)

    def train():
        with mixed:
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    @torch.inference_mode()
    def infer():
        with mixed:
            return forward(images)

    wait = torch.cuda.synchronize if gpu else lambda: None
    step = train if mode == "train" else infer
    first, seconds = measure(step, lambda result: wait())
    peak = torch.cuda.max_memory_allocated() if gpu else None
    versions = f"PyTorch {torch.__version__}, timm {timm.__version__}"
    return {**figures(first, seconds, peak), "versions": versions}


def figures(first, seconds, peak):
    return {
        "images/s": FLAGS.batch_size / seconds,
        "ms per step": 1e3 * seconds,
        "first step, s": first,
        "peak memory, GB": peak and peak / 1e9,
    }


def run_one(name, mode):
    if name.startswith("timm"):
        return timm_contender(name == "timm-compiled", mode)
    return keras_contender(name, mode)


def run_child(name, mode):
    """Returns the figures of a contender, or in one line why there are none."""
    python = FLAGS.torch if name.startswith("timm") else sys.executable
    given = [flag for flag in sys.argv[1:] if not flag.startswith("--out")]
    command = [python, __file__, *given, f"--one={name}:{mode}"]
    return child.run(command, FLAGS.seconds)


@functools.cache
def machine():
    """Returns the name of the GPU, or else of the processor."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.split(":")[1].strip() for line in lines if "model name" in line)
        return next(names, platform.processor())


def main(_):
    if FLAGS.one:
        name, mode = FLAGS.one.split(":")
        print(json.dumps(run_one(name, mode)))
        return
    report = {
        "device": machine(),
        "cores": os.cpu_count(),
        "network": f"R{FLAGS.depth}x{FLAGS.width}, {FLAGS.precision}",
        "batch size": FLAGS.batch_size,
        "pixels": FLAGS.size,
        "date": time.strftime("%Y-%m-%d"),
        "runs": {mode: {} for mode in FLAGS.modes},
    }
    rounds = {}
    for _ in range(FLAGS.rounds):
        for mode, name in itertools.product(FLAGS.modes, FLAGS.contenders):
            if name in NOT_IN.get(mode, ()):
                continue
            runs = rounds.setdefault((mode, name), [])
            runs.append(run_child(name, mode))
            report["runs"][mode][name] = median_run(runs)
            print(mode, name, json.dumps(runs[-1]), flush=True)
            if FLAGS.out:
                pathlib.Path(FLAGS.out).write_text(json.dumps(report, indent=1))


def median_run(runs):
    """Returns the run of median speed, with the speeds of all where there are several.

    Of an even number of runs it is the slower of the two in the middle.
    """
    whole = sorted((r for r in runs if "failed" not in r), key=lambda r: r["images/s"])
    if len(runs) == 1 or not whole:
        return runs[-1]
    speeds = [run.get("images/s") for run in runs]
    return {**whole[(len(whole) - 1) // 2], "images/s of all rounds": speeds}


if __name__ == "__main__":
    app.run(main)
