"""Learning rates by training step."""

import keras
from keras import ops


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
        if self.warmup_steps:
            warmup = ops.cast(step, "float32") / self.warmup_steps
            rate = ops.where(step < self.warmup_steps, rate * warmup, rate)
        return rate

    def get_config(self):
        return {
            "base_learning_rate": self.base_learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay_steps": list(self.decay_steps),
        }
