"""Repairs of what Keras's `fit` and `evaluate` cannot do under a strategy.

Needed with Keras 3.12 to 3.15; `tests/models/test_distributed_fit.py` fails once Keras
does without:

- With several workers (keras#20585) `_maybe_symbolic_build` adds up the shares of the
  replicas, and `reduce_per_replica` looks for an axis in scalars.
- With shares of unequal size the first of these fails for several replicas of one
  worker too.
- With `steps_per_execution`, collectives fail inside of the conditionals that Keras
  makes a step of.

And three without any:

- After each step Keras waits for the device, to learn whether there was a batch, so
  that a GPU idles until the next one is launched.
- It waits for the logs of the step, too (see `steps_ahead.py`).
- `_symbolic_build` traces the whole network for the shape of its outputs, which the
  model can tell.
"""

import collections
import functools
import inspect
import time

import keras
import tensorflow as tf

from bit_keras.models.steps_ahead import StepsAhead

# Steps whose fetches are kept; whoever watches them is never so far behind.
_KEPT_FETCHES = 1000
# What `fit` and `evaluate` take batches from; `train_on_batch` has a Python iterator.
_ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)
_FIT = inspect.signature(keras.Model.fit)


class DistributedFit:
    """Mixin for a `keras.Model` that is built when it is made.

    Placed before `keras.Model` among the bases. Batches are tensors: images, labels and
    weights, of which the last may be missing.

    Attributes:
        prepare: Applied to each batch before a step of `fit` or `evaluate`, where
            `can_prepare`; or `None`. It is not compiled together with the step, so that
            the network is compiled once for all batches that lead to the same images.
        fetches: When the latest steps of `fit` began to ask for their batches, and when
            they had them: pairs in seconds of `time.perf_counter`, a deque from which
            they can be taken. None are added where Keras makes several steps at once,
            or runs eagerly.
        step_ended: When the device had computed the step whose callbacks are called, in
            the same seconds, or `None` where that is now.
        num_batches: Number of steps of the `fit` or `evaluate` that began last; `None`
            where it is not known.
    """

    prepare = None
    fetches = ()
    step_ended = None
    num_batches = None
    _ahead = None

    @property
    def can_prepare(self):
        """Whether `prepare` is applied: in a graph that makes one step at a time."""
        return not self.run_eagerly and self.steps_per_execution == 1

    @property
    def has_strategy(self):
        """Whether the model was made under a `tf.distribute` strategy."""
        with self.distribute_strategy.scope():
            return tf.distribute.has_strategy()

    def fit(self, *args, **kwargs):
        """Is `keras.Model.fit`, which need not wait for one step to launch the next.

        It does wait where a callback may mind: one with `on_train_batch_end` that is
        not `async_safe`, such as a `ModelCheckpoint` after numbers of steps.
        """
        given = _FIT.bind(self, *args, **kwargs)
        given.apply_defaults()
        arguments = given.arguments
        self.step_ended = None
        if isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            return super().fit(*args, **kwargs)
        names = "callbacks", "verbose", "epochs"
        ahead = StepsAhead(self, *(arguments[name] for name in names))
        arguments["callbacks"] = ahead
        # A callback may call `fit`, too.
        before, self._ahead = self._ahead, ahead
        try:
            return super().fit(*given.args[1:], **given.kwargs)
        except Exception:
            ahead.catch_up()
            raise
        finally:
            ahead.close()
            self._ahead = before

    fit.__signature__ = _FIT

    def catch_up(self):
        """Within `fit`, lets callbacks know of all steps that were launched."""
        if self._ahead is not None:
            self._ahead.catch_up()

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Makes the variables of optimizer and metrics, from the shapes of a batch."""
        if iterator is not None:
            self.num_batches = iterator.num_batches
            spec = iterator.data_adapter.get_tf_dataset().element_spec
            data_batch = tf.nest.map_structure(_spec_of_one_replica, spec)
            if self.prepare is not None:
                prepare = tf.function(self.prepare, autograph=False)
                prepared = prepare.get_concrete_function(data_batch)
                data_batch = prepared.structured_outputs
        with self.distribute_strategy.scope():
            self._build_metrics(data_batch)
            self._symbolic_build(data_batch=data_batch)

    def _build_metrics(self, data_batch):
        """Makes metrics and loss as `_symbolic_build` would, but without the network.

        It leaves the network alone where it finds them made. Without metrics it is the
        one to make the loss.
        """
        # Only those of `compile` are made from shapes, and say whether they are.
        if all(getattr(metric, "built", True) for metric in self.metrics):
            return
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data_batch)
        inputs = keras.KerasTensor(images.shape, images.dtype)
        batch = images, labels, self.compute_output_spec(inputs), weights

        @tf.function(autograph=False)
        def measure(*batch):
            self.compute_metrics(*batch)
            self.compute_loss(*batch, training=False)

        with keras.StatelessScope(), keras.SymbolicScope():
            measure.get_concrete_function(*(_spec_of(values) for values in batch))

    def make_train_function(self, force=False):
        """Makes what `fit` calls with an iterator of batches."""
        if self.run_eagerly or not (self.has_strategy or self.steps_per_execution == 1):
            super().make_train_function(force)
        elif force or self.train_function is None:
            fetches = None
            if self.steps_per_execution == 1:
                fetches = self.fetches = collections.deque(maxlen=_KEPT_FETCHES)
            self.train_function = self._function_of_execution(self.train_step, fetches)

    def _function_of_execution(self, step, fetches=None):
        """Returns what launches the steps of an execution, one after another.

        Not in one graph: there a batch that is missing is an empty one under a
        strategy, with which momentum moves the weights once more.
        """
        launch = self._function_of_one_step(step, fetches)

        def function(iterator):
            logs = launch(iterator)
            for _ in range(1, self.steps_per_execution):
                try:
                    logs = launch(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    break
            return logs

        return function

    def _make_kept_logs(self):
        """Returns what keeps `SameOnAllReplicas`, where there may be any."""
        strategy = self.distribute_strategy
        if not isinstance(strategy, tf.distribute.MirroredStrategy):
            return None
        return KeptLogs(strategy.extended.worker_devices[0])

    def _function_of_one_step(self, step, fetches=None):
        """Returns what launches one step, without waiting for it."""
        kept = None
        if self.has_strategy:
            kept = self._make_kept_logs()
            # No function within a function: TensorFlow has one device wait for the
            # inner one to end on all others.
            prepared_step = self._step_of_all_replicas(self._prepared(step), kept)
            step_of_any = tf.function(prepared_step, autograph=False)
        else:
            compiled = tf.function(
                step,
                jit_compile=self.jit_compile,
                reduce_retracing=True,
                autograph=False,
            )
            prepared_step = step_of_any = self._prepared(compiled)

        # Retraced for each kind of batch, or else the shapes of batches that differ
        # would be lost: that costs little, as what XLA compiles is not.
        @functools.cache
        def step_of(spec):
            return tf.function(prepared_step, input_signature=[spec], autograph=False)

        def function(iterator):
            if not isinstance(iterator, _ITERATORS):
                return _logs(step_of_any(next(iterator)), kept)
            asked = time.perf_counter()
            # Neither in the graph of the step, where a clock that follows a batch waits
            # for all that a GPU has been asked for; nor in one of its own, where a
            # batch would pass through the first of several GPUs.
            batch = next(iterator)
            if fetches is not None:
                fetches.append((asked, time.perf_counter()))
            return _logs(step_of(iterator.element_spec)(batch), kept)

        return function

    def make_test_function(self, force=False):
        """Makes what `evaluate` calls with an iterator of batches."""
        if self.run_eagerly or not (self.has_strategy or self.steps_per_execution == 1):
            super().make_test_function(force)
        elif force or self.test_function is None:
            self.test_function = self._function_of_execution(self.test_step)

    def _prepared(self, step):
        """Returns a function of a batch that prepares it for a step."""

        def prepared_step(batch):
            return step(batch if self.prepare is None else self.prepare(batch))

        return prepared_step

    def _step_of_all_replicas(self, step, kept=None):
        """Returns a function of a batch that makes one step of all replicas.

        It returns the means of metrics; or `None` if they are `SameOnAllReplicas`, and
        `kept` has them.
        """
        strategy = self.distribute_strategy
        place = None
        if isinstance(strategy, tf.distribute.MirroredStrategy):
            # On the processor, where TensorFlow would add up, the step would wait for
            # the devices, and the next one could not be launched before.
            place = strategy.extended.worker_devices[0]

        def step_of_all(batch):
            metrics = strategy.run(step, args=(batch,))
            with tf.device(place):
                if isinstance(metrics, SameOnAllReplicas):
                    metrics = {
                        name: strategy.experimental_local_results(value)[0]
                        for name, value in metrics.items()
                    }
                    return None if kept.write(metrics) else metrics
                return {
                    name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
                    for name, value in metrics.items()
                }

        return step_of_all


class SameOnAllReplicas(dict):
    """Metrics by name that a step has averaged over all replicas itself."""


class KeptLogs:
    """The metrics of the latest step, kept on a device.

    What a graph returns waits for all of its devices, and so would the launch of the
    next step. A variable is read in the order of the device's work.

    Args:
        device: Name of the device.
    """

    def __init__(self, device):
        self._names = []
        with tf.device(device):
            values = tf.Variable(tf.zeros([0]), shape=[None], trainable=False)
        # Within the scope of a strategy it has a part on each device.
        strategy = tf.distribute.get_strategy()
        self._values = strategy.experimental_local_results(values)[0]

    def write(self, metrics):
        """Keeps metrics by name, in a graph; returns whether it could.

        It can where all of them are numbers in float32, as most metrics are, and have
        the names that any other kind of batch has led to.
        """
        values = list(metrics.values())
        if not values or any(v.dtype != tf.float32 or v.shape.rank for v in values):
            return False
        if self._names not in ([], list(metrics)):
            return False
        self._names = list(metrics)
        self._values.assign(tf.stack(values))
        return True

    def read(self):
        """Returns the metrics by name."""
        values = tf.unstack(self._values.read_value(), len(self._names))
        return dict(zip(self._names, values, strict=True))


def _logs(returned, kept):
    """Returns the metrics that a step has returned, or else kept."""
    return kept.read() if returned is None else returned


def _spec_of_one_replica(spec):
    """Returns the `tf.TensorSpec` of the first of the replicas' shares."""
    return tf.nest.flatten(spec, expand_composites=True)[0]


def _spec_of(values):
    """Returns the `tf.TensorSpec` of what may be `None`."""
    return None if values is None else tf.TensorSpec(values.shape, values.dtype)
