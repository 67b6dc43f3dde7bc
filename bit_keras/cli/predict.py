"""Label images, with probabilities.

bit-keras predict --model RUN_FOLDER IMAGE_OR_FOLDER... [--flags]
"""

import csv
import json
import sys

from absl import flags

from bit_keras.cli.common import (
    define_image_size_flag,
    define_json_flag,
    define_model_flag,
)
from bit_keras.workflows.models import open_predictor
from bit_keras.workflows.predict import predict


def define_flags(values):
    """Defines the flags of this command."""
    define_model_flag(values)
    define_image_size_flag(values)
    flags.DEFINE_integer(
        "top_k", 3, "Labels for each image.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_enum(
        "format", "text", ["text", "json", "csv"], "How to write.", flag_values=values
    )
    define_json_flag(values)  # Short for --format=json.


def run(values, arguments):
    """Prints the likeliest labels of each image."""
    model = open_predictor(values.model)
    predictions = predict(model, arguments, values.top_k, values.image_size)
    WRITERS["json" if values.json else values.format](predictions)


def _write_text(predictions):
    for prediction in predictions:
        labels = ", ".join(f"{name} {share:.1%}" for name, share in _pairs(prediction))
        print(f"{prediction.path}: {labels}")


def _write_json(predictions):
    listed = [
        {
            "path": prediction.path,
            "predictions": [
                {"label": name, "probability": share}
                for name, share in _pairs(prediction)
            ],
        }
        for prediction in predictions
    ]
    print(json.dumps(listed, indent=2, ensure_ascii=False))


def _write_csv(predictions):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "label", "probability"])
    for prediction in predictions:
        for rank, (name, share) in enumerate(_pairs(prediction), start=1):
            writer.writerow([prediction.path, rank, name, f"{share:.6f}"])


def _pairs(prediction):
    return zip(prediction.labels, prediction.probabilities, strict=True)


WRITERS = {"text": _write_text, "json": _write_json, "csv": _write_csv}
