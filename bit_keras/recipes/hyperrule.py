"""The BiT-HyperRule: how to fine-tune on any task, from its size alone."""

import dataclasses
import math
import numbers

import keras
import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.recipes.schedules import WarmupStaircase

# Images of less than this many pixels are small.
SMALL_AREA = 96 * 96
# Number of examples from which a task is medium or large.
MEDIUM, LARGE = 20_000, 500_000
# The end of the warm-up, the three decays, and the end of training.
SCHEDULES = {
    "small": (100, 200, 300, 400, 500),
    "medium": (500, 3000, 6000, 9000, 10_000),
    "large": (500, 6000, 12_000, 18_000, 20_000),
}
# The least possible value of each whole number.
LEAST = dict.fromkeys(
    ("height", "width", "num_examples", "batch_size", "resize", "crop", "steps"), 1
) | {"warmup_steps": 0}
# Chosen for a minute of training of the smallest BiT on two CPU cores.
LIGHT = {"batch_size": 64, "steps": 300, "resize": 36, "crop": 32}
# The rule's rate is for weights that are nearly right. From random ones it moves
# nothing in so few steps: 250 steps on the bundled doodles, at 48 pixels, reached 5 %
# of the test images with 0.0004, and 31, 60 and 70 % with 0.0075, 0.03 and 0.1.
LIGHT_RATE_FROM_SCRATCH = 0.05


@dataclasses.dataclass(frozen=True)
class HyperRule:
    """What the BiT-HyperRule decides for a task, as its published code does.

    Args:
        height: Usual height of the task's images in pixels.
        width: Usual width of the task's images in pixels.
        num_examples: Number of training examples.
        batch_size: Number of examples in a step.
        base_learning_rate: Learning rate after the warm-up.
        resize: Height and width in pixels that training images are resized to; by rule
            160 for images below 96 x 96 in area, else 512.
        crop: Height and width in pixels of the random crop of these, and of images in
            evaluation; by rule 128 or 480.
        steps: Number of steps; by rule 500 below 20,000 examples, 10,000 below 500,000,
            else 20,000.
        warmup_steps: Number of steps of linear warm-up; by rule 100, or 500 from 20,000
            examples, in proportion to `steps`.
        decay_steps: The steps after which the learning rate falls to a tenth; by rule
            at 40, 60 and 80 % of the steps, or 30, 60 and 90 % from 20,000 examples.
        mixup_alpha: Parameter of MixUp's Beta distribution, 0 for none; by rule 0.1
            from 20,000 examples.

    Raises:
        InputError: If a value is not possible.

    There is no weight decay and no dropout.

    Example:

    >>> recipe = HyperRule(height=32, width=32, num_examples=50_000)
    >>> recipe.resize, recipe.crop, recipe.steps, recipe.mixup_alpha
    (160, 128, 10000, 0.1)

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 3.3, and
    big_transfer's `bit_hyperrule.py`. The paper's text has other decays for small tasks
    (30, 60, 90 %) and other sizes for large images (448 and 384).
    """

    height: int
    width: int
    num_examples: int
    batch_size: int = 512
    base_learning_rate: float = 0.003
    resize: int | None = None
    crop: int | None = None
    steps: int | None = None
    warmup_steps: int | None = None
    decay_steps: tuple[int, ...] | None = None
    mixup_alpha: float | None = None

    def __post_init__(self):
        self._check_integers()
        for name, value in self._decisions().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "decay_steps", tuple(self.decay_steps))
        self._check_relations()

    def _check_integers(self):
        """Raises unless counts and sizes are whole numbers; makes them plain ones."""
        left_to_rule = {f.name for f in dataclasses.fields(self) if f.default is None}
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is None and name in left_to_rule:
                continue
            if not isinstance(value, numbers.Integral) or value < least:
                raise InputError(
                    f"`{name}` must be a whole number of at least {least}. "
                    f"Received: {value!r}"
                )
            object.__setattr__(self, name, int(value))

    def _decisions(self):
        """Returns what the rule says on everything that can be left to it."""
        supports = SCHEDULES[self._task_size()]
        small_images = self.height * self.width < SMALL_AREA
        resize, crop = (160, 128) if small_images else (512, 480)
        factor = (self.steps or supports[-1]) / supports[-1]
        warmup_steps, *decay_steps, steps = [round(s * factor) for s in supports]
        return {
            "resize": resize,
            "crop": crop,
            "steps": steps,
            "warmup_steps": warmup_steps,
            "decay_steps": decay_steps,
            "mixup_alpha": 0.0 if self.num_examples < MEDIUM else 0.1,
        }

    def _task_size(self):
        if self.num_examples < MEDIUM:
            return "small"
        return "medium" if self.num_examples < LARGE else "large"

    def _check_relations(self):
        if self.crop > self.resize:
            raise InputError(
                "`crop` cannot be larger than `resize`. "
                f"Received: crop={self.crop}, resize={self.resize}"
            )
        if not 0 < self.base_learning_rate < math.inf:
            raise InputError(
                "`base_learning_rate` must be a positive number. "
                f"Received: {self.base_learning_rate!r}"
            )
        if not 0 <= self.mixup_alpha < math.inf:
            raise InputError(
                "`mixup_alpha` must be a positive number, or 0 for no MixUp. "
                f"Received: {self.mixup_alpha!r}"
            )
        if list(self.decay_steps) != sorted(self.decay_steps):
            raise InputError(
                "`decay_steps` must be in increasing order. "
                f"Received: {self.decay_steps}"
            )

    def scaled(self, batch_size=None, steps=None, resize=None, crop=None):
        """Returns the rule for smaller hardware.

        Args:
            batch_size: Number of examples in a step; the learning rate changes with it
                in proportion.
            steps: Number of steps; warm-up and decays change with it in proportion.
            resize: Height and width in pixels before the crop.
            crop: Height and width in pixels of the crop.

        Returns:
            A `HyperRule`. What is not given stays.

        Raises:
            InputError: If a value is not possible.
        """
        given = {
            "batch_size": batch_size,
            "steps": steps,
            "resize": resize,
            "crop": crop,
        }
        given = {name: value for name, value in given.items() if value is not None}
        # Checked before anything is calculated with them.
        new = dataclasses.replace(self, **given)
        batch_factor = new.batch_size / self.batch_size
        step_factor = new.steps / self.steps
        return dataclasses.replace(
            new,
            base_learning_rate=self.base_learning_rate * batch_factor,
            warmup_steps=round(self.warmup_steps * step_factor),
            decay_steps=[round(decay * step_factor) for decay in self.decay_steps],
        )

    @classmethod
    def light(cls, height, width, num_examples, from_scratch=False):
        """Returns a setting that two CPU cores get through in a minute or two.

        A small batch, small images and few steps, with the rule's momentum, warm-up and
        decays in proportion.

        Args:
            height: Usual height of the task's images in pixels.
            width: Usual width of the task's images in pixels.
            num_examples: Number of training examples.
            from_scratch: Whether the weights are random; then the learning rate is a
                high one, for the rule's would hardly move them in so few steps.

        Returns:
            A `HyperRule`.
        """
        rule = cls(height, width, num_examples).scaled(**LIGHT)
        if from_scratch:
            return dataclasses.replace(rule, base_learning_rate=LIGHT_RATE_FROM_SCRATCH)
        return rule

    @property
    def learning_rate(self):
        """The learning rate by step, a Keras `LearningRateSchedule`."""
        return WarmupStaircase(
            self.base_learning_rate, self.warmup_steps, self.decay_steps
        )

    def compile_args(self):
        """Returns the arguments of `model.compile`: optimizer, loss, metrics and XLA.

        XLA is off under a `tf.distribute` strategy, where it cannot compile the whole
        step. Elsewhere it is on: on a CPU too, where Keras would leave it off, since a
        step then takes half the time or less.
        """
        return {
            "optimizer": keras.optimizers.SGD(self.learning_rate, momentum=0.9),
            "loss": keras.losses.CategoricalCrossentropy(from_logits=True),
            "metrics": ["accuracy"],
            "jit_compile": not tf.distribute.has_strategy(),
        }

    def fit_args(self):
        """Returns the arguments of `model.fit` that make it all the steps, no more.

        They are cut into up to ten epochs of equal length, for there is an evaluation
        after each.
        """
        epochs = max(n for n in range(1, 11) if self.steps % n == 0)
        return {"epochs": epochs, "steps_per_epoch": self.steps // epochs}

    def to_dict(self):
        """Returns all values, for reports."""
        return dataclasses.asdict(self)

    def describe(self):
        """Returns the setting in one line, with how it differs from the rule, if so."""
        rule = HyperRule(self.height, self.width, self.num_examples)
        name = "BiT-HyperRule"
        if self != rule:
            lighter = self._num_pixels() < rule._num_pixels()
            name = f"{'light' if lighter else 'changed'} setting of the {name}"
        mixup = f", MixUp {self.mixup_alpha:g}" if self.mixup_alpha else ""
        return (
            f"{name}: {self.steps:,} steps of {self.batch_size} images at {self.crop} "
            f"px, learning rate {self.base_learning_rate:.3g}{mixup}"
        )

    def _num_pixels(self):
        """Returns how many pixels training looks at, a measure of its cost."""
        return self.steps * self.batch_size * self.crop**2
