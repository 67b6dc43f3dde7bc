"""One update of the weights: the same result on one device and on several."""

import functools
import itertools

import keras
import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.layers.fast_forms import using_fast_forms
from bit_keras.models.distributed_fit import DistributedFit, SameOnAllReplicas
from bit_keras.models.replica_sums import (
    can_sum_in_xla,
    is_on_all_replicas,
    part_of_this_replica,
    sum_of_sizes,
    sum_on_gpus,
    summed,
)


class ReplicaTrainStep(DistributedFit):
    """Mixin for a `keras.Model` whose `fit` is fast and right under every strategy.

    Placed before `keras.Model` among the bases, it changes four things:

    - Under a `tf.distribute` strategy Keras compiles nothing with XLA. Here the forward
      and the backward pass of each replica are compiled, so are its metrics, and so are
      the updates of its variables if the optimizer is one of this package. On several
      GPUs of one machine the whole step is compiled, the sums over all of them, too.
    - The gradients of replicas are weighted by their numbers of examples, so that a
      global batch that cannot be divided evenly counts every example the same.
    - `batch_split` computes a batch in several parts, one after another, and updates
      the weights once, as the whole batch would: an activation of one part alone has to
      fit into memory.
    - `clip_norm` bounds the norm of the gradient of the whole global batch. (Keras's
      `global_clipnorm` would bound that of each replica.)
    """

    batch_split = 1
    clip_norm = None
    gpu_kernels = "auto"
    sum_in_xla = "auto"
    compiles_replicas = False
    _whole_step = None

    def compile(
        self,
        *args,
        batch_split=1,
        clip_norm=None,
        gpu_kernels="auto",
        sum_in_xla="auto",
        jit_compile="auto",
        **kwargs,
    ):
        """Is `keras.Model.compile` with four more arguments.

        Args:
            *args: Of `keras.Model.compile`.
            batch_split: Number of equal parts that each replica computes its share of
                a batch in.
            clip_norm: Largest norm of all gradients together, or `None`.
            gpu_kernels: Whether steps that XLA compiles use this package's own kernels
                for GPUs; `"auto"` if all GPUs of this machine can run them.
            sum_in_xla: Whether XLA compiles the whole step of each replica as one, with
                the sums over all replicas, so that nothing waits for the processor;
                `"auto"` if the optimizer can. It is so with a `MirroredStrategy` of
                GPUs alone, where the sizes of batches are known, without `clip_norm`,
                without a `train_step` of a subclass, and where all variables, those of
                metrics too, were made under the strategy and replicas aggregate none
                that are not trained.
            jit_compile: As in Keras; under a strategy, whether the passes, the updates
                and the metrics of each replica are compiled with XLA, which `"auto"`
                does. Metrics that XLA cannot compile need `False`.
            **kwargs: Of `keras.Model.compile`.

        Raises:
            InputError: If `batch_split` is no positive integer, `clip_norm` not
                positive, or used with a loss scale, or `sum_in_xla` none of its values,
                or `True` with an optimizer that cannot be given sums.
        """
        if not isinstance(batch_split, int) or batch_split < 1:
            raise InputError(
                f"`batch_split` must be a positive integer. Received: {batch_split!r}"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise InputError(
                f"`clip_norm` must be positive, or None. Received: {clip_norm!r}"
            )
        if sum_in_xla not in (True, False, "auto"):
            raise InputError(
                f'`sum_in_xla` must be True, False or "auto". Received: {sum_in_xla!r}'
            )
        self.batch_split = batch_split
        self.clip_norm = clip_norm
        self._asked_jit_compile = jit_compile
        compiles = self.has_strategy and bool(jit_compile)
        if self.has_strategy:
            jit_compile = False
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        # A TPU compiles all that its replicas do by itself.
        on_tpu = isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)
        self.compiles_replicas = compiles and not on_tpu and not self.run_eagerly
        # A loss scale is an optimizer around the one that updates.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if hasattr(optimizer, "compile_updates"):
            optimizer.compile_updates(self.compiles_replicas)
        self._whole_step = None
        # Those of Keras have no such method.
        can_be_given_sums = getattr(self.optimizer, "can_be_given_sums", None)
        is_shared = functools.partial(is_on_all_replicas, self.distribute_strategy)
        takes_sums = can_be_given_sums is not None and can_be_given_sums(is_shared)
        if sum_in_xla is True and not takes_sums:
            raise InputError(
                "`sum_in_xla` needs an optimizer of this package that neither clips "
                "nor accumulates gradients, nor puts averages in place of weights, "
                "with a number as its rate, or a schedule that has no variable of one "
                "device. "
                f"Received: {type(self.optimizer).__name__}"
            )
        self.sum_in_xla = sum_in_xla
        self._passes = self._forward_and_backward
        self._measure = self._updated_metrics
        if self.compiles_replicas:
            self._passes = _compiled(self._passes)
            # Otherwise integers are counted on the processor, which waits for the GPU.
            self._measure = _compiled(self._measure)
            if sum_in_xla and takes_sums:
                self._whole_step = _compiled(self._step_among_replicas)
        self.gpu_kernels = gpu_kernels
        if clip_norm and isinstance(
            self.optimizer, keras.optimizers.LossScaleOptimizer
        ):
            raise InputError(
                "`clip_norm` cannot be used with a loss scale, which hides the norm of "
                "the gradient; use mixed_bfloat16 in place of mixed_float16."
            )

    def get_compile_config(self):
        """Returns what a saved model keeps of `compile`."""
        config = super().get_compile_config()
        if not config:  # It was not compiled.
            return config
        return {
            **config,
            "batch_split": self.batch_split,
            "clip_norm": self.clip_norm,
            "gpu_kernels": self.gpu_kernels,
            "sum_in_xla": self.sum_in_xla,
            # Keras was told that nothing is compiled, if there is a strategy.
            "jit_compile": self._asked_jit_compile,
        }

    def compile_from_config(self, config):
        """Compiles a loaded model as the saved one was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, data):
        """Updates the weights once; returns the metrics. Called by Keras's `fit`."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if self._sums_in_xla(images):
            return SameOnAllReplicas(self._whole_step(images, labels, weights))
        loss, logits, gradients = self._passes(images, labels, weights)
        gradients = self._combined(gradients, images)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True)
        )
        return self._measure(loss, images, labels, logits, weights)

    def test_step(self, data):
        """Updates the metrics; returns them. Called by Keras's `evaluate`.

        The loss is the weighted mean over all examples, so that those of weight 0,
        which fill up the last batch, do not count.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        with self._using_fast_forms(self.jit_compile):
            logits = self(images, training=False)
        loss = self.compute_loss(images, labels, logits, weights, training=False)
        loss *= self._num_replicas()
        return self._updated_metrics(loss, images, labels, logits, weights)

    def predict_step(self, data):
        """Returns the logits. Called by Keras's `predict`."""
        with self._using_fast_forms(self.jit_compile):
            return super().predict_step(data)

    def _using_fast_forms(self, is_compiled):
        return using_fast_forms(is_compiled, self.gpu_kernels)

    def _updated_metrics(self, loss, images, labels, logits, weights):
        """Returns the metrics after a batch, whose rows have this mean loss."""
        self._track_loss(loss, images, weights)
        return self.compute_metrics(images, labels, logits, weights)

    def _track_loss(self, loss, images, weights):
        rows = tf.cast(tf.shape(images)[0], tf.float32)
        counted = rows if weights is None else tf.reduce_sum(weights)
        mean = tf.math.divide_no_nan(tf.cast(loss, tf.float32) * rows, counted)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(mean, sample_weight=counted)

    def make_train_function(self, force=False):
        """Makes what `fit` calls with an iterator of batches."""
        if force and self._whole_step is not None:
            # It holds what it was traced with, such as the learning rate.
            self._whole_step = _compiled(self._step_among_replicas)
        super().make_train_function(force)

    def _sums_in_xla(self, images):
        """Returns whether XLA compiles a whole step on such images of one replica."""
        # Each replica would clip the sums by a norm of its own, and they would drift
        # apart by roundings.
        if self._whole_step is None or self.clip_norm:
            return False
        # One of a subclass may add what replicas do not share.
        if type(self).train_step is not ReplicaTrainStep.train_step:
            return False
        # Each replica assigns to its own part of a variable.
        strategy = self.distribute_strategy
        if any(each.aggregation != "none" for each in self.non_trainable_variables):
            return False
        variables = self.variables, self.optimizer.variables, self.metrics_variables
        for variable in itertools.chain(*variables):
            if not is_on_all_replicas(strategy, variable):
                return False
        return can_sum_in_xla(strategy, images)

    def _step_among_replicas(self, images, labels, weights):
        """Updates this replica's variables as all replicas do; returns mean metrics.

        Nothing goes from device to device but in a sum that XLA compiles: whatever
        TensorFlow sends, it waits for, and so would the launch of the next step.
        """
        loss, logits, gradients = self._forward_and_backward(images, labels, weights)
        metrics = self._updated_metrics(loss, images, labels, logits, weights)
        gradients, means = self._sums_and_means(gradients, metrics)
        # Otherwise what assigns to variables that are aggregated asks all devices. What
        # is not, has been assigned to the part of this replica by now.
        with keras.StatelessScope() as scope, self.optimizer.given_sums():
            self.optimizer.apply_gradients(
                zip(gradients, self.trainable_variables, strict=True)
            )
        for variable in [*self.trainable_variables, *self.optimizer.variables]:
            value = scope.get_current_value(variable)
            if value is not None:
                part_of_this_replica(variable).assign(value)
        return dict(zip(metrics, means, strict=True))

    def _sums_and_means(self, gradients, metrics):
        """Returns sums of gradients over all replicas, and a list of mean metrics."""
        shares = [
            tf.cast(value, value.dtype if value.dtype.is_floating else tf.float32)
            / self._num_replicas()
            for value in map(tf.convert_to_tensor, metrics.values())
        ]
        sums = sum_on_gpus([*gradients, *shares])
        return sums[: len(gradients)], sums[len(gradients) :]

    def _forward_and_backward(self, *batch):
        """Returns mean loss, logits and gradients of this replica's examples."""
        if self.batch_split == 1:
            return self._one_part(*batch)
        parts = [None if v is None else self._split(v) for v in batch]

        def body(index, loss, logits, gradients):
            part = [None if whole is None else whole[index] for whole in parts]
            part_loss, part_logits, part_gradients = self._one_part(*part)
            sums = list(map(tf.add, gradients, part_gradients))
            return index + 1, loss + part_loss, logits.write(index, part_logits), sums

        shape = self.compute_output_shape(parts[0].shape[1:])
        logits = tf.TensorArray(self.dtype, self.batch_split, element_shape=shape)
        zeros = [tf.zeros(v.shape, v.dtype) for v in self.trainable_variables]
        _, loss, logits, gradients = tf.while_loop(
            lambda index, *_: index < self.batch_split,
            body,
            (0, tf.zeros([]), logits, zeros),
            maximum_iterations=self.batch_split,
        )
        gradients = [gradient / self.batch_split for gradient in gradients]
        return loss / self.batch_split, logits.concat(), gradients

    def _split(self, values):
        """Puts the examples of each part below one another: (parts, size, ...)."""
        size = values.shape[0]
        if size is not None and size % self.batch_split:
            raise InputError(
                f"`batch_split` must divide the {size} examples of each replica. "
                f"Received: {self.batch_split}"
            )
        size = size and size // self.batch_split
        shape = (self.batch_split, -1 if size is None else size, *values.shape[1:])
        return tf.reshape(values, shape)

    def _one_part(self, images, labels, weights):
        variables = [variable.value for variable in self.trainable_variables]
        with self._using_fast_forms(self.jit_compile or self.compiles_replicas):
            with tf.GradientTape() as tape:
                logits = self(images, training=True)
                loss = self.compute_loss(images, labels, logits, weights, training=True)
                scaled = self.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, variables)
        return loss * self._num_replicas(), logits, gradients

    def _num_replicas(self):
        """Returns what Keras divides every loss by."""
        return self.distribute_strategy.num_replicas_in_sync

    def _combined(self, gradients, images):
        """Returns gradients whose sum over all replicas is that of the global batch."""
        replicas = tf.distribute.get_replica_context()
        count = replicas.num_replicas_in_sync
        if count > 1 and images.shape[0] is None:
            size = tf.shape(images)[0]
            share = tf.cast(size, tf.float32) / sum_of_sizes(replicas, size)
            gradients = [gradient * (share * count) for gradient in gradients]
        if self.clip_norm:
            if count > 1:
                gradients = summed(gradients)
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
            # The optimizer adds those of all replicas, which are the same ones now.
            gradients = [gradient / count for gradient in gradients]
        return gradients


def _compiled(function):
    """Returns a function that XLA compiles once for each replica.

    A step is traced for each kind of batch. What is returned is no `tf.function`, which
    SavedModels would keep where it is an attribute.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return lambda *arguments: compiled(*arguments)
