"""Repairs of what Keras's `fit` and `evaluate` cannot do under a strategy.

Needed with Keras 3.12 to 3.15; `tests/models/test_distributed_fit.py` fails once Keras
does without:

- With several workers (keras#20585) `_maybe_symbolic_build` adds up the shares of the
  replicas, and `reduce_per_replica` looks for an axis in scalars.
- With shares of unequal size the first of these fails for several replicas of one
  worker too.
- With `steps_per_execution`, collectives fail inside of the conditionals that Keras
  makes a step of.

And one without any: after each step Keras waits for the device, to learn whether there
was a batch, so that a GPU idles until the next one is launched.
"""

import tensorflow as tf


class DistributedFit:
    """Mixin for a `keras.Model` that is built when it is made.

    Placed before `keras.Model` among the bases.

    Attributes:
        prepare: Applied to each batch before a step of `fit` or `evaluate`, where
            `can_prepare`; or `None`. It is not compiled together with the step, so that
            the network is compiled once for all batches that lead to the same images.
    """

    prepare = None

    @property
    def can_prepare(self):
        """Whether `prepare` is applied: to one step at a time, without a strategy."""
        alone = not self.has_strategy and not self.run_eagerly
        return alone and self.steps_per_execution == 1

    @property
    def has_strategy(self):
        """Whether the model was made under a `tf.distribute` strategy."""
        with self.distribute_strategy.scope():
            return tf.distribute.has_strategy()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Makes the variables of optimizer and metrics, from the shapes of a batch."""
        if iterator is not None:
            spec = iterator.data_adapter.get_tf_dataset().element_spec
            data_batch = tf.nest.map_structure(_spec_of_one_replica, spec)
            if self.prepare is not None:
                prepare = tf.function(self.prepare, autograph=False)
                prepared = prepare.get_concrete_function(data_batch)
                data_batch = prepared.structured_outputs
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def make_train_function(self, force=False):
        """Makes what `fit` calls with an iterator of batches."""
        if self.run_eagerly or not (self.has_strategy or self.steps_per_execution == 1):
            super().make_train_function(force)
        elif not (force or self.train_function is None):
            return
        elif not self.has_strategy:
            self.train_function = self._function_of_one_step(self.train_step)
        else:
            step = self._step_of_all_replicas(self.train_step)
            others = self.steps_per_execution - 1

            @tf.function(reduce_retracing=True)
            def train_function(iterator):
                if others:  # The body of a loop is traced even if it never runs.
                    for _ in tf.range(others):
                        step(iterator)
                return step(iterator)

            self.train_function = train_function

    def _next_batch(self, iterator):
        batch = next(iterator)
        return batch if self.prepare is None else self.prepare(batch)

    def _function_of_one_step(self, step):
        """Returns what launches one step, without waiting for it."""
        step = tf.function(
            step, jit_compile=self.jit_compile, reduce_retracing=True, autograph=False
        )

        # Retraced for each kind of iterator, or else the shapes of batches that differ
        # would be lost: that costs little, as the step itself is not.
        @tf.function(autograph=False)
        def next_step(iterator):
            return step(self._next_batch(iterator))

        def function(iterator):
            # `train_on_batch` gives a Python iterator.
            graph_can_iterate = isinstance(iterator, tf.data.Iterator)
            if graph_can_iterate:
                return next_step(iterator)
            return step(self._next_batch(iterator))

        return function

    def make_test_function(self, force=False):
        """Makes what `evaluate` calls with an iterator of batches."""
        if self.run_eagerly or not (self.has_strategy or self.steps_per_execution == 1):
            super().make_test_function(force)
        elif not (force or self.test_function is None):
            return
        elif not self.has_strategy:
            self.test_function = self._function_of_one_step(self.test_step)
        else:
            step = tf.function(self._step_of_all_replicas(self.test_step))

            def test_function(iterator):
                metrics = None
                for _ in range(self.steps_per_execution):
                    try:
                        metrics = step(iterator)
                    except tf.errors.OutOfRangeError:
                        break
                if metrics is None:
                    raise StopIteration
                return metrics

            self.test_function = test_function

    def _step_of_all_replicas(self, step):
        """Returns a function of an iterator that makes one step of all replicas."""
        strategy = self.distribute_strategy

        def step_of_all(iterator):
            metrics = strategy.run(step, args=(next(iterator),))
            return {
                name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                for name, value in metrics.items()
            }

        return step_of_all


def _spec_of_one_replica(spec):
    """Returns the `tf.TensorSpec` of the first of the replicas' shares."""
    return tf.nest.flatten(spec, expand_composites=True)[0]
