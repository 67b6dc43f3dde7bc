"""Fine-tune a model on images: model, SavedModel, report and pictures.

bit-keras finetune [--model bit_m_r50x1] [--dataset cifar10 | FOLDER] [--flags]

Without flags: the smallest BiT on the bundled doodles, with a light setting. The same
command again goes on where it was stopped.
"""

import pathlib

from absl import flags

from bit_keras.cli.common import define_model_flag, refuse_arguments
from bit_keras.cli.training import (
    carry_out,
    changed,
    define_training_flags,
    prepare,
    scales,
)
from bit_keras.workflows.finetune import choose_recipe, finetune
from bit_keras.workflows.models import open_start_model

DEFAULT_MODEL = "bit_t_r26x05"


def define_flags(values):
    """Defines the flags of this command."""
    define_model_flag(values, DEFAULT_MODEL)
    flags.DEFINE_string(
        "weights",
        None,
        "For a preset: a weight file, or `none` for random weights. By default those "
        "of the preset, bundled or downloaded once.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "recipe",
        "auto",
        ["auto", "hyperrule", "hyperrule_paper", "light"],
        "The BiT-HyperRule, as its code or as the paper's text, or a light setting of "
        "it with small batches, small images, few steps and a high rate, chosen for "
        "the bundled weights. `auto` is `light` on a machine without a GPU or TPU.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "same_epochs",
        None,
        "With --batch_size, see each image as often: half the batch takes twice the "
        "steps.",
        flag_values=values,
    )
    define_training_flags(values)


def run(values, arguments):
    """Fine-tunes, saying what it does and where it leaves the results."""
    refuse_arguments(arguments)
    strategy, source = prepare(values)
    with strategy.scope():
        model, from_scratch = open_start_model(
            values.model, source.num_classes, values.weights
        )
    origin = f"the weights of {values.weights or values.model}"
    recipe = choose_recipe(
        source,
        values.recipe,
        from_scratch=from_scratch,
        same_epochs=values.same_epochs,
        **scales(values),
    )
    carry_out(
        finetune,
        model,
        source,
        changed(recipe, values),
        values,
        start="random weights" if from_scratch else origin,
        name=f"{pathlib.Path(values.model).stem}-{source.name}",
    )
