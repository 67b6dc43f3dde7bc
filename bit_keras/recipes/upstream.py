"""Upstream training: how the published weights were made."""

import dataclasses
from typing import ClassVar

import keras

from bit_keras.recipes import checks
from bit_keras.recipes.losses import SigmoidCrossentropy
from bit_keras.recipes.optimizers import FORMS, MomentumSGD
from bit_keras.recipes.published import Published, PublishedRecipe

ILSVRC_2012 = 1_281_167
IMAGENET_21K = 14_197_122
JFT_300M = 300_000_000

# The head's bias that makes every one of thousands of classes unlikely at first.
UNLIKELY = -10.0


def _paper(num_examples, epochs, decay_epochs, loss):
    """Returns a setting of the paper's section 3.3."""
    return _setting(
        num_examples,
        epochs,
        rate=0.03,
        decay_epochs=decay_epochs,
        loss=loss,
        l2=1e-4,
        weight_decay=0.0,
        clip_norm=0.0,
    )


def _big_vision(num_examples, rate, decay, warmup_steps, loss):
    """Returns a setting of big_vision: a cosine, clipping, decoupled weight decay."""
    return _setting(
        num_examples,
        90,
        rate=rate,
        warmup_steps=warmup_steps,
        loss=loss,
        l2=0.0,
        weight_decay=round(decay / rate, 12),
        clip_norm=1.0,
    )


def _setting(
    num_examples, epochs, rate, loss, warmup_steps=5000, decay_epochs=(), **values
):
    """Returns a setting; `rate` is for 256 examples."""
    batch_size = 4096
    head_bias = UNLIKELY if loss == "sigmoid" else 0.0
    values |= {"loss": loss, "head_bias": head_bias, "mixup_alpha": 0.0}
    values |= {"resize": 256, "crop": 224}
    return Published(
        num_examples,
        epochs,
        batch_size,
        rate * batch_size / 256,
        warmup_steps,
        decay_epochs,
        values,
    )


@dataclasses.dataclass(frozen=True)
class Upstream(PublishedRecipe):
    """How BiT networks are trained from random weights.

    Args:
        variant: `"S"`, `"M"` or `"L"`: the paper's, for ILSVRC-2012, ImageNet-21k and
            JFT-300M. Or `"bit_i1k"` or `"bit_i21k"`: those of big_vision's
            configurations of these names.
        num_examples: Number of training examples.
        momentum_form: `"outside"` or `"inside"`, see `MomentumSGD`.
        l2: Coupled weight decay of kernels.
        loss: `"softmax"`, or `"sigmoid"` for several labels an image.
        head_bias: What the head's bias starts from.
        **others: Of `PublishedRecipe` and `Recipe`.

    Raises:
        InputError: If a value is not possible.

    By rule, in batches of 4096 examples, with momentum 0.9, and evaluated at the
    central 224 pixels of images with a shorter side of 256:

    | | epochs | rate for 256 | falls at epochs | warm-up | weight decay | loss |
    | --- | --- | --- | --- | --- | --- | --- |
    | S | 90 | 0.03 | 30, 60, 80 | 5000 | 1e-4, coupled | softmax |
    | M | 90 | 0.03 | 30, 60, 80 | 5000 | 1e-4, coupled | sigmoid |
    | L | 40 | 0.03 | 10, 23, 30, 37 | 5000 | 1e-4, coupled | sigmoid |
    | bit_i1k | 90 | 0.1 | cosine | 1000 | 1e-3, decoupled | softmax |
    | bit_i21k | 90 | 0.03 | cosine | 5000 | 1e-3, decoupled | sigmoid |

    big_vision's two clip the gradient to a norm of 1. (It keeps the momentum in
    bfloat16, and its `bit_i1k` trains another network than BiT's; here momentum is in
    float32.) Both kinds of weight decay are equally strong, see
    `bit_keras.recipes.optimizers`. With the sigmoid loss the head's bias starts from
    -10. There is a random flip and no MixUp. The paper does not say whether the step at
    an epoch's very end has the old or the new rate: it has the old one, as in the code
    of the HyperRule.

    Example:

    >>> recipe = Upstream("M", num_examples=14_197_122)
    >>> recipe.base_learning_rate, recipe.steps, recipe.decay_steps
    (0.48, 311948, (103983, 207966, 277288))
    >>> recipe.scaled(batch_size=256, epochs=10).steps
    554575

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.3;
    big_vision's `configs/bit_i1k.py` and `configs/bit_i21k.py`.
    """

    _: dataclasses.KW_ONLY
    momentum_form: str = "outside"
    l2: float | None = None
    loss: str | None = None
    head_bias: float | None = None

    SETTINGS: ClassVar = {
        "S": _paper(ILSVRC_2012, 90, (30, 60, 80), "softmax"),
        "M": _paper(IMAGENET_21K, 90, (30, 60, 80), "sigmoid"),
        "L": _paper(JFT_300M, 40, (10, 23, 30, 37), "sigmoid"),
        "bit_i1k": _big_vision(ILSVRC_2012, 0.1, 1e-4, 1000, "softmax"),
        "bit_i21k": _big_vision(IMAGENET_21K, 0.03, 3e-5, 5000, "sigmoid"),
    }
    CHECKS: ClassVar = PublishedRecipe.CHECKS | {
        "variant": checks.one_of(*SETTINGS),
        "momentum_form": checks.one_of(*FORMS),
        "l2": checks.strength,
        "loss": checks.one_of("softmax", "sigmoid"),
        "head_bias": checks.number,
    }

    def _make_optimizer(self):
        return MomentumSGD(
            self.learning_rate,
            form=self.momentum_form,
            l2=self.l2,
            weight_decay=self.weight_decay or None,
        )

    def _make_loss(self):
        if self.loss == "sigmoid":
            return SigmoidCrossentropy()
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def _title(self):
        return f"BiT upstream recipe {self.variant}"
