"""Distillation: a student that learns to answer as its teacher does."""

import dataclasses
from typing import ClassVar

from bit_keras.recipes import checks
from bit_keras.recipes.losses import DistillationLoss
from bit_keras.recipes.optimizers import KernelDecayAdam
from bit_keras.recipes.published import Published, PublishedRecipe


def _small(num_examples, epochs, temperature, rate, decay):
    """Returns a setting of big_vision for a small set of images."""
    return _setting(
        num_examples, epochs, temperature, rate, decay, 512, 1500, resize=160, crop=128
    )


def _setting(
    num_examples,
    epochs,
    temperature,
    rate,
    decay,
    batch_size=4096,
    warmup_steps=5000,
    **sizes,
):
    """Returns a setting; `decay` is what a step at the full rate takes of a kernel."""
    values = {"temperature": temperature, "weight_decay": round(decay / rate, 12)}
    values |= {"mixup_alpha": 1.0, "clip_norm": 1.0, **sizes}
    return Published(num_examples, epochs, batch_size, rate, warmup_steps, (), values)


@dataclasses.dataclass(frozen=True)
class Distillation(PublishedRecipe):
    """How a student is distilled from a teacher: consistently, and with patience.

    Teacher and student see the same crop, flip and MixUp of an image, and the student
    learns the teacher's answer alone, not the label. MixUp is strong (its proportion is
    uniform), and training is very long.

    Args:
        variant: `"i1k"`, for ILSVRC-2012; or for a small set of images `"flowers"`,
            `"pet"`, `"food"` or `"sun"` with `_fast`, `_medium` or `_long`.
        num_examples: Number of training examples.
        temperature: That the logits of both are divided by, see `DistillationLoss`.
        **others: Of `PublishedRecipe` and `Recipe`.

    Raises:
        InputError: If a value is not possible.

    By rule Adam, a cosine, weight decay of kernels, and a gradient clipped to a norm of
    1; `Distillation.SETTINGS` has the numbers. `i1k` has batches of 4096 examples, 1200
    epochs (the configuration's middle ground; the paper has 300 to 9600), and crops of
    224 pixels, evaluated at the centre of 256. The others have batches of 512, and
    crops of 128 pixels, evaluated at the centre of 160.

    Two deviations change nothing in distribution or next to nothing: big_vision mixes
    each image with at most as much of another one, which is the same since partners go
    round in a circle; and it keeps Adam's first moment in bfloat16, here it is float32.

    Example:

    >>> recipe = Distillation("i1k", num_examples=1_255_544)
    >>> recipe.steps, recipe.scaled(epochs=300).steps
    (367835, 91959)

    Source: Beyer et al., "Knowledge distillation: A good teacher is patient and
    consistent", arXiv 2106.05237; big_vision's `configs/proj/distill/bit_i1k.py`,
    `bigsweep_flowers_pet.py` and `bigsweep_food_sun.py`.
    """

    _: dataclasses.KW_ONLY
    mixup_partner: str = "roll"
    temperature: float | None = None

    # Examples, epochs, temperature, learning rate, and how much of a kernel a step at
    # this rate takes away.
    SETTINGS: ClassVar = {
        "i1k": _setting(1_255_544, 1200, 1.0, 0.03, 3e-4, resize=256, crop=224),
        "flowers_fast": _small(1020, 10_000, 10.0, 0.003, 3e-4),
        "flowers_medium": _small(1020, 100_000, 1.0, 0.001, 1e-4),
        "flowers_long": _small(1020, 1_000_000, 1.0, 0.0003, 1e-5),
        "pet_fast": _small(3312, 1000, 5.0, 0.01, 1e-3),
        "pet_medium": _small(3312, 3000, 10.0, 0.003, 3e-4),
        "pet_long": _small(3312, 30_000, 2.0, 0.003, 1e-5),
        "food_fast": _small(68_175, 100, 10.0, 0.01, 1e-3),
        "food_medium": _small(68_175, 1000, 10.0, 0.001, 3e-4),
        "food_long": _small(68_175, 3000, 5.0, 0.01, 1e-4),
        "sun_fast": _small(76_128, 100, 10.0, 0.01, 1e-3),
        "sun_medium": _small(76_128, 1000, 10.0, 0.001, 1e-4),
        "sun_long": _small(76_128, 3000, 10.0, 0.01, 3e-5),
    }
    CHECKS: ClassVar = PublishedRecipe.CHECKS | {
        "variant": checks.one_of(*SETTINGS),
        "temperature": checks.positive,
    }

    def _make_optimizer(self):
        # The reference's epsilon; Keras's default is ten times as large.
        return KernelDecayAdam(
            self.learning_rate, weight_decay=self.weight_decay or None, epsilon=1e-8
        )

    def _make_loss(self):
        return DistillationLoss(self.temperature)

    def _title(self):
        return f"distillation recipe {self.variant}"
