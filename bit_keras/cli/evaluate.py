"""Count how many images of a whole split a model gets right.

bit-keras evaluate --model RUN_FOLDER [--dataset cifar10 | FOLDER] [--flags]
bit-keras evaluate --model bit_s_r50x1 --dataset imagenet_v2 | imagenet_sketch |
    imagenet_a | imagenet_r | imagenet2012_real | objectnet [--data_dir FOLDER]
"""

import json

from absl import flags

from bit_keras.cli.common import (
    define_data_flags,
    define_image_size_flag,
    define_json_flag,
    define_manual_dir_flag,
    define_model_flag,
    define_overwrite_flag,
    describe_share,
    refuse_arguments,
)
from bit_keras.workflows.evaluate import SPLITS, evaluate
from bit_keras.workflows.evaluation_sets import describe_counting
from bit_keras.workflows.models import open_model


def define_flags(values):
    """Defines the flags of this command."""
    define_model_flag(values)
    define_data_flags(values)
    define_image_size_flag(values)
    define_manual_dir_flag(values)
    flags.DEFINE_enum(
        "split", "test", SPLITS, "Which part of the set.", flag_values=values
    )
    flags.DEFINE_string(
        "out_dir", None, "Folder for a report with pictures.", flag_values=values
    )
    define_overwrite_flag(values)
    define_json_flag(values)


def run(values, arguments):
    """Evaluates and prints the figures."""
    refuse_arguments(arguments)
    evaluation = evaluate(
        open_model(values.model),
        values.dataset,
        values.split,
        data_dir=values.data_dir,
        manual_dir=values.manual_dir,
        image_size=values.image_size,
        out_dir=values.out_dir,
        overwrite=values.overwrite,
    )
    figures = evaluation.to_dict()
    if values.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"Accuracy: {describe_share(evaluation.num_correct, evaluation)}")
    if figures["num_classes"] > 5:
        print(f"Top-5: {describe_share(evaluation.num_correct_top5, evaluation)}")
    print(f"Mean loss: {evaluation.loss:.4f}")
    print(f"Expected calibration error: {100 * evaluation.calibration.error:.1f} %")
    for name, correct, count in zip(
        evaluation.class_names,
        evaluation.class_correct,
        evaluation.class_counts,
        strict=True,
    ):
        print(f"  {name:24s} {correct:6d} of {count:6d}")
    for sentence in describe_counting(evaluation):
        print(sentence)
    if values.out_dir:
        print(f"Report: {values.out_dir}/report.html")
