"""Train a model from random weights by an upstream recipe, or by a teacher.

bit-keras pretrain --model bit_s_r50x1 --dataset imagenet2012 --recipe S [--flags]
bit-keras pretrain --model bit_s_r50x1 --dataset imagenet2012 --recipe distill_i1k \\
    --teacher TEACHER

Any set of images will do; the recipe's numbers of epochs are kept, and --epochs or
--steps shortens it. The same command again goes on where it was stopped.
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
from bit_keras.errors import InputError
from bit_keras.recipes.distillation import Distillation
from bit_keras.recipes.upstream import Upstream
from bit_keras.workflows.models import open_model, open_teacher
from bit_keras.workflows.pretrain import pretrain

DISTILLATION = "distill_"
RECIPES = [*Upstream.SETTINGS, *(DISTILLATION + name for name in Distillation.SETTINGS)]


def define_flags(values):
    """Defines the flags of this command."""
    define_model_flag(values, "bit_t_r26x05")
    flags.DEFINE_enum(
        "recipe",
        "S",
        RECIPES,
        "The paper's upstream recipe S, M or L, big_vision's bit_i1k or bit_i21k, or a "
        "recipe of distillation.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "epochs",
        None,
        "In place of --steps, how often each image is seen.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "teacher",
        None,
        "For distillation: as --model, or any other .keras file of a model from images "
        "in [-1, 1] to logits.",
        flag_values=values,
    )
    define_training_flags(values)


def run(values, arguments):
    """Trains, saying what it does and where it leaves the results."""
    refuse_arguments(arguments)
    distils = values.recipe.startswith(DISTILLATION)
    if distils != bool(values.teacher):
        raise InputError(
            "A recipe of distillation needs --teacher, and no other recipe has one. "
            f"Received: recipe {values.recipe}, teacher {values.teacher}"
        )
    strategy, source = prepare(values)
    with strategy.scope():
        model = open_model(values.model, source.num_classes, "none")
        teacher = values.teacher and open_teacher(values.teacher)
    kind = Distillation if distils else Upstream
    variant = values.recipe.removeprefix(DISTILLATION)
    recipe = kind(variant, source.train.num_examples)
    recipe = recipe.scaled(epochs=values.epochs, **scales(values))
    start = "random weights"
    carry_out(
        pretrain,
        model,
        source,
        changed(recipe, values),
        values,
        start=f"{start}, taught by {values.teacher}" if distils else start,
        name=f"{pathlib.Path(values.model).stem}-{source.name}-{values.recipe}",
        teacher=teacher,
    )
