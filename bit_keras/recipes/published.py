"""Recipes that were published for one set of images, in numbers of epochs."""

import dataclasses
from typing import Any, ClassVar

from bit_keras.recipes import checks
from bit_keras.recipes.recipe import Recipe
from bit_keras.recipes.schedules import WarmupCosine


@dataclasses.dataclass(frozen=True)
class Published:
    """A published setting.

    Args:
        num_examples: Number of examples that it was published for.
        epochs: Number of epochs.
        batch_size: Number of examples in a step.
        learning_rate: After the warm-up, for this batch size.
        warmup_steps: Number of steps of linear warm-up.
        decay_epochs: The epochs after which the learning rate falls to a tenth; none
            for a cosine.
        values: Of other fields of the recipe.
    """

    num_examples: int
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    decay_epochs: tuple[int, ...]
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class PublishedRecipe(Recipe):
    """A recipe whose rule is a row of a table of published settings.

    Args:
        variant: Name of the row.
        num_examples: Number of training examples.
        batch_size: Number of examples in a step; by rule the published one.
        base_learning_rate: Learning rate after the warm-up; by rule the published one,
            in proportion to `batch_size`.
        steps: Number of steps; by rule so many that there are the published epochs.
        warmup_steps: Number of steps of linear warm-up; by rule the published number.
            Where the rate would fall before they are over, or half of training would be
            spent on them, it is the share of training that they were published as. If
            `steps` is given, it is in proportion to it.
        decay_steps: The steps after which the learning rate falls to a tenth, by rule
            at the published epochs, in proportion to `steps`; `()` for a cosine.
        resize: Size in pixels of the shorter side of images in evaluation, of which the
            central `crop` by `crop` is taken.
        crop: Height and width in pixels of images.
        cropping: `"inception"`, or as in `Recipe`.
        weight_decay: Decoupled weight decay of kernels, in proportion to the learning
            rate, as in Keras.
        clip_norm: Largest norm of the gradient of all weights; 0 for any.
    """

    variant: str
    num_examples: int
    _: dataclasses.KW_ONLY
    batch_size: int | None = None
    base_learning_rate: float | None = None
    cropping: str = "inception"
    weight_decay: float | None = None
    clip_norm: float | None = None

    CHECKS: ClassVar = Recipe.CHECKS | {
        "weight_decay": checks.strength,
        "clip_norm": checks.strength,
    }
    KEEPS_EPOCHS: ClassVar = True
    SETTINGS: ClassVar = {}

    def _decisions(self):
        setting = self.SETTINGS[self.variant]
        batch_size = self.batch_size or setting.batch_size
        epoch = self.num_examples / batch_size
        all_steps = setting.epochs * epoch
        steps = self.steps or max(1, round(all_steps))
        # Not of the rounded number of steps, unless that is what was asked for.
        factor = self.steps / all_steps if self.steps else 1
        warmup_steps = _warmup_steps(setting, all_steps) * factor
        return {
            **setting.values,
            "batch_size": batch_size,
            "base_learning_rate": setting.learning_rate
            * (batch_size / setting.batch_size),
            "steps": steps,
            "warmup_steps": min(steps - 1, round(warmup_steps)),
            "decay_steps": tuple(
                round(decay * epoch * factor) for decay in setting.decay_epochs
            ),
        }

    @property
    def eval_resize(self):
        """Size in pixels of the shorter side of images in evaluation."""
        return self.resize

    @property
    def learning_rate(self):
        """The learning rate by step, a Keras `LearningRateSchedule`."""
        if self.decay_steps:
            return super().learning_rate
        return WarmupCosine(self.base_learning_rate, self.warmup_steps, self.steps)

    def compile_args(self):
        """Returns the arguments of `BiTClassifier.compile`; see `Recipe`."""
        clipping = {"clip_norm": self.clip_norm} if self.clip_norm else {}
        return super().compile_args() | clipping


def _warmup_steps(setting, steps):
    """Returns the published number, or as great a share of much fewer steps."""
    first_decay = min(setting.decay_epochs, default=setting.epochs / 2)
    if setting.warmup_steps < steps * first_decay / setting.epochs:
        return setting.warmup_steps
    published_steps = setting.epochs * setting.num_examples / setting.batch_size
    return setting.warmup_steps * steps / published_steps
