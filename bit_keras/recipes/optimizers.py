"""Momentum as the paper's runs had it, and weight decay of kernels alone.

Two kinds of weight decay, one strength
---------------------------------------

Let η be the learning rate, m the momentum, w a kernel, g the gradient of the loss.

- *Coupled* (the paper, PyTorch): λ w is added to the gradient, so that it passes
  through the momentum buffer: v ← m v + g + λ w, then w ← w - η v.
- *Decoupled* (Keras's `weight_decay`): w ← w - η δ w beside the update. big_vision
  writes it as w ← w - s (r v + d w), with s the schedule from 0 to 1 and r the highest
  rate: the same with η = s r and δ = d / r.

Without a gradient the coupled form is w' = (1 + m - η λ) w - m w₋₁, where w₋₁ is the
value one step before. It has the solution w ∝ zⁿ for z² - (1 + m - η λ) z + m = 0, the
larger root of which is

    z = 1 - η λ / (1 - m) + O((η λ)²).

So in the long run it shrinks a kernel by η λ / (1 - m) in a step: each λ w stays in the
buffer for 1 / (1 - m) steps. The decoupled form shrinks it by η δ. They are equally
strong where

    δ = λ / (1 - m),   d = r λ / (1 - m).

The paper's λ = 1e-4 and m = 0.9 are thus Keras's `weight_decay=1e-3`. In big_vision's
numbers it is d = 3e-5 for r = 0.03 and d = 1e-4 for r = 0.1, for each 256 examples of a
batch, which are the very numbers of its `bit_i21k.py` and `bit_i1k.py`. They are equal
while η changes slowly against the 10 steps of the buffer.
"""

import contextlib
import functools
import threading

import keras
import tensorflow as tf
from keras import ops

from bit_keras.errors import InputError
from bit_keras.recipes import checks

FORMS = ("outside", "inside")


def is_kernel(variable):
    """Returns whether weight decay applies: to kernels, no scale, offset or bias."""
    return variable.name == "kernel" and len(variable.shape) >= 2


class KernelDecay:
    """Mixin for a Keras optimizer whose `weight_decay` is for kernels alone.

    Placed before the optimizer among the bases.
    """

    def build(self, variables):
        """Makes the optimizer's variables; called by Keras."""
        if not self.built:
            others = [variable for variable in variables if not is_kernel(variable)]
            self.exclude_from_weight_decay(var_list=others)
        super().build(variables)


_THREAD = threading.local()


def _is_given_sums():
    return getattr(_THREAD, "gives_sums", False)


class CompiledUpdates:
    """Mixin for a Keras optimizer that can update all variables of a device at once.

    Under a `tf.distribute` strategy Keras calls `update_step` for each variable, and
    nothing is compiled: on a GPU that is a handful of kernels for each, some of them
    smaller than what it takes to launch them. Decoupled weight decay and averages of
    weights stay as Keras has them.

    Placed before the optimizer among the bases.
    """

    _update_on = None

    def compile_updates(self, compiled=True):
        """Lets XLA compile the updates that graphs make under a strategy, or not."""
        # Each is compiled once, however often the step is traced that calls it.
        self._update_on = functools.cache(self._make_update) if compiled else None

    def can_be_given_sums(self, is_shared):
        """Returns whether replicas can update their variables within `given_sums`.

        Args:
            is_shared: Tells of a variable whether all replicas have a part of it.
        """
        # What Keras does with all replicas of its own accord.
        with_others = (
            "clipnorm",
            "clipvalue",
            "global_clipnorm",
            "gradient_accumulation_steps",
            "ema_overwrite_frequency",
        )
        if any(getattr(self, name, None) for name in with_others):
            return False
        # A rate that is called for may come from anywhere, and a schedule from a
        # variable that is on one device.
        rate = self._learning_rate
        if isinstance(rate, keras.Variable):
            return True
        if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return False
        kept = [v for v in vars(rate).values() if isinstance(v, keras.Variable)]
        return all(map(is_shared, kept))

    @contextlib.contextmanager
    def given_sums(self):
        """Within this, gradients are taken as sums over all replicas already.

        A replica then updates variables as those of Keras alone, by `assign`, which a
        `keras.StatelessScope` takes note of. That holds for its thread alone.
        """
        before = _is_given_sums()
        _THREAD.gives_sums = True
        try:
            yield
        finally:
            _THREAD.gives_sums = before

    def assign(self, variable, value):
        """Assigns to a variable; called by Keras."""
        if not _is_given_sums():
            super().assign(variable, value)
            return
        variable.assign(ops.cast(value, variable.dtype))

    def assign_add(self, variable, value):
        """Adds to a variable; called by Keras."""
        if not _is_given_sums():
            super().assign_add(variable, value)
            return
        self.assign(variable, ops.add(variable, ops.cast(value, variable.dtype)))

    def assign_sub(self, variable, value):
        """Subtracts from a variable; called by Keras."""
        if not _is_given_sums():
            super().assign_sub(variable, value)
            return
        self.assign(variable, ops.subtract(variable, ops.cast(value, variable.dtype)))

    def _var_key(self, variable):
        if not _is_given_sums():
            return super()._var_key(variable)
        # In a scope that knows of no value in place of the variable.
        with keras.StatelessScope():
            return super()._var_key(variable)

    def _apply_weight_decay(self, variables):
        if not _is_given_sums() or self.weight_decay is None:
            super()._apply_weight_decay(variables)
            return
        for variable in filter(self._use_weight_decay, variables):
            rate = ops.cast(self.learning_rate, variable.dtype)
            decay = ops.cast(self.weight_decay, variable.dtype)
            self.assign_sub(variable, variable * decay * rate)

    def _backend_update_step(self, gradients, variables, learning_rate):
        if not _is_given_sums():
            super()._backend_update_step(gradients, variables, learning_rate)
            return
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        if self._update_on is None or tf.executing_eagerly():
            super()._distributed_tf_update_step(
                distribution, grads_and_vars, learning_rate
            )
            return
        gradients, variables = zip(*grads_and_vars, strict=True)
        references = tuple(variable.ref() for variable in variables)

        def update(first_variable, gradients, learning_rate):
            update_all = self._update_on(first_variable.device, references)
            # A constant rate is a variable of Keras, which is no argument.
            update_all(gradients, tf.convert_to_tensor(learning_rate))

        distribution.extended.update(
            variables[0], update, args=(gradients, learning_rate), group=False
        )

    def _make_update(self, device, references):
        """Returns the function of one device, to be called in its update alone.

        It is traced there, where a variable of the strategy is that of the device.
        """

        def update_all(gradients, learning_rate):
            for gradient, reference in zip(gradients, references, strict=True):
                self.update_step(gradient, reference.deref(), learning_rate)

        return tf.function(update_all, jit_compile=True, autograph=False)


@keras.saving.register_keras_serializable("bit_keras")
class MomentumSGD(CompiledUpdates, KernelDecay, keras.optimizers.SGD):
    """Gradient descent with momentum, and with weight decay of kernels.

    With g the gradient, w the weight, η the learning rate and m the momentum,

    - `"outside"` is v ← m v + g, then w ← w - η v: the form of TensorFlow 1, PyTorch
      and optax, and so of the paper;
    - `"inside"` is v ← m v - η g, then w ← w + v: that of `keras.optimizers.SGD`, and
      so of big_transfer's TF2 code.

    While η is constant they are the same. Where it falls to a tenth, the buffer of the
    first falls with it, and that of the second still makes steps of the old size, for
    about 1 / (1 - m) steps.

    Args:
        learning_rate: A number, or a Keras `LearningRateSchedule`.
        momentum: In [0, 1].
        form: `"outside"` or `"inside"`.
        l2: Coupled weight decay: `l2` times the kernel is added to its gradient.
        weight_decay: Decoupled weight decay, as in Keras: before all else, the learning
            rate times `weight_decay` times the kernel is subtracted from it. As strong
            as `l2` is `l2 / (1 - momentum)`: the module says why.
        **kwargs: Of `keras.optimizers.SGD`; `nesterov` is only for `"inside"`.

    Raises:
        InputError: If `form` or `l2` is not possible.

    Example:

    >>> optimizer = MomentumSGD(0.003, momentum=0.9)
    """

    def __init__(
        self, learning_rate=0.01, momentum=0.9, form="outside", l2=0.0, **kwargs
    ):
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.form = checks.one_of(*FORMS)("form", form)
        self.l2 = checks.strength("l2", l2)
        if self.form == "outside" and self.nesterov:
            raise InputError(
                '`nesterov` needs the form "inside". Received: form="outside"'
            )

    def build(self, variables):
        """Makes the optimizer's variables; called by Keras."""
        if not self.built:
            self._kernels = frozenset(
                index for index, variable in enumerate(variables) if is_kernel(variable)
            )
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable; called by Keras."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        if self.l2 and index in self._kernels:
            gradient = ops.add(gradient, ops.multiply(variable, self.l2))
        if self.form == "inside" or not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        buffer = self.momentums[index]
        velocity = ops.add(ops.multiply(buffer, self.momentum), gradient)
        self.assign(buffer, velocity)
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, ops.multiply(velocity, rate))

    def get_config(self):
        return {**super().get_config(), "form": self.form, "l2": self.l2}


@keras.saving.register_keras_serializable("bit_keras")
class KernelDecayAdam(CompiledUpdates, KernelDecay, keras.optimizers.Adam):
    """Is `keras.optimizers.Adam`, its decoupled `weight_decay` for kernels alone."""
