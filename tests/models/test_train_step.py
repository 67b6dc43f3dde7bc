"""One update of the weights, however it is divided among replicas and parts."""

import collections
import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import (
    SmallNetwork,
    all_weights,
    make_model,
    make_network,
    mirrored,
    relative_l2,
)
from tensorflow.python.eager import context

import bit_keras
from bit_keras.errors import InputError
from bit_keras.models import train_step
from bit_keras.recipes.optimizers import KernelDecayAdam
from bit_keras.recipes.schedules import RateTable, WarmupCosine

STEPS = 4


def examples(number):
    random = np.random.default_rng(1)
    images = random.normal(size=(number, 32, 32, 3)).astype(np.float32)
    return images, np.eye(3, dtype=np.float32)[random.integers(0, 3, number)]


def make_sgd(**kwargs):
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.02, 0.01])
    return keras.optimizers.SGD(rate, momentum=0.9, **kwargs)


def fitted(
    replicas, batch_size=8, make_optimizer=make_sgd, strategy=None, **compile_args
):
    """Returns model and history after a few steps on the same batches."""
    strategy = strategy or mirrored(replicas)
    model = make_network(strategy)
    with strategy.scope():
        model.compile(
            optimizer=make_optimizer(),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            weighted_metrics=["accuracy"],
            **{"jit_compile": False} | compile_args,
        )
    batches = tf.data.Dataset.from_tensor_slices(examples(20)).repeat()
    batches = batches.batch(batch_size, drop_remainder=True)
    history = model.fit(
        batches, steps_per_epoch=STEPS, epochs=1, verbose=0, shuffle=False
    )
    return model, history.history


@pytest.fixture(scope="module")
def reference():
    """By Keras's own step, on one device and without XLA."""
    model, optimizer = make_network(), make_sgd()
    images, labels = examples(20)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    losses = []
    for step in range(STEPS):
        rows = np.arange(8 * step, 8 * step + 8) % 20
        with tf.GradientTape() as tape:
            value = loss(labels[rows], model(images[rows]))
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        losses.append(float(value))
    return all_weights(model), np.mean(losses)


@pytest.mark.parametrize(
    ("replicas", "changes"),
    [
        (1, {"batch_split": 4}),
        (1, {"clip_norm": 1e9, "jit_compile": True}),
        (2, {"batch_split": 2, "steps_per_execution": 2, "jit_compile": True}),
        (2, {"clip_norm": 1e9}),
    ],
)
def test_every_division_gives_the_same_weights(reference, replicas, changes):
    weights, loss = reference
    model, history = fitted(replicas, **changes)
    assert relative_l2(all_weights(model), weights) <= 1e-6
    assert history["loss"] == pytest.approx([loss], rel=1e-5)
    steps = keras.ops.convert_to_numpy(model.optimizer.iterations)
    assert steps == STEPS


def test_a_batch_that_cannot_be_divided_evenly_counts_every_example_the_same():
    one, history_of_one = fitted(1, 5)
    two, history_of_two = fitted(2, 5)
    assert relative_l2(all_weights(two), all_weights(one)) <= 1e-6
    assert history_of_two["loss"] == pytest.approx(history_of_one["loss"], rel=1e-5)


@pytest.mark.parametrize("sum_in_xla", [False, True])
def test_an_execution_may_end_early(summing, sum_in_xla):
    """Three batches, in executions of two steps."""
    results = []
    for replicas, steps in ((1, 1), (2, 2)):
        model = make_network(mirrored(replicas))
        with model.distribute_strategy.scope():
            model.compile(
                make_momentum(),
                "mse",
                jit_compile=replicas > 1,
                steps_per_execution=steps,
                sum_in_xla=sum_in_xla,
            )
        batches = tf.data.Dataset.from_tensor_slices(examples(24)).batch(8, True)
        history = model.fit(batches, epochs=2, verbose=0, shuffle=False).history
        loss = model.evaluate(batches, verbose=0)
        steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
        assert steps == 6
        results.append(([*history["loss"], loss], all_weights(model)))
    assert bool(summing) == sum_in_xla
    (expected, one), (actual, two) = results
    assert actual == pytest.approx(expected, rel=1e-5)
    assert relative_l2(two, one) <= 1e-6


def test_the_norm_of_the_whole_batch_is_clipped(reference):
    """As Keras does on one device, where the whole batch is that of the replica."""
    by_keras = functools.partial(make_sgd, global_clipnorm=0.1)
    expected = all_weights(fitted(1, make_optimizer=by_keras)[0])
    start = all_weights(make_network())
    for replicas in (1, 2):
        actual = all_weights(fitted(replicas, clip_norm=0.1)[0])
        assert relative_l2(actual - start, expected - start) <= 1e-4
    assert relative_l2(reference[0] - start, expected - start) > 0.1


@pytest.mark.parametrize("replicas", [1, 2])
def test_examples_of_weight_zero_count_nothing_in_evaluation(replicas):
    model, _ = fitted(replicas)
    images, labels = examples(16)
    weights = np.float32([1] * 13 + [0] * 3)
    data = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(8)
    loss, accuracy = model.evaluate(data, verbose=0)
    logits = np.float64(model(images[:13]))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = logits.argmax(axis=1) == labels[:13].argmax(axis=1)
    assert loss == pytest.approx(
        -np.log((shares * labels[:13]).sum(axis=1)).mean(), 1e-4
    )
    assert accuracy == pytest.approx(right.mean())


def test_parts_must_divide_the_batch():
    with pytest.raises(InputError, match="must divide the 8 examples of each replica"):
        fitted(1, batch_split=3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"batch_split": 0}, "`batch_split` must be a positive integer. Received: 0"),
        ({"clip_norm": -1.0}, "`clip_norm` must be positive"),
        ({"sum_in_xla": "no"}, "`sum_in_xla` must be True, False or"),
    ],
)
def test_impossible_arguments_are_refused(argument, message):
    with pytest.raises(InputError, match=message):
        make_network().compile(loss="mse", **argument)


def test_a_loss_scale_hides_the_norm():
    backbone = bit_keras.BiTBackbone(units=(1, 1, 1, 1), dtype="mixed_float16")
    model = bit_keras.BiTClassifier(backbone, 3)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(InputError, match="use mixed_bfloat16"):
        model.compile(optimizer, "mse", clip_norm=1.0)


def test_a_saved_model_is_compiled_as_before(tmp_path):
    model = make_model()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    options = {"batch_split": 2, "clip_norm": 0.5, "gpu_kernels": False}
    options["sum_in_xla"] = False
    model.compile(optimizer, "mse", **options)
    model.train_on_batch(*examples(4))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {name: getattr(loaded, name) for name in options} == options
    before, after = model.optimizer.variables, loaded.optimizer.variables
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def compiled(monkeypatch):
    """The functions that XLA compiles, a list that grows."""
    made = []
    function = tf.function

    def noting(*args, **kwargs):
        new = function(*args, **kwargs)
        if args and kwargs.get("jit_compile"):
            made.append(new)
        return new

    monkeypatch.setattr(tf, "function", noting)
    return made


def test_several_steps_at_once_are_compiled_once_for_each_replica(compiled):
    fitted(2, steps_per_execution=2, jit_compile=True)
    # The passes, and the metrics.
    assert [each.experimental_get_tracing_count() for each in compiled] == [2, 2]


def make_momentum():
    return bit_keras.MomentumSGD(WarmupCosine(0.02, 1, STEPS), l2=0.01)


@pytest.mark.parametrize(
    ("make", "steps_per_execution"),
    [
        (make_momentum, 1),
        (make_momentum, 2),
        (lambda: bit_keras.MomentumSGD(0.02, form="inside", weight_decay=0.1), 1),
        (lambda: KernelDecayAdam(0.02, weight_decay=0.1), 1),
        (lambda: keras.optimizers.LossScaleOptimizer(make_momentum()), 1),
    ],
    ids=["outside", "several steps", "inside", "Adam", "loss scale"],
)
def test_updates_of_each_replica_are_compiled(compiled, make, steps_per_execution):
    expected, _ = fitted(1, make_optimizer=make)
    assert not compiled
    actual, _ = fitted(
        2,
        make_optimizer=make,
        jit_compile=True,
        steps_per_execution=steps_per_execution,
    )
    updates = [f for f in compiled if f.python_function.__name__ == "update_all"]
    # One for each device, whose variables it updates.
    assert [each.experimental_get_tracing_count() for each in updates] == [1, 1]
    assert relative_l2(all_weights(actual), all_weights(expected)) <= 1e-6
    assert_same_on_all_devices(actual)


def assert_same_on_all_devices(model):
    for variable in model.trainable_variables + model.optimizer.variables:
        copies = getattr(variable.value, "values", [variable.value])
        np.testing.assert_array_equal(copies[0], copies[-1])


@pytest.fixture
def summing(monkeypatch):
    """Lets replicas of processors sum gradients themselves, and notes when they do.

    XLA compiles collectives for GPUs alone, so that they are outside of it here.
    """
    function, can, sums = tf.function, train_step.can_sum_in_xla, []

    def without_xla(*args, **kwargs):
        if args and kwargs.get("jit_compile"):
            return args[0]  # Part of the step, where replicas may meet.
        return function(*args, **kwargs)

    def can_sum(strategy, images):
        assert not can(strategy, images)
        sums.append(images.shape[0] is not None)
        return sums[-1]

    monkeypatch.setattr(tf, "function", without_xla)
    monkeypatch.setattr(train_step, "can_sum_in_xla", can_sum)
    monkeypatch.setattr(train_step, "sum_on_gpus", train_step.summed)
    return sums


@pytest.mark.parametrize(
    ("batch_size", "changes"),
    [
        (8, {}),
        (8, {"batch_split": 2}),
        (5, {}),
    ],
)
def test_sums_of_gradients_are_not_added_up_again(summing, batch_size, changes):
    changes = {"make_optimizer": make_momentum, **changes}
    expected, _ = fitted(1, batch_size, **changes)
    actual, _ = fitted(2, batch_size, jit_compile=True, sum_in_xla=True, **changes)
    # Of a batch that is divided unevenly each replica knows its size too late.
    assert summing and set(summing) == {batch_size == 8}
    assert relative_l2(all_weights(actual), all_weights(expected)) <= 1e-6
    assert_same_on_all_devices(actual)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bit_keras.MomentumSGD(0.02, form="inside", weight_decay=0.1),
        lambda: KernelDecayAdam(WarmupCosine(0.02, 1, STEPS), weight_decay=0.1),
        lambda: bit_keras.MomentumSGD(0.02, use_ema=True),
    ],
    ids=["inside", "Adam", "averages"],
)
def test_each_replica_updates_its_own_variables(summing, make):
    expected, history = fitted(1, make_optimizer=make)
    options = {"make_optimizer": make, "jit_compile": True, "sum_in_xla": True}
    actual, history_of_all = fitted(2, **options)
    assert summing
    assert relative_l2(all_weights(actual), all_weights(expected)) <= 1e-6
    for name, values in history.items():
        assert history_of_all[name] == pytest.approx(values, rel=1e-5)
    assert_same_on_all_devices(actual)
    assert int(keras.ops.convert_to_numpy(actual.optimizer.iterations)) == STEPS


def test_only_sums_go_from_device_to_device(summing):
    """What TensorFlow sends, it waits for, and cannot launch the next step before."""
    model = make_network(mirrored(2))
    with model.distribute_strategy.scope():
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(make_momentum(), loss, metrics=["accuracy"], sum_in_xla=True)
    batches = tf.data.Dataset.from_tensor_slices(examples(24)).batch(8, True)
    context.enable_graph_collection()
    try:
        # Where variables are made, such as that of the logs, has no say in it.
        with model.distribute_strategy.scope():
            model.fit(batches, verbose=0, shuffle=False)
        functions = context.export_run_metadata().function_graphs
    finally:
        context.disable_graph_collection()
    sums = len(model.trainable_variables)
    sent = [sent_between_devices(each.partition_graphs) for each in functions]
    # The metrics, too; their means are needed on the first device alone.
    assert {(1, 0): sums + 2, (0, 1): sums} in sent


def sent_between_devices(graphs):
    """Returns how many tensors each device sends to each other one."""
    attributes = [
        node.attr for graph in graphs for node in graph.node if node.op == "_Send"
    ]
    return collections.Counter(
        tuple(
            tf.DeviceSpec.from_string(each[end].s.decode()).device_index
            for end in ("send_device", "recv_device")
        )
        for each in attributes
    )


def test_gradients_of_another_train_step_are_added_up(summing):
    """Which `compile` cannot know of."""

    class Own(SmallNetwork):
        def train_step(self, data):
            images, labels = data
            with tf.GradientTape() as tape:
                error = labels - self(images, training=True)
                loss = tf.reduce_mean(error**2) / self._num_replicas()
            variables = self.trainable_variables
            gradients = tape.gradient(loss, [each.value for each in variables])
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return {"loss": loss}

    weights = []
    for replicas in (1, 2):
        strategy = mirrored(replicas)
        model = make_network(strategy, kind=Own)
        with strategy.scope():
            model.compile(make_momentum(), sum_in_xla=True)
        batches = tf.data.Dataset.from_tensor_slices(examples(16)).batch(8)
        model.fit(batches, verbose=0, shuffle=False)
        assert_same_on_all_devices(model)
        weights.append(all_weights(model))
    assert relative_l2(*weights) <= 1e-6


class Following(keras.layers.Layer):
    """Keeps the mean of what it is called with."""

    def __init__(self, aggregation):
        super().__init__()
        self.mean = self.add_weight((), trainable=False, aggregation=aggregation)

    def call(self, inputs):
        self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(inputs))
        return inputs


def fitted_layers(make_layers, epochs=1, **compile_args):
    """Returns model and history of two replicas of a network of such layers."""
    keras.utils.set_random_seed(0)
    with mirrored(2).scope():
        model = SmallNetwork([keras.Input((32, 32, 3)), *make_layers()])
        model.compile(make_momentum(), "mse", **compile_args)
    batches = tf.data.Dataset.from_tensor_slices(examples(24)).batch(8, True)
    history = model.fit(batches, epochs=epochs, verbose=0, shuffle=False)
    return model, history.history


@pytest.mark.parametrize("aggregation", ["none", "mean", "only_first_replica"])
def test_variables_that_are_not_trained_are_aggregated_as_asked(summing, aggregation):
    def layers():
        pooling = keras.layers.GlobalMaxPooling2D()
        return [Following(aggregation), pooling, keras.layers.Dense(3)]

    parts = []
    for sum_in_xla in (False, True):
        model, _ = fitted_layers(layers, sum_in_xla=sum_in_xla)
        parts.append(np.float32(model.layers[0].mean.value.values))
    assert (parts[0][0] == parts[0][1]) == (aggregation != "none")
    np.testing.assert_allclose(*parts, rtol=1e-5)
    assert bool(summing) == (aggregation == "none")


@pytest.mark.parametrize(
    "optimizer",
    [
        make_sgd(),
        bit_keras.MomentumSGD(global_clipnorm=1.0),
        bit_keras.MomentumSGD(gradient_accumulation_steps=2),
        bit_keras.MomentumSGD(use_ema=True, ema_overwrite_frequency=2),
    ],
    ids=["of Keras", "clipping", "accumulating", "overwriting"],
)
def test_sums_are_for_optimizers_that_take_them(optimizer):
    with pytest.raises(InputError, match="`sum_in_xla` needs .* Received: "):
        make_network().compile(optimizer, "mse", sum_in_xla=True)


@pytest.mark.parametrize("parts", [1, 2])
def test_layers_of_keras_train_as_without_xla(summing, parts):
    """With a state of their own, a seed and a loss."""

    def layers():
        return [
            keras.layers.Conv2D(8, 5, 4, kernel_regularizer="l2"),
            keras.layers.ActivityRegularization(l2=0.1),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(3),
        ]

    options = {"epochs": 2, "metrics": ["mae"], "batch_split": parts}
    results = []
    for sum_in_xla in (False, True):
        model, history = fitted_layers(layers, sum_in_xla=sum_in_xla, **options)
        variables = model.variables + model.optimizer.variables
        results.append((history, [v.value.values for v in variables]))
    assert summing
    (expected, apart), (actual, summed) = results
    for name, values in expected.items():
        assert actual[name] == pytest.approx(values, rel=1e-5)
    for one, other in zip(apart, summed, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_one_collective_for_each_dtype_sums_tensors_of_all_shapes(monkeypatch):
    """Which CPUs cannot call: here `all_reduce` does its part."""
    called = []

    def collective(input, group_size, instance_key, **_):
        called.append((input.dtype, group_size, instance_key))
        replicas = tf.distribute.get_replica_context()
        return replicas.all_reduce(tf.distribute.ReduceOp.SUM, input)

    monkeypatch.setattr(tf.raw_ops, "CollectiveReduceV2", collective)
    wide, number = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32(7)
    double = np.float64([8, 9])

    def step():
        values = [tf.constant(wide), None, tf.constant(number), tf.constant(double)]
        return [v for v in train_step.sum_on_gpus(values) if v is not None]

    strategy = mirrored(2)
    sums = tf.function(lambda: strategy.run(step))()
    for actual, expected in zip(sums, (wide, number, double), strict=True):
        for each in strategy.experimental_local_results(actual):
            np.testing.assert_array_equal(each, 2 * expected, strict=True)
    assert set(called) == {(tf.float32, 2, 1), (tf.float64, 2, 2)}


def test_a_refused_optimizer_leaves_no_compiled_step(summing):
    model, _ = fitted(2, jit_compile=True, make_optimizer=make_momentum)
    with model.distribute_strategy.scope(), pytest.raises(InputError):
        model.compile("sgd", "mse", sum_in_xla=True)
    summing.clear()
    model.fit(*examples(8), batch_size=8, verbose=0)
    assert not summing


class Adding(SmallNetwork):
    """With logs of its own, which replicas do not share."""

    def train_step(self, data):
        logs = super().train_step(data)
        logs["first label"] = tf.cast(tf.argmax(data[1][0]), tf.float32)
        return logs


class Silent(SmallNetwork):
    def train_step(self, data):
        super().train_step(data)
        return {}


def test_what_a_subclass_adds_is_averaged(summing):
    model = make_network(mirrored(2), kind=Adding)
    with model.distribute_strategy.scope():
        model.compile(make_momentum(), "mse")
    images, labels = examples(8)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8, True)
    history = model.fit(batches, verbose=0, shuffle=False).history
    assert history["first label"] == [labels[[0, 4]].argmax(axis=1).mean()]
    assert not summing


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_may_have_no_logs(replicas):
    model = make_network(mirrored(replicas) if replicas > 1 else None, kind=Silent)
    with model.distribute_strategy.scope():
        model.compile(make_momentum(), "mse", jit_compile=False)
    before = all_weights(model)
    model.fit(*examples(16), batch_size=8, verbose=0)
    assert relative_l2(all_weights(model), before) > 0


class Varying(SmallNetwork):
    """With a metric more where examples have weights."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        metrics = super().compute_metrics(x, y, y_pred, sample_weight)
        if sample_weight is not None:
            metrics["weight"] = tf.reduce_mean(sample_weight)
        return metrics


def test_logs_are_those_of_the_batch(summing):
    model = make_network(mirrored(2), kind=Varying)
    with model.distribute_strategy.scope():
        model.compile(make_momentum(), "mse")
    plain = tf.data.Dataset.from_tensor_slices(examples(8)).batch(8, True)
    weighted = plain.map(lambda *batch: (*batch, tf.fill([8], 0.5)))
    kinds = [plain, weighted, plain]
    logs = [model.fit(kind, verbose=0, shuffle=False).history for kind in kinds]
    assert [set(each) for each in logs] == [{"loss"}, {"loss", "weight"}, {"loss"}]
    assert logs[1]["weight"] == [0.5]
    assert summing


def test_a_metric_of_one_device_is_not_compiled_with_the_step(summing):
    metric = keras.metrics.CategoricalAccuracy()
    model = make_network(mirrored(2))
    with model.distribute_strategy.scope():
        model.compile(make_momentum(), "mse", metrics=[metric], jit_compile=True)
    assert not summing
    model._build_metrics(tuple(tf.TensorSpec(v.shape) for v in examples(4)))
    assert not model._sums_in_xla(tf.zeros((4, 32, 32, 3)))


def test_a_schedule_of_one_device_is_not_compiled_with_the_step(summing):
    def changed(in_scope):
        strategy = mirrored(2)
        with strategy.scope() if in_scope else contextlib.nullcontext():
            table = RateTable(STEPS)
        table.fill(WarmupCosine(0.02, 1, STEPS), STEPS)
        summing.clear()
        options = {"jit_compile": True, "strategy": strategy}
        model, _ = fitted(
            2, make_optimizer=lambda: bit_keras.MomentumSGD(table), **options
        )
        return all_weights(model), bool(summing)

    (one, shared), (other, apart) = changed(True), changed(False)
    assert shared and not apart
    assert relative_l2(one, other) <= 1e-6


def test_a_step_that_is_made_anew_has_the_new_rate(summing):
    model, _ = fitted(2, jit_compile=True, make_optimizer=make_momentum)
    model.optimizer.learning_rate = WarmupCosine(0.0, 1, 100)
    model.optimizer.momentum = 0.0
    model.make_train_function(force=True)
    before = all_weights(model)
    model.fit(*examples(8), batch_size=8, verbose=0)
    assert summing
    np.testing.assert_array_equal(all_weights(model), before)


def test_other_optimizers_sum_outside_of_xla(summing):
    fitted(2, jit_compile=True)
    assert not summing
    fitted(2, jit_compile=True, make_optimizer=make_momentum)
    assert summing


@pytest.mark.skipif(
    len(tf.config.list_physical_devices("GPU")) < 2, reason="needs two GPUs"
)
@pytest.mark.usefixtures("all_digits")
@pytest.mark.parametrize("batch_size", [8, 5])
@pytest.mark.parametrize(
    "changes", [{}, {"clip_norm": 0.1}, {"batch_split": 2}, {"steps_per_execution": 2}]
)
@pytest.mark.parametrize("sum_in_xla", [False, True])
def test_two_gpus_do_as_one(batch_size, changes, sum_in_xla):
    if batch_size == 5 and "batch_split" in changes:
        pytest.skip("cannot be divided")
    options = {"make_optimizer": make_momentum, "jit_compile": True, **changes}
    expected, history = fitted(1, batch_size, **options)
    gpus = bit_keras.make_strategy("mirrored")
    options["sum_in_xla"] = sum_in_xla
    actual, history_of_all = fitted(2, batch_size, strategy=gpus, **options)
    assert relative_l2(all_weights(actual), all_weights(expected)) <= 1e-5
    assert history_of_all["loss"] == pytest.approx(history["loss"], rel=1e-4)
    assert_same_on_all_devices(actual)


@pytest.mark.parametrize("changes", [{"jit_compile": False}, {"run_eagerly": True}])
def test_updates_are_compiled_with_the_rest_alone(compiled, changes):
    fitted(2, make_optimizer=bit_keras.MomentumSGD, **changes)
    assert not compiled


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_a_model_saved_under_a_strategy_is_compiled_as_asked(tmp_path, jit_compile):
    model = make_model(mirrored(2))
    with model.distribute_strategy.scope():
        model.compile("sgd", "mse", jit_compile=jit_compile)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_compile_config()["jit_compile"] == jit_compile


def test_recomputing_units_changes_no_gradient():
    """Without XLA, whose fusions would round differently."""
    model = make_model()
    assert not model.backbone.remat
    model.backbone.remat = True
    assert model.backbone.remat
    images, labels = examples(8)

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model.features(images)[:, :3] - labels))
        return tape.gradient(
            loss, [v.value for v in model.backbone.trainable_variables]
        )

    recomputed = gradients()
    model.backbone.remat = False
    for one, other in zip(recomputed, gradients(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_step_is_launched_without_waiting_and_ends_where_keras_does():
    """Finite data, `train_on_batch` and `fit` go on as with Keras's own function."""
    images = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    weights = []
    for steps_per_execution in (1, 3):  # With 3, it is Keras's.
        keras.utils.set_random_seed(1)
        model = bit_keras.BiTClassifier(
            bit_keras.BiTBackbone(units=(1, 1, 1, 1), width=0.5), 3
        )
        model.compile(
            "sgd", "mse", steps_per_execution=steps_per_execution, jit_compile=False
        )
        history = model.fit(
            images, labels, batch_size=2, epochs=2, shuffle=False, verbose=0
        )
        assert len(history.history["loss"]) == 2
        assert int(model.optimizer.iterations) == 6
        assert np.isfinite(model.train_on_batch(images, labels))
        weights.append(np.concatenate([np.ravel(v) for v in model.get_weights()]))
    np.testing.assert_allclose(*weights, atol=1e-5)
