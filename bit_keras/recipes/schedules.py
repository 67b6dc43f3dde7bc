"""Learning rates by training step.

Steps are those of the optimizer, `optimizer.iterations`: the first one has number 0.
"""

import math

import keras
import numpy as np
from keras import ops

from bit_keras.errors import InputError


@keras.saving.register_keras_serializable("bit_keras")
class WarmupStaircase(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero, then a tenth of the rate after each boundary.

    Step 0 has the rate 0, and a boundary itself still the rate before it, as in
    big_transfer's `bit_hyperrule.py`.

    Args:
        base_learning_rate: Rate after the warm-up.
        warmup_steps: Number of steps of the warm-up; 0 for none.
        decay_steps: The boundaries, in increasing order.

    Example:

    >>> rate = WarmupStaircase(0.003, 100, (200, 300, 400))
    >>> [round(float(rate(step)), 7) for step in (0, 50, 100, 200, 201)]
    [0.0, 0.0015, 0.003, 0.003, 0.0003]
    """

    def __init__(self, base_learning_rate, warmup_steps, decay_steps):
        self.base_learning_rate = base_learning_rate
        self.warmup_steps = warmup_steps
        self.decay_steps = tuple(decay_steps)

    def __call__(self, step):
        # Compared as whole numbers: float32 cannot tell steps beyond 2**24 apart.
        step = ops.cast(step, "int64")
        passed = sum(ops.cast(step > decay, "int32") for decay in self.decay_steps)
        # Divided, as the reference does: a product with 0.1 differs in the last digit.
        num_rates = len(self.decay_steps) + 1
        rates = [self.base_learning_rate / 10**n for n in range(num_rates)]
        rate = ops.take(ops.convert_to_tensor(rates, "float32"), passed)
        return warmed_up(rate, step, self.warmup_steps)

    def get_config(self):
        return {
            "base_learning_rate": self.base_learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay_steps": list(self.decay_steps),
        }


@keras.saving.register_keras_serializable("bit_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero, then half a period of a cosine down to zero.

    Step 0 has the rate 0, and so would have the step after the last one.

    Args:
        base_learning_rate: Rate after the warm-up.
        warmup_steps: Number of steps of the warm-up; 0 for none.
        steps: Number of all steps, more than those of the warm-up.

    Raises:
        InputError: If no step is left after the warm-up.

    Example:

    >>> rate = WarmupCosine(0.48, 100, 500)
    >>> [round(float(rate(step)), 3) for step in (0, 50, 100, 300, 500)]
    [0.0, 0.24, 0.48, 0.24, 0.0]

    Source: big_vision's `utils.py`, `create_learning_rate_schedule`.
    """

    def __init__(self, base_learning_rate, warmup_steps, steps):
        if warmup_steps >= steps:
            raise InputError(
                "`warmup_steps` must be less than `steps`. "
                f"Received: warmup_steps={warmup_steps}, steps={steps}"
            )
        self.base_learning_rate = base_learning_rate
        self.warmup_steps = warmup_steps
        self.steps = steps

    def __call__(self, step):
        step = ops.cast(step, "int64")
        after_warmup = ops.cast(step - self.warmup_steps, "float32")
        progress = ops.clip(after_warmup / (self.steps - self.warmup_steps), 0, 1)
        rate = self.base_learning_rate * 0.5 * (1 + ops.cos(math.pi * progress))
        return warmed_up(rate, step, self.warmup_steps)

    def get_config(self):
        return {
            "base_learning_rate": self.base_learning_rate,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
        }


class RateTable(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates of all steps in a variable, so that they can be changed.

    What was compiled for one schedule then serves for others, of other lengths too.

    Args:
        size: Largest number of steps.

    Example:

    >>> table = RateTable(1000)
    >>> table.fill(WarmupStaircase(0.003, 100, (200, 300, 400)), steps=500)
    >>> round(float(table(50)), 7)
    0.0015
    """

    def __init__(self, size):
        self.rates = keras.Variable(np.zeros(size, np.float32), trainable=False)

    @property
    def size(self):
        """Largest number of steps."""
        return self.rates.shape[0]

    def fill(self, schedule, steps):
        """Takes over the rates of a schedule.

        Args:
            schedule: Maps steps to rates, such as a `WarmupStaircase`.
            steps: Number of steps, `size` at most; later ones get the rate 0.
        """
        rates = np.zeros(self.size, np.float32)
        rates[:steps] = ops.convert_to_numpy(schedule(np.arange(steps)))
        self.rates.assign(rates)

    def __call__(self, step):
        return ops.take(self.rates, ops.minimum(step, self.size - 1))

    def get_config(self):
        """Returns the size; the rates themselves are not kept."""
        return {"size": self.size}


def warmed_up(rate, step, warmup_steps):
    """Returns the rate, less of it in the steps of a linear warm-up."""
    if not warmup_steps:
        return rate
    share = ops.cast(step, "float32") / warmup_steps
    return ops.where(step < warmup_steps, rate * share, rate)
