"""How long `bit-keras predict` takes for one image, from its start to its end.

    python benchmarks/start.py --out start.json

It runs R50x1 in the serving form, in turns with a program that only imports TensorFlow
and Keras. The machine can only make a run longer, so that the shortest one counts.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import keras
import tensorflow as tf
from absl import app, flags

import bit_keras
from bit_keras.assets import doodles_folder
from bit_keras.workflows import measure

FLAGS = flags.FLAGS
flags.DEFINE_string("preset", "bit_m_r50x1", "The network; its weights are random.")
flags.DEFINE_integer("classes", 10, "Classes of its head.")
flags.DEFINE_integer("rounds", 5, "How often each program takes its turn.")
flags.DEFINE_string("out", None, "JSON file for the figures.")


def commands(folder):
    """Returns {name: command line}, the first one without bit_keras."""
    model = bit_keras.BiTClassifier.from_preset(
        FLAGS.preset, FLAGS.classes, weights=None
    )
    path = bit_keras.export_saved_model(model, folder, "logits", form="serving")
    image = next((doodles_folder() / "test" / "cup").iterdir())
    predict = ["-m", "bit_keras", "predict", "--model", str(path), str(image)]
    return {
        "import tensorflow, keras": [sys.executable, "-c", "import tensorflow, keras"],
        "bit-keras predict, one image": [sys.executable, *predict],
    }


def shortest_seconds(programs, rounds):
    """Returns the shortest time of each program; they take turns."""
    times = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run(program, check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        programs = commands(pathlib.Path(folder) / "serving")
        seconds = shortest_seconds(programs, FLAGS.rounds)
    alone, predicting = seconds.values()
    report = {
        "machine": measure.processor(),
        "cores": measure.num_cores(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "network": FLAGS.preset,
        "rounds": FLAGS.rounds,
        "seconds": seconds,
        "ratio": predicting / alone,
    }
    print(json.dumps(report, indent=1))
    if FLAGS.out:
        pathlib.Path(FLAGS.out).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
