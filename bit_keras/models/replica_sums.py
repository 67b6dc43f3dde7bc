"""What replicas add up, and the parts of variables that are theirs."""

import zlib

import tensorflow as tf


def sum_of_sizes(replicas, size):
    """Returns how many images all replicas have together.

    On the devices of one machine the processor knows. There collectives of several
    GPUs, this one before that of the gradients, were mistaken for each other.
    """
    if isinstance(replicas.strategy, tf.distribute.MirroredStrategy):

        def add_up(strategy, sizes):
            return tf.add_n(strategy.experimental_local_results(sizes))

        return tf.cast(replicas.merge_call(add_up, args=(size,)), tf.float32)
    return replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(size, tf.float32))


def summed(gradients):
    """Returns the sums over all replicas of gradients, of which some may be `None`."""
    given = [gradient for gradient in gradients if gradient is not None]
    replicas = tf.distribute.get_replica_context()
    sums = iter(replicas.all_reduce(tf.distribute.ReduceOp.SUM, given))
    return [None if gradient is None else next(sums) for gradient in gradients]


def sum_on_gpus(values):
    """Returns the sums over all replicas of tensors, of which some may be `None`.

    For what XLA compiles for the GPUs of a `MirroredStrategy`. It is the collective of
    TensorFlow's `all_reduce`, but for its number. That is a new one for each step
    there, which is copied to a GPU only when the step before is done.

    Args:
        values: Tensors of known shapes, the same ones on all replicas.
    """
    devices = sorted(tf.distribute.get_strategy().extended.worker_devices)
    sums = list(values)
    dtypes = sorted({v.dtype.name for v in values if v is not None})
    for number, dtype in enumerate(dtypes, 1):
        # One sum of them all, which is faster than many.
        places = [i for i, v in enumerate(values) if v is not None and v.dtype == dtype]
        flat = tf.concat([tf.reshape(values[i], [-1]) for i in places], 0)
        flat = tf.raw_ops.CollectiveReduceV2(
            input=flat,
            group_size=len(devices),
            # Any number, if no other devices have it.
            group_key=zlib.crc32(" ".join(devices).encode()) >> 1,
            instance_key=number,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
            communication_hint="nccl",
        )
        parts = tf.split(flat, [values[i].shape.num_elements() for i in places])
        for place, part in zip(places, parts, strict=True):
            sums[place] = tf.reshape(part, values[place].shape)
    return sums


def part_of_this_replica(variable):
    """Returns what a variable of Keras is on this replica's device."""
    replicas = tf.distribute.get_replica_context()
    parts = replicas.strategy.experimental_local_results(variable.value)
    return parts[tf.get_static_value(replicas.replica_id_in_sync_group)]


def can_sum_in_xla(strategy, images):
    """Returns whether what XLA compiles for each replica may call collectives.

    TensorFlow lets it do so with a `MirroredStrategy` of GPUs. What it compiles for
    batches of different sizes could call them in different orders.
    """
    return (
        isinstance(strategy, tf.distribute.MirroredStrategy)
        and images.shape[0] is not None
        and all(
            tf.DeviceSpec.from_string(device).device_type == "GPU"
            for device in strategy.extended.worker_devices
        )
    )


def is_on_all_replicas(strategy, variable):
    """Returns whether each replica has a part of a variable of Keras."""
    parts = strategy.experimental_local_results(variable.value)
    return len(parts) == strategy.num_replicas_in_sync
