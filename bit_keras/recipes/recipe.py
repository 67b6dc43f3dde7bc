"""What all recipes share: their values, how to scale them, and what Keras needs."""

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.recipes import checks
from bit_keras.recipes.schedules import WarmupStaircase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(abc.ABC):
    """All that data and training have to know about how to train on a set of images.

    A kind of recipe is a frozen dataclass below this one, which has `num_examples` and
    `eval_resize` too. A field whose default is `None` is left to the kind's rule, which
    `_decisions` applies.

    Args:
        batch_size: Number of examples in a step.
        base_learning_rate: Learning rate after the warm-up.
        steps: Number of steps.
        warmup_steps: Number of steps of linear warm-up.
        decay_steps: The steps after which the learning rate falls to a tenth.
        resize: Height and width in pixels before the crop.
        crop: Height and width in pixels of the crop.
        cropping: `"random"`: a random crop of the image resized to `resize` by
            `resize`; `"inception"`: a random part of the image, of random area and
            shape, resized to `crop` by `crop`; or `"none"`: the whole image resized to
            `crop` by `crop`.
        flip: `"random"`, `"always"` or `"none"`: whether training images are mirrored.
        mixup_alpha: Parameter of MixUp's Beta distribution, 0 for none.
        mixup_partner: Which example of the batch each one is mixed with: by
            `"reversal"` the one at the same place from the end, by `"roll"` the one
            before it, by `"permutation"` any.
    """

    batch_size: int
    base_learning_rate: float
    steps: int | None = None
    warmup_steps: int | None = None
    decay_steps: tuple[int, ...] | None = None
    resize: int | None = None
    crop: int | None = None
    cropping: str = "random"
    flip: str = "random"
    mixup_alpha: float | None = None
    mixup_partner: str = "reversal"

    CHECKS: ClassVar = {
        "num_examples": checks.whole_number(1),
        "batch_size": checks.whole_number(1),
        "base_learning_rate": checks.positive,
        "steps": checks.whole_number(1),
        "warmup_steps": checks.whole_number(0),
        "decay_steps": checks.boundaries,
        "resize": checks.whole_number(1),
        "crop": checks.whole_number(1),
        "cropping": checks.one_of("random", "inception", "none"),
        "flip": checks.one_of("random", "always", "none"),
        "mixup_alpha": checks.strength,
        "mixup_partner": checks.one_of("reversal", "roll", "permutation"),
    }
    # Whether a smaller batch takes more steps, unless something else is asked for.
    KEEPS_EPOCHS: ClassVar = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                self._set(field.name, self.CHECKS[field.name](field.name, value))
        for name, value in self._decisions().items():
            if getattr(self, name) is None:
                self._set(name, value)
        self._check_relations()

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @abc.abstractmethod
    def _decisions(self):
        """Returns what the rule says on everything that can be left to it."""

    @property
    def learning_rate(self):
        """The learning rate by step, a Keras `LearningRateSchedule`."""
        return WarmupStaircase(
            self.base_learning_rate, self.warmup_steps, self.decay_steps
        )

    @abc.abstractmethod
    def _make_optimizer(self):
        """Returns a new Keras optimizer."""

    @abc.abstractmethod
    def _make_loss(self):
        """Returns a new Keras loss, the mean over examples."""

    @abc.abstractmethod
    def _title(self):
        """Returns what the recipe is called where nothing is changed."""

    def _check_relations(self):
        if self.crop > self.resize:
            raise InputError(
                "`crop` cannot be larger than `resize`. "
                f"Received: crop={self.crop}, resize={self.resize}"
            )
        if self.eval_resize is not None and self.crop > self.eval_resize:
            raise InputError(
                "`crop` cannot be larger than `eval_resize`. "
                f"Received: crop={self.crop}, eval_resize={self.eval_resize}"
            )
        if self.warmup_steps >= self.steps:
            raise InputError(
                "`warmup_steps` must be less than `steps`. "
                f"Received: warmup_steps={self.warmup_steps}, steps={self.steps}"
            )

    @property
    def epochs(self):
        """How often training sees each example, on average."""
        return self.steps * self.batch_size / self.num_examples

    def scaled(
        self,
        *,
        batch_size=None,
        steps=None,
        epochs=None,
        same_epochs=None,
        warmup_steps=None,
        resize=None,
        crop=None,
    ):
        """Returns the recipe for other hardware or a shorter training.

        Args:
            batch_size: Number of examples in a step; the learning rate changes with it
                in proportion.
            steps: Number of steps; warm-up and decays change with it in proportion.
            epochs: In place of `steps`, how often training sees each example.
            same_epochs: In place of `steps`, whether training sees each example as
                often as before, so that half the batch takes twice the steps. `None`
                is as the recipe was published: true for those that count in epochs,
                false for the `HyperRule`. (For a batch of 128 its authors advise the
                same steps and a learning rate of 0.001, where the proportion is
                0.00075; in their notebook the steps change too.)
            warmup_steps: Number of steps of the warm-up.
            resize: Height and width in pixels before the crop; if not given, it
                changes with `crop` in proportion.
            crop: Height and width in pixels of the crop.

        Returns:
            A recipe of the same kind. What is not given stays.

        Raises:
            InputError: If a value is not possible.

        Example:

        >>> light = HyperRule(32, 32, 50_000).scaled(batch_size=128)
        >>> light.base_learning_rate, light.steps
        (0.00075, 10000)
        >>> HyperRule(32, 32, 50_000).scaled(batch_size=128, same_epochs=True).steps
        40000
        """
        if sum(choice is not None for choice in (steps, epochs, same_epochs)) > 1:
            raise InputError(
                "Only one of `steps`, `epochs` and `same_epochs` can be given. "
                f"Received: steps={steps}, epochs={epochs}, same_epochs={same_epochs}"
            )
        given = {"batch_size": batch_size, "steps": steps, "resize": resize}
        given |= {"crop": crop, "warmup_steps": warmup_steps}
        # Checked before anything is calculated with them.
        given = {
            name: self.CHECKS[name](name, value)
            for name, value in given.items()
            if value is not None
        }
        changes = {
            "base_learning_rate": self.base_learning_rate
            * given.get("batch_size", self.batch_size)
            / self.batch_size
        }
        changes |= self._scaled_steps(given, epochs, same_epochs)
        changes |= self._scaled_sizes(given)
        return dataclasses.replace(self, **{**changes, **given})

    def _scaled_steps(self, given, epochs, same_epochs):
        """Returns the number of steps of everything that is counted in steps."""
        batch_size = given.get("batch_size", self.batch_size)
        if same_epochs is None:
            same_epochs = self.KEEPS_EPOCHS
        if "steps" in given:
            steps = given["steps"]
        elif epochs is not None:
            examples = checks.positive("epochs", epochs) * self.num_examples
            steps = max(1, round(examples / batch_size))
        elif same_epochs:
            steps = max(1, round(self.steps * self.batch_size / batch_size))
        else:
            steps = self.steps
        return {
            "steps": steps,
            "warmup_steps": min(
                steps - 1, round(self.warmup_steps * steps / self.steps)
            ),
            "decay_steps": [
                round(step * steps / self.steps) for step in self.decay_steps
            ],
        }

    def _scaled_sizes(self, given):
        """Returns the sizes in pixels that follow from another crop."""
        crop = given.get("crop", self.crop)
        return {"resize": round(self.resize * crop / self.crop)}

    def compile_args(self):
        """Returns the arguments of `BiTClassifier.compile`.

        The metric is a weighted one, for batches of evaluation carry weights. XLA is
        on: on a CPU too, where Keras would leave it off, since a step then takes half
        the time or less. Under a `tf.distribute` strategy it is left to the model, for
        XLA cannot compile the whole step there.
        """
        return {
            "optimizer": self._make_optimizer(),
            "loss": self._make_loss(),
            "weighted_metrics": ["accuracy"],
            "jit_compile": "auto" if tf.distribute.has_strategy() else True,
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
        rule = self._unchanged()
        title = self._title()
        if self != rule:
            lighter = self._num_pixels() < rule._num_pixels()
            title = f"{'light' if lighter else 'changed'} setting of the {title}"
        digits = 0 if self.epochs >= 10 else 2
        epochs = f" ({self.epochs:,.{digits}f} epochs)" if self.KEEPS_EPOCHS else ""
        mixup = f", MixUp {self.mixup_alpha:g}" if self.mixup_alpha else ""
        return (
            f"{title}: {self.steps:,} steps of {self.batch_size} images at {self.crop} "
            f"px{epochs}, learning rate {self.base_learning_rate:.3g}{mixup}"
        )

    def _unchanged(self):
        """Returns the recipe that leaves everything to its rule."""
        needed = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.default is dataclasses.MISSING or field.name == "variant"
        }
        return type(self)(**needed)

    def _num_pixels(self):
        """Returns how many pixels training looks at, a measure of its cost."""
        return self.steps * self.batch_size * self.crop**2
