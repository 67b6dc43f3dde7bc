"""The BiT-HyperRule: how to fine-tune on any task, from its size alone."""

import dataclasses
from typing import ClassVar

import keras

from bit_keras.recipes import checks
from bit_keras.recipes.optimizers import FORMS, MomentumSGD
from bit_keras.recipes.recipe import Recipe

# Images of less than this many pixels are small.
SMALL_AREA = 96 * 96
# Height and width before and after the crop of small images.
SMALL_SIZES = (160, 128)
# Number of examples from which a task is medium or large.
MEDIUM, LARGE = 20_000, 500_000
# Steps of the warm-up, of which the paper says nothing, and of all training.
STEPS = {"small": (100, 500), "medium": (500, 10_000), "large": (500, 20_000)}
# Per cent of the steps after which the rate of medium and large tasks falls.
DECAYS = (30, 60, 90)

# Everything that the paper and the three programs of google-research/big_transfer do
# not agree on; `None` where nothing is said.
PUBLICATIONS = ("paper", "jax", "pytorch", "tf2")
DIFFERENCES = {
    # Height and width before and after the crop of large images. (The paper has
    # 512 and 480 too, but for its largest model alone.)
    "large_sizes": ((448, 384), (512, 480), (512, 480), (512, 480)),
    # Per cent of the steps after which the rate of small tasks falls.
    "small_decays": ((30, 60, 90), (40, 60, 80), (40, 60, 80), (40, 60, 80)),
    # Where the momentum buffer has the learning rate.
    "momentum_form": ("outside", "outside", "outside", "inside"),
    "flip": ("random", "always", "random", "always"),
    "mixup_partner": (None, "reversal", "permutation", "reversal"),
}
# Where the sizes and decays of each variant come from.
VARIANTS = {"code": "jax", "paper": "paper"}

# Chosen for a minute of training of the smallest BiT on two CPU cores.
LIGHT = {"batch_size": 64, "steps": 75, "resize": 72, "crop": 64}
# The rule's rate, in proportion to the batch, hardly moves anything in so few steps:
# the bundled weights with 0.0004 learned 65 % of the bundled doodles in 300 steps, and
# with 0.003, 0.01, 0.02, 0.03 and 0.1 in 75 to 100 of them 85, 88, 89, 88 and 85 %.
LIGHT_RATE = 0.02
# Random weights learn more from more steps with smaller images: 73 % of the doodles,
# and with the setting above, at rates of 0.02 to 0.1, 16 to 36 %.
LIGHT_FROM_SCRATCH = {"batch_size": 64, "steps": 300, "resize": 36, "crop": 32}
LIGHT_RATE_FROM_SCRATCH = 0.05


def as_published(publication):
    """Returns what a publication says on all that they do not agree on.

    Args:
        publication: `"paper"`, `"jax"`, `"pytorch"` or `"tf2"`.

    Returns:
        A dict of the rows of `DIFFERENCES`.
    """
    column = PUBLICATIONS.index(publication)
    return {name: values[column] for name, values in DIFFERENCES.items()}


@dataclasses.dataclass(frozen=True)
class HyperRule(Recipe):
    """What the BiT-HyperRule decides for a task.

    Args:
        height: Usual height of the task's images in pixels.
        width: Usual width of the task's images in pixels.
        num_examples: Number of training examples.
        variant: `"code"` or `"paper"`: whose sizes and decays are the rule.
        momentum_form: `"outside"` or `"inside"`, see `MomentumSGD`.
        batch_size: Number of examples in a step.
        base_learning_rate: Learning rate after the warm-up.
        steps: Number of steps; by rule 500 below 20,000 examples, 10,000 below 500,000,
            else 20,000.
        warmup_steps: Number of steps of linear warm-up; by rule 100, or 500 from 20,000
            examples, in proportion to `steps`.
        decay_steps: The steps after which the learning rate falls to a tenth; by rule
            at 40, 60 and 80 % of the steps, or 30, 60 and 90 % from 20,000 examples.
        resize: Height and width in pixels that training images are resized to; by rule
            160 for images below 96 x 96 in area, else 512.
        crop: Height and width in pixels of the random crop of these, and of images in
            evaluation; by rule 128 or 480.
        cropping: `"random"`; `"none"` for tasks that a crop spoils; or `"inception"`.
        flip: `"random"`; `"none"` for tasks that a flip spoils; or `"always"`.
        mixup_alpha: Parameter of MixUp's Beta distribution, 0 for none; by rule 0.1
            from 20,000 examples.
        mixup_partner: `"reversal"`, `"roll"` or `"permutation"`, see `Recipe`.
        eval_resize: `None`: images of evaluation are resized straight to `crop` by
            `crop`. Else their shorter side is resized to this, and they are cropped
            centrally.

    Raises:
        InputError: If a value is not possible.

    There is no weight decay and no dropout. The paper and the programs published with
    it differ (the same as data: `DIFFERENCES`):

    | | paper | JAX | PyTorch | TF2 | field |
    | --- | --- | --- | --- | --- | --- |
    | large images' sizes | 448, 384 | 512, 480 | 512, 480 | 512, 480 | `variant` |
    | small tasks' decays | 30, 60, 90 % | 40, 60, 80 % | as JAX | as JAX | `variant` |
    | rate and momentum | outside | outside | outside | inside | `momentum_form` |
    | flip | random | always | random | always | `flip` |
    | MixUp's partner | - | reversal | permutation | reversal | `mixup_partner` |

    The values here are by default the code's sizes and decays, and the paper's flip and
    momentum. For R152x4 the paper has sizes of 512 and 480. In all of them step 0 has
    the rate 0, and evaluation resizes straight to the crop's size.

    Example:

    >>> recipe = HyperRule(height=32, width=32, num_examples=50_000)
    >>> recipe.resize, recipe.crop, recipe.steps, recipe.mixup_alpha
    (160, 128, 10000, 0.1)

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.3, and
    big_transfer's `bit_hyperrule.py`, `bit_jax/`, `bit_pytorch/` and `bit_tf2/`.
    """

    height: int
    width: int
    num_examples: int
    _: dataclasses.KW_ONLY
    variant: str = "code"
    momentum_form: str = "outside"
    batch_size: int = 512
    base_learning_rate: float = 0.003
    eval_resize: int | None = None

    CHECKS: ClassVar = Recipe.CHECKS | {
        "height": checks.whole_number(1),
        "width": checks.whole_number(1),
        "variant": checks.one_of(*VARIANTS),
        "momentum_form": checks.one_of(*FORMS),
        "eval_resize": checks.whole_number(1),
    }

    def _decisions(self):
        published = as_published(VARIANTS[self.variant])
        task = self._task_size()
        small_images = self.height * self.width < SMALL_AREA
        resize, crop = SMALL_SIZES if small_images else published["large_sizes"]
        decays = published["small_decays"] if task == "small" else DECAYS
        warmup_steps, all_steps = STEPS[task]
        steps = self.steps or all_steps
        return {
            "resize": resize,
            "crop": crop,
            "steps": steps,
            "warmup_steps": round(warmup_steps * steps / all_steps),
            "decay_steps": tuple(round(steps * decay / 100) for decay in decays),
            "mixup_alpha": 0.0 if task == "small" else 0.1,
        }

    def _task_size(self):
        if self.num_examples < MEDIUM:
            return "small"
        return "medium" if self.num_examples < LARGE else "large"

    @classmethod
    def light(cls, height, width, num_examples, from_scratch=False):
        """Returns a setting that two CPU cores get through in a minute or two.

        That is, with a small network: a small batch, small images, few steps and a high
        rate, with the rule's momentum, and its warm-up and decays in proportion.

        Args:
            height: Usual height of the task's images in pixels.
            width: Usual width of the task's images in pixels.
            num_examples: Number of training examples.
            from_scratch: Whether the weights are random; then the images are smaller,
                the steps more, and the learning rate is higher.

        Returns:
            A `HyperRule`.
        """
        sizes, rate = (
            (LIGHT_FROM_SCRATCH, LIGHT_RATE_FROM_SCRATCH)
            if from_scratch
            else (LIGHT, LIGHT_RATE)
        )
        rule = cls(height, width, num_examples).scaled(**sizes)
        return dataclasses.replace(rule, base_learning_rate=rate)

    def _make_optimizer(self):
        return MomentumSGD(self.learning_rate, form=self.momentum_form)

    def _make_loss(self):
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def _scaled_sizes(self, given):
        sizes = super()._scaled_sizes(given)
        if self.eval_resize is None:
            return sizes
        crop = given.get("crop", self.crop)
        return sizes | {"eval_resize": round(self.eval_resize * crop / self.crop)}

    def _title(self):
        return "BiT-HyperRule" + (" of the paper" if self.variant == "paper" else "")
