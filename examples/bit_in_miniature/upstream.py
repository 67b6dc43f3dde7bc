"""Pre-train networks on the upstream sets S, M and L.

    python examples/bit_in_miniature/upstream.py --runs S:R50x1,M:R50x1,L:R50x1 \\
        --data_dir DATA --out_dir OUT --bfloat16

Each run has a folder, such as `OUT/S-R50x1/`, with `weights.npz` in the published
layout and the same in float16. Finished runs are left alone, unfinished ones go on;
`OUT/upstream.json` has a line for each finished one.
"""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import recipes
import sets
from absl import app, flags

import bit_keras
from bit_keras.checkpoints.read import read_checkpoint
from bit_keras.checkpoints.write import write_npz
from bit_keras.workflows.folders import CHECKPOINT_FOLDER, write_json
from bit_keras.workflows.pretrain import WEIGHTS_FILE

HALF_FILE = "weights_float16.npz"
RESULTS_FILE = "upstream.json"
# Fields of a row of `recipes.UPSTREAM` that flags can change.
CHOICES = {"epochs": int, "batch_size": int, "rate": float, "mixup_alpha": float}


def define_flags(values=flags.FLAGS):
    flags.DEFINE_list(
        "runs", [], "Pairs of set and model: S:R50x1.", flag_values=values
    )
    flags.DEFINE_enum(
        "set", None, sets.UPSTREAM, "Of a single run.", flag_values=values
    )
    flags.DEFINE_enum(
        "model", None, recipes.MODELS, "Of a single run.", flag_values=values
    )
    flags.DEFINE_string("out_dir", "miniature", "For results.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Of TFDS.", flag_values=values)
    flags.DEFINE_bool("bfloat16", False, "Compute in bfloat16.", flag_values=values)
    flags.DEFINE_bool("progress", True, "Show progress bars.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of weights and of images.", flag_values=values)
    flags.DEFINE_integer("steps", None, "For rehearsals.", flag_values=values)
    for name, kind in CHOICES.items():
        define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
        define(name, None, "In place of the table's.", flag_values=values)


def main(values):
    pairs = [pair.split(":") for pair in values.runs]
    if values.set:
        pairs.append((values.set, values.model or "R50x1"))
    for name, model in pairs:
        folder = pathlib.Path(values.out_dir, f"{name}-{model}")
        if not is_finished(folder):
            run(name, model, folder, values)
        collect(values.out_dir)


def run(name, model_name, folder, values):
    """Pre-trains one network."""
    source = sets.upstream(name, values.data_dir)
    recipe = recipe_for(name, source.train.num_examples, values)
    keras.utils.set_random_seed(values.seed)
    policy = "mixed_bfloat16" if values.bfloat16 else "float32"
    backbone = recipes.new_backbone(model_name, policy)
    model = bit_keras.BiTClassifier(backbone, source.num_classes)
    print(f"{folder.name}: {recipe.describe()}", flush=True)
    bit_keras.pretrain(
        model, source, recipe, folder, seed=values.seed, progress=values.progress
    )
    write_half(folder)


def recipe_for(name, num_examples, values):
    """Returns the recipe of the table, changed by flags."""
    changes = recipes.given(values, CHOICES)
    row = dataclasses.replace(recipes.UPSTREAM[name], **changes)
    return row.recipe(num_examples).scaled(steps=values.steps)


def is_finished(folder):
    """Whether a run has left all its results."""
    is_whole = (folder / "report.json").is_file() and (folder / WEIGHTS_FILE).is_file()
    return is_whole and not (folder / CHECKPOINT_FOLDER).exists()


def write_half(folder):
    """Writes the weights in half the bytes, which the package reads as well."""
    checkpoint = read_checkpoint(folder / WEIGHTS_FILE)
    halves = ((name, array.astype(np.float16)) for name, array in checkpoint.tensors())
    write_npz(folder / HALF_FILE, checkpoint.architecture, halves)


def collect(out_dir):
    """Writes a line for each finished run, from its report."""
    out_dir = pathlib.Path(out_dir)
    folders = (path.parent for path in sorted(out_dir.glob("*/report.json")))
    rows = [describe(folder) for folder in folders if is_finished(folder)]
    write_json(out_dir / RESULTS_FILE, rows)
    return rows


def describe(folder):
    """Returns the line of a finished run."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    recipe, evaluation = report["recipe"], report["evaluation"]
    name, model = folder.name.split("-", 1)
    seconds = report["timings"]["training"]
    images = recipe["steps"] * recipe["batch_size"]
    return {
        "set": name,
        "model": model,
        "seconds": seconds,
        # With the evaluations in between.
        "images_per_second": round(images / seconds, 1) if seconds else None,
        "top1": evaluation["top1"],
        "top1_cifar10": sets.cifar10_share(evaluation["classes"]),
        "steps": recipe["steps"],
        "seed": report["seed"],
        "environment": report["environment"],
    }


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
