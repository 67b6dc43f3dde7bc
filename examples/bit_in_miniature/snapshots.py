"""Fine-tune one network on one target, and keep what pictures need of it.

    python examples/bit_in_miniature/snapshots.py --weights bit_t_r26x05 \\
        --target quickdraw45 --shots 25 --data_dir DATA --out_dir OUT/snapshots

Writes `features.npz`: features of the test images `before` and `after`, `labels` and
`class_names`; and `mistakes.npz`: the `images` that it is most sure and wrong of, with
`true` and `predicted` names and `confidences`.
"""

import pathlib

import keras
import numpy as np
import recipes
import sets
from absl import app, flags

import bit_keras
from bit_keras.data.load import eval_batches
from bit_keras.evaluation import evaluate_model
from bit_keras.evaluation.features import extract_features
from bit_keras.files import make_folder
from bit_keras.workflows.fine_tuner import FineTuner, FrozenModel
from bit_keras.workflows.models import open_model

NUM_MISTAKES = 12


def define_flags(values=flags.FLAGS):
    flags.DEFINE_string(
        "weights",
        "bit_t_r26x05",
        "A preset, or a file of upstream.py.",
        flag_values=values,
    )
    flags.DEFINE_string("target", "quickdraw45", "Of sets.TARGETS.", flag_values=values)
    flags.DEFINE_string("out_dir", "snapshots", "For results.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Of TFDS.", flag_values=values)
    flags.DEFINE_bool("bfloat16", False, "Compute in bfloat16.", flag_values=values)
    flags.DEFINE_integer("shots", 25, "Examples of each class.", flag_values=values)
    flags.DEFINE_integer("steps", 500, "Steps.", flag_values=values)
    flags.DEFINE_integer("batch_size", 128, "Images in a step.", flag_values=values)


def main(values):
    if values.bfloat16:
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = open_model(values.weights, num_classes=0)
    source = bit_keras.open_source(
        sets.target(values.target, values.data_dir), examples_per_class=values.shots
    )
    rule = recipes.TransferRule(values.batch_size, steps=values.steps)
    evaluation = snap(model, source, rule.recipe(source), values.out_dir)
    print(f"{evaluation.top1:.1%} of the test images are right.")


def snap(model, source, recipe, out_dir):
    """Fine-tunes a model without a head; writes both files.

    Args:
        model: A `BiTClassifier`, which is left as it is.
        source: The `Source`.
        recipe: The recipe.
        out_dir: Folder for the files.

    Returns:
        The `Evaluation` of the fine-tuned model.
    """
    out_dir = pathlib.Path(out_dir)
    make_folder(out_dir)
    frozen = FrozenModel.open("model", model)
    tuner = FineTuner(frozen, source.num_classes, progress=False)
    tuner.run(source, recipe, seed=0)
    tuned = FrozenModel.open("tuned", tuner.model)
    before, after = (
        extract_features(each.model, source, source.test, recipe.crop, progress=False)
        for each in (frozen, tuned)
    )
    np.savez_compressed(
        out_dir / "features.npz",
        before=before,
        after=after,
        labels=source.test.read_labels(),
        class_names=source.class_names,
    )
    batches = eval_batches(source, source.test, recipe.crop)
    evaluation = evaluate_model(tuner.model, batches, source.class_names, False)
    np.savez_compressed(out_dir / "mistakes.npz", **worst(evaluation, batches))
    return evaluation


def worst(evaluation, batches, count=NUM_MISTAKES):
    """Returns the images that are wrong with the greatest confidence, as a dict."""
    wrong = np.flatnonzero(~evaluation.correct)
    chosen = wrong[np.argsort(-evaluation.confidences[wrong], kind="stable")][:count]
    images = np.concatenate([np.asarray(images) for images, *_ in batches])[chosen]
    names = np.array(evaluation.class_names)
    return {
        "images": np.round((images + 1) * 127.5).astype(np.uint8),
        "true": names[evaluation.labels[chosen]],
        "predicted": names[evaluation.predictions[chosen]],
        "confidences": evaluation.confidences[chosen],
    }


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
