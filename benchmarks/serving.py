"""Latency and throughput of one network in every form that it can be exported to.

    python benchmarks/serving.py --out serving.json

The Keras model, called and by `predict_on_batch`, both forms of the SavedModel, LiteRT
in three precisions and ONNX Runtime take turns in one process, so that whatever else
the machine does falls on all of them alike. Latency is the median of the times of one
image; the throughput follows from that of a batch of `--batch_size`.
"""

import functools
import json
import os
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from absl import app, flags, logging
from ai_edge_litert.interpreter import Interpreter

import bit_keras
from bit_keras.export.portable import PRECISIONS, export_litert, export_onnx
from bit_keras.workflows import measure

FLAGS = flags.FLAGS
flags.DEFINE_integer("depth", 50, "Depth of the network.")
flags.DEFINE_float("width", 1, "Width of the network.")
flags.DEFINE_integer("classes", 1000, "Classes of its head.")
flags.DEFINE_integer("size", 224, "Pixels of the images.")
flags.DEFINE_integer("batch_size", 32, "Images in a batch, for the throughput.")
flags.DEFINE_integer("rounds", 20, "How often each takes its turn with one image.")
flags.DEFINE_integer("batch_rounds", 5, "How often each takes its turn with a batch.")
flags.DEFINE_string("out", None, "JSON file for the figures.")


def make_model():
    keras.utils.set_random_seed(0)
    backbone = bit_keras.BiTBackbone(depth=FLAGS.depth, width=FLAGS.width)
    model = bit_keras.BiTClassifier(backbone, FLAGS.classes)
    head = np.random.default_rng(0).normal(0, 0.02, model.head.kernel.shape)
    model.head.kernel.assign(head)
    return model


def contenders(model, folder):
    """Yields (name, function of images in [0, 1], bytes on the disk)."""
    rescaled = keras.Sequential([keras.layers.Rescaling(2, -1), model])
    yield "Keras, called", lambda images: model(2 * images - 1), None
    yield "Keras, predict_on_batch", rescaled.predict_on_batch, None
    for form in ("trainable", "serving"):
        path = bit_keras.export_saved_model(model, folder / form, "logits", form=form)
        loaded = tf.saved_model.load(str(path))
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        yield f"SavedModel, {form}", loaded, size
    for precision in PRECISIONS:
        done = export_litert(model, folder / f"{precision}.tflite", precision=precision)
        session = Interpreter(str(done.path), num_threads=os.cpu_count())
        run = functools.partial(run_litert, session)
        yield f"LiteRT, {precision}", run, done.num_bytes
    done = export_onnx(model, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(done.path, options)
    run = functools.partial(run_onnx, session)
    yield "ONNX Runtime, float32", run, done.num_bytes


def run_litert(session, images):
    """Runs an interpreter as a program does that gets images of one size."""
    (given,), (returned,) = session.get_input_details(), session.get_output_details()
    if tuple(given["shape"]) != images.shape:
        session.resize_tensor_input(given["index"], images.shape)
        session.allocate_tensors()
    session.set_tensor(given["index"], images)
    session.invoke()
    return session.get_tensor(returned["index"])


def run_onnx(session, images):
    return session.run(None, {"images": images})[0]


def median_seconds(functions, images, rounds):
    """Returns the median time of each function; they take turns."""
    times = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, run in functions.items():
            start = time.perf_counter()
            np.asarray(run(images))
            if number > 1:  # The first ones compile and allocate.
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main(_):
    logging.set_verbosity(logging.WARNING)
    random = np.random.default_rng(0)
    shape = (FLAGS.batch_size, FLAGS.size, FLAGS.size, 3)
    images = random.uniform(size=shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model()
        all_of_them = list(contenders(model, pathlib.Path(folder)))
        functions = {name: run for name, run, _ in all_of_them}
        latency = median_seconds(functions, images[:1], FLAGS.rounds)
        batch = median_seconds(functions, images, FLAGS.batch_rounds)
    report = {
        "machine": measure.processor(),
        "cores": measure.num_cores(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "onnxruntime": onnxruntime.__version__,
        "network": f"{model.backbone.architecture.name}, float32",
        "pixels": FLAGS.size,
        "batch size": FLAGS.batch_size,
        "runs": {
            name: {
                "latency of one image, ms": 1e3 * latency[name],
                "images/s": FLAGS.batch_size / batch[name],
                "size, MB": size and size / 1e6,
            }
            for name, _, size in all_of_them
        },
    }
    print(json.dumps(report, indent=1))
    if FLAGS.out:
        pathlib.Path(FLAGS.out).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
