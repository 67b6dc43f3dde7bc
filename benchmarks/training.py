"""Training speed with and without the input pipeline, and the memory of each setting.

    python benchmarks/training.py --dataset cifar10 --out training.json
    python benchmarks/training.py --crop 224 --batch_size 256 --strategy mirrored \\
        --settings plain --inputs resident,synthetic --out mirrored.json

One process trains the same network by the HyperRule's batches in several settings:
`plain`; `split`, each batch in four parts; and `remat`, the inside of each residual
unit computed anew. In each, `synthetic` input is one batch again and again, and `real`
input is that of the set, decoded, resized, cropped, flipped and mixed. `pipeline` is
the speed of that input alone. Images/s are those of whole epochs of `--steps` steps of
`fit`, after one to warm up. With `resident` input the same steps are made of one batch
that lies on the devices already, which leaves what they compute, as the median of
`--steps` measurements. The peak of memory is that of the first GPU's allocator, which
counts what XLA reserves. What several GPUs bring is told by a run with `mirrored`, and
one with `one_device` and the share that one of them had of the batch.
"""

import json
import platform
import time

import keras
import tensorflow as tf
from absl import app, flags

import bit_keras
from bit_keras.data.load import rule_for, train_batches
from bit_keras.training.fit import as_computed
from bit_keras.training.strategies import share_batches
from bit_keras.workflows import measure
from bit_keras.workflows.benchmark_steps import step_on

SETTINGS = {
    "plain": {},
    "split": {"batch_split": 4},
    "remat": {"remat": True},
}
FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "doodles", "Set of images.")
flags.DEFINE_string("data_dir", None, "Folder where TFDS keeps its sets.")
flags.DEFINE_integer("depth", 50, "Depth of the network.")
flags.DEFINE_float("width", 1, "Width of the network.")
flags.DEFINE_integer("batch_size", 512, "Images in a step.")
flags.DEFINE_integer("crop", 128, "Pixels of the images.")
flags.DEFINE_integer("steps", 50, "Steps of an epoch.")
flags.DEFINE_enum(
    "precision", "mixed_bfloat16", ["float32", "mixed_bfloat16"], "Policy."
)
flags.DEFINE_list("settings", list(SETTINGS), "Which of the settings to try.")
flags.DEFINE_list("inputs", ["synthetic", "real"], "Which of the inputs to train on.")
flags.register_validator(
    "inputs",
    lambda names: set(names) <= {"synthetic", "real", "resident"},
    "must be of synthetic, real and resident",
)
flags.DEFINE_bool("sum_in_xla", True, "Of `compile`, for several GPUs.")
flags.DEFINE_enum("strategy", "one_device", ["one_device", "mirrored"], "Devices.")
flags.DEFINE_string("out", None, "JSON file for the figures.")


class Seconds(keras.callbacks.Callback):
    """Notes how long each epoch takes; its end waits for the device."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


def images_per_second(model, batches, recipe):
    """Returns the speed of the second of two epochs, and the seconds of the first."""
    clock = Seconds()
    model.fit(
        batches,
        epochs=2,
        steps_per_epoch=FLAGS.steps,
        callbacks=[clock],
        verbose=0,
        shuffle=False,
    )
    first, second = clock.seconds
    return FLAGS.steps * recipe.batch_size / second, first


def resident_speed(model, batch, recipe, strategy):
    """Returns the speed of steps on a batch that stays, and the seconds of the first.

    Args:
        model: A compiled model.
        batch: The images and labels of all replicas.
        recipe: The recipe.
        strategy: That of the model.
    """
    replicas = strategy.num_replicas_in_sync
    size = recipe.batch_size // replicas

    def on_its_device(values):
        def share(context):
            index = context.replica_id_in_sync_group
            # Of one device alone, it is where TensorFlow puts things.
            devices = strategy.extended.worker_devices if replicas > 1 else [None]
            with tf.device(devices[index]):
                return tf.identity(values[index * size : (index + 1) * size])

        return strategy.experimental_distribute_values_from_function(share)

    shares = tuple(map(on_its_device, batch))
    step = step_on(model, shares, tuple(values[:size] for values in batch))
    timing = measure.time_steps(step, FLAGS.steps)
    return recipe.batch_size / timing.median, timing.first_seconds


def pipeline_speed(batches, recipe):
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    for _ in range(FLAGS.steps):
        next(iterator)
    return FLAGS.steps * recipe.batch_size / (time.perf_counter() - start)


def figures_of(setting, source, batch, recipe, strategy):
    """Returns the figures of one setting."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.experimental.reset_memory_stats("GPU:0")
    with strategy.scope():
        backbone = bit_keras.BiTBackbone(depth=FLAGS.depth, width=FLAGS.width)
        backbone.remat = setting.get("remat", False)
        model = bit_keras.BiTClassifier(backbone, source.num_classes)
        parts = setting.get("batch_split", 1)
        model.compile(
            **recipe.compile_args(),
            batch_split=parts,
            sum_in_xla=FLAGS.sum_in_xla and "auto",
        )
    batch = next(iter(as_computed(model, tf.data.Dataset.from_tensors(batch))))
    makers = {
        "synthetic": lambda part: tf.data.Dataset.from_tensors(batch).repeat(),
        "real": lambda part: as_computed(
            model, train_batches(source, recipe, part=part)
        ),
    }
    figures = {}
    for name in FLAGS.inputs:
        if name == "resident":
            speed, first = resident_speed(model, batch, recipe, strategy)
            figures.setdefault("first step, seconds", first)
        else:
            batches = share_batches(strategy, makers[name])
            speed, first = images_per_second(model, batches, recipe)
            figures.setdefault("first epoch, seconds", first)
        figures[f"{name}, images/s"] = speed
    if gpus:
        memory = tf.config.experimental.get_memory_info("GPU:0")
        figures["peak memory, GB"] = memory["peak"] / 1e9
    return figures


def main(_):
    keras.config.set_dtype_policy(FLAGS.precision)
    source = bit_keras.open_source(FLAGS.dataset, FLAGS.data_dir)
    rule = rule_for(source)
    recipe = rule.scaled(batch_size=FLAGS.batch_size, crop=FLAGS.crop)
    strategy = bit_keras.make_strategy(FLAGS.strategy)
    whole = train_batches(source, recipe)
    batch = next(iter(whole))
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    report = {
        "device": [d.get("device_name") for d in details] or platform.machine(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "network": f"R{FLAGS.depth}x{FLAGS.width:g}, {FLAGS.precision}",
        "data": source.name,
        "recipe": recipe.describe(),
        "strategy": FLAGS.strategy,
        "replicas": strategy.num_replicas_in_sync,
        "sum_in_xla": FLAGS.sum_in_xla,
        "pipeline, images/s": pipeline_speed(whole, recipe),
        "settings": {},
    }
    for name in FLAGS.settings:
        report["settings"][name] = figures_of(
            SETTINGS[name], source, batch, recipe, strategy
        )
        print(json.dumps(report, indent=1), flush=True)
        if FLAGS.out:
            with open(FLAGS.out, "w") as file:
                json.dump(report, file, indent=1)


if __name__ == "__main__":
    app.run(main)
