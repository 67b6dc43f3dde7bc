"""On which devices a model is trained, and how their share of the data reaches them."""

import json
import os

import tensorflow as tf

from bit_keras.errors import InputError, RunError, first_line

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


def make_strategy(name="auto", tpu=None):
    """Returns the `tf.distribute.Strategy` to make and train a model under.

    With several workers it has to be the first thing that a program does with
    TensorFlow.

    Args:
        name: `"one_device"`: the first GPU, or the CPU; `"mirrored"`: all GPUs of this
            machine, or all logical CPUs where there is none; `"multi_worker"`: all
            machines of the cluster that the environment variable `TF_CONFIG`
            describes; `"tpu"`; or `"auto"`, which is the first of `tpu` (where an
            address is given), `multi_worker` (where there is a `TF_CONFIG`),
            `mirrored` (where there are several GPUs) and `one_device` that fits.
        tpu: Name or address of a TPU, `"local"` for that of this machine.

    Returns:
        A strategy. That of one device is TensorFlow's default one.

    Raises:
        InputError: If there is no such strategy, or `TF_CONFIG` does not describe a
            cluster.
        RunError: If the TPU or another worker cannot be reached.

    Example:

    >>> strategy = make_strategy("mirrored")
    >>> with strategy.scope():
    ...     model = BiTClassifier(BiTBackbone(depth=50), num_classes=10)
    """
    if name not in STRATEGIES:
        raise InputError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}. Received: {name!r}"
        )
    if tpu and name not in ("auto", "tpu"):
        raise InputError(
            f"A TPU's address needs the strategy `tpu`. Received: strategy {name!r} "
            f"and tpu {tpu!r}"
        )
    if name == "auto":
        name = _choose(tpu)
    makers = {
        "one_device": tf.distribute.get_strategy,
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "tpu": lambda: _tpu(tpu),
    }
    return makers[name]()


def _choose(tpu):
    if tpu:
        return "tpu"
    if os.environ.get("TF_CONFIG"):
        return "multi_worker"
    several = len(tf.config.list_physical_devices("GPU")) > 1
    return "mirrored" if several else "one_device"


def _mirrored():
    devices = tf.config.list_logical_devices("GPU")
    if devices:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return mirrored_cpus(len(tf.config.list_logical_devices("CPU")))


def mirrored_cpus(number):
    """Returns a mirrored strategy of the first of this machine's logical CPUs.

    They share one memory, where sums need no collectives. (TensorFlow numbers those of
    strategies that one process makes one after another as if they were of one.)
    """
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(number)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _multi_worker():
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        workers = config["cluster"]["worker"]
        index = config["task"]["index"]
        fits = config["task"]["type"] == "worker" and 0 <= index < len(workers)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(
            "The strategy multi_worker needs the environment variable TF_CONFIG, such "
            'as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": '
            f'"worker", "index": 0}}}}. Received: {os.environ.get("TF_CONFIG")!r}'
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise RunError(
            f"The cluster of {', '.join(workers)} could not be formed; start the same "
            f"command on each of them. TensorFlow says: {first_line(error)}"
        ) from error


def _tpu(address):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address or "local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise RunError(
            f"The TPU {address or 'local'} cannot be reached; give its name or address "
            f"as `tpu`. TensorFlow says: {first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def is_chief(strategy):
    """Returns whether this process is the one that writes what all have made."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_id


def num_workers(strategy):
    """Returns the number of processes that train together."""
    resolver = strategy.cluster_resolver
    return len(resolver.cluster_spec().as_dict().get("worker", [0])) if resolver else 1


def check_batch_size(strategy, batch_size, batch_split=1):
    """Raises `InputError` unless replicas and their parts get equally many examples."""
    replicas = strategy.num_replicas_in_sync
    parts = replicas * batch_split
    if batch_size % parts:
        lower = batch_size // parts * parts
        near = [str(n) for n in (lower, lower + parts) if n]
        raise InputError(
            f"`batch_size` must be a multiple of {parts}, for {replicas} replicas and "
            f"{batch_split} parts of a batch in each, such as {' or '.join(near)}. "
            f"Received: {batch_size}"
        )


def in_step(strategy, step):
    """Raises `RunError` unless all workers go on from the same step."""
    if num_workers(strategy) == 1:
        return
    replicas = strategy.num_replicas_in_sync

    @tf.function
    def total():
        steps = strategy.run(lambda: tf.constant(step, tf.int64))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, steps, axis=None)

    if int(total()) != replicas * step:
        raise RunError(
            f"This worker would go on from step {step}, and another one from another "
            "step; give all of them the same folder on a shared disk."
        )


def share_batches(strategy, make_batches):
    """Gives every replica its share of global batches.

    Args:
        strategy: A `tf.distribute.Strategy`.
        make_batches: Called with `part=(index, count)`; returns a `tf.data.Dataset` of
            the `index`-th of `count` equal parts of the rows of all global batches.

    Returns:
        What `fit` and `evaluate` take: each worker prepares only its own rows, and each
        of its replicas gets an equal and static number of them.
    """
    if strategy.num_replicas_in_sync == 1:
        return _on_device(make_batches(part=(0, 1)))

    def for_worker(context):
        workers = context.num_input_pipelines
        batches = make_batches(part=(context.input_pipeline_id, workers))
        replicas = context.num_replicas_in_sync // workers
        rows = tf.nest.flatten(batches.element_spec)[0].shape[0]
        return batches.rebatch(rows // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(for_worker)


def _on_device(batches):
    """Copies batches to the GPU, if there is one, while it computes the one before."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return batches
    copied = tf.data.experimental.prefetch_to_device(gpus[0].name, buffer_size=2)
    return batches.apply(copied)
