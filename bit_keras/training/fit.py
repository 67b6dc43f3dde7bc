"""A model, a set of images and a recipe, put to work under the model's strategy."""

import contextlib
import math

import tensorflow as tf

from bit_keras.data.load import IN_PARALLEL, can_be_raw, eval_batches, train_batches
from bit_keras.data.raw import RawImages, render_batch, with_partners
from bit_keras.errors import InputError, RunError, first_line
from bit_keras.progress import progress_bar
from bit_keras.training.callbacks import (
    Clock,
    RecordRows,
    RestoreMetrics,
    SaveCheckpoints,
    StopOnNaN,
)
from bit_keras.training.input_wait import InputWait
from bit_keras.training.interruption import noticing_signals
from bit_keras.training.progress import ShowProgress
from bit_keras.training.resume import Progress
from bit_keras.training.strategies import (
    check_batch_size,
    in_step,
    is_chief,
    num_workers,
    share_batches,
)
from bit_keras.training.tensorboard import WriteSummaries


def train(
    model,
    source,
    recipe,
    *,
    seed=0,
    batch_split=1,
    steps_per_execution=1,
    checkpoints=None,
    checkpoint_steps=None,
    tensorboard=None,
    progress=True,
    is_compiled=False,
    with_tests=True,
):
    """Trains a model for all steps of a recipe, or for those that are left.

    The result is the same one on one device and on several, but for the rounding of
    sums, and the same one to the last bit whether the run was stopped in between.

    Args:
        model: A `BiTClassifier`, made in the scope of the strategy to train under.
        source: A `Source`.
        recipe: A recipe, such as a `HyperRule`.
        seed: Seed of order, crops, flips and MixUp.
        batch_split: Number of equal parts that a replica computes its share of a batch
            in, one after another, to save memory.
        steps_per_execution: Number of steps between two looks at the run; it must
            divide those of the recipe.
        checkpoints: `Checkpoints` to go on from and to write, or `None`.
        checkpoint_steps: Number of steps between checkpoints, beside that after each
            epoch; by default there is one whenever ten minutes have passed.
        tensorboard: Folder for what TensorBoard shows, or `None`.
        progress: Whether to show a progress bar.
        is_compiled: Whether `compile_for` has compiled the model before, for as many
            steps and the same parts.
        with_tests: Whether to look at the test images after some epochs.

    Returns:
        A `Progress`: its `rows` hold for each epoch the `step` and the `learning_rate`
        at its end, the means of `loss` and `accuracy` over it, and `val_loss` and
        `val_accuracy` where the test images were looked at after it. Its `input_wait`
        is the share of the time for which steps waited for their images.

    Raises:
        InputError: If batch, parts, replicas and checkpoints do not fit.
        RunError: If the loss stops being a number, or a worker was lost.
        Interrupted: After SIGINT or SIGTERM, once a checkpoint is written.
    """
    strategy = model.distribute_strategy
    epochs = count_epochs(recipe, steps_per_execution)
    steps_per_epoch = recipe.steps // epochs
    check_batch_size(strategy, recipe.batch_size, batch_split)
    if not is_compiled:
        compile_for(model, recipe, batch_split, steps_per_execution)
    state, restore_metrics = Progress(), None
    if checkpoints and (restored := checkpoints.restore(model)):
        state, restore_metrics = restored
    in_step(strategy, state.step)

    run = _Run(
        model, source, recipe, seed, state, checkpoints, checkpoint_steps, with_tests
    )
    callbacks = []
    if tensorboard and is_chief(strategy):
        images = train_batches(source, recipe, seed).take(1)
        callbacks.append(WriteSummaries(tensorboard, images, state))
    bar = progress_bar(
        "training",
        recipe.steps * recipe.batch_size,
        " images",
        start=state.step * recipe.batch_size,
        show=progress and is_chief(strategy),
    )
    # Where nothing can be kept, a signal does at once what it does.
    signals = noticing_signals() if checkpoints else contextlib.nullcontext()
    too_large = naming_lack_of_memory(recipe, batch_split)
    with bar, signals as interruption, naming_lost_workers(strategy), too_large:
        for segment in segments(state.step, steps_per_epoch, epochs):
            run.fit(segment, interruption, bar, callbacks, restore_metrics)
    return state


def compile_for(model, recipe, batch_split=1, steps_per_execution=1, **changes):
    """Compiles a model as a recipe says, with a new optimizer.

    Args:
        model: A `BiTClassifier`.
        recipe: A recipe.
        batch_split: As in `train`.
        steps_per_execution: As in `train`.
        **changes: Arguments of `compile` in place of the recipe's.
    """
    with model.distribute_strategy.scope():
        model.compile(
            **recipe.compile_args() | changes,
            batch_split=batch_split,
            steps_per_execution=steps_per_execution,
        )
        model.optimizer.build(model.trainable_variables)
    model.prepare = render_batch if model.can_prepare and _has_gpu() else None


def _has_gpu():
    return bool(tf.config.list_physical_devices("GPU"))


def count_epochs(recipe, steps_per_execution):
    """Returns the recipe's number of epochs, or fewer, so that their lengths fit.

    Raises:
        InputError: If `steps_per_execution` does not divide the steps of the recipe.
    """
    if recipe.steps % steps_per_execution:
        raise InputError(
            f"`steps_per_execution` must divide the {recipe.steps} steps of the "
            f"recipe. Received: {steps_per_execution}"
        )
    executions = recipe.steps // steps_per_execution
    most = recipe.fit_args()["epochs"]
    return max(n for n in range(1, most + 1) if executions % n == 0)


def segments(step, steps_per_epoch, epochs):
    """Returns what is left of a run: the rest of an epoch, and all whole epochs.

    Args:
        step: Number of steps that were made.
        steps_per_epoch: Number of steps of a whole epoch.
        epochs: Number of epochs in all.

    Returns:
        A list of (first epoch, last epoch + 1, steps in each, steps made before in the
        first).
    """
    epoch, offset = divmod(step, steps_per_epoch)
    left = []
    if offset:
        left.append((epoch, epoch + 1, steps_per_epoch - offset, offset))
        epoch += 1
    if epoch < epochs:
        left.append((epoch, epochs, steps_per_epoch, 0))
    return left


@contextlib.contextmanager
def naming_lost_workers(strategy):
    """Words the failure of a collective by its likely cause."""
    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError)
    try:
        yield
    except lost as error:
        if num_workers(strategy) == 1:
            raise
        raise RunError(
            "Another worker was lost; start the same command again on all of them to "
            f"go on from the last checkpoint. TensorFlow says: {first_line(error)}"
        ) from error


@contextlib.contextmanager
def naming_lack_of_memory(recipe, batch_split):
    """Words the failure of a step that does not fit into the memory of the device."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise RunError(
            f"A step of {recipe.batch_size} images of {recipe.crop} pixels does not "
            f"fit into the memory of the device; set batch_split to {2 * batch_split} "
            "or more, which changes no result, use remat, or give a smaller batch or "
            f"image size. Received: batch_split={batch_split}"
        ) from error


class _Run:
    """What the parts of a run have in common."""

    def __init__(
        self, model, source, recipe, seed, state, checkpoints, every, with_tests
    ):
        self.model = model
        self.source = source
        self.recipe = recipe
        self.seed = seed
        self.state = state
        self.checkpoints = checkpoints
        self.every = every
        self.with_tests = with_tests
        self.strategy = model.distribute_strategy

    def fit(self, segment, interruption, bar, callbacks, restore_metrics):
        """Trains for one part of the run."""
        first_epoch, epochs, steps, offset = segment
        clock = Clock(steps + offset, offset)
        input_wait = InputWait(self.state)
        rate = self.recipe.learning_rate
        callbacks = [
            clock,
            StopOnNaN(clock),
            RecordRows(self.state, clock, rate),
            *callbacks,
            input_wait,
            ShowProgress(bar, self.recipe.batch_size, clock, input_wait),
        ]
        if offset and restore_metrics:
            callbacks.append(RestoreMetrics(restore_metrics))
        if self.checkpoints:
            alone = num_workers(self.strategy) == 1
            callbacks.append(
                SaveCheckpoints(
                    self.checkpoints, self.state, clock, interruption, self.every, alone
                )
            )
        test, test_steps = self._test_batches() if self.with_tests else (None, None)
        self.model.fit(
            self._train_batches(first_epoch * (steps + offset) + offset),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=test,
            validation_steps=test_steps,
            validation_freq=self._epochs_between_tests(steps + offset),
            callbacks=callbacks,
            verbose=0,
            shuffle=False,  # The data set does it.
        )

    def _train_batches(self, first_step):
        as_raw = self._can_be_raw(self.source.train)

        def make(part):
            batches = train_batches(
                self.source,
                self.recipe,
                self.seed,
                first_step=first_step,
                part=part,
                as_raw=as_raw,
            )
            if as_raw and self.strategy.num_replicas_in_sync > 1:
                batches = batches.map(
                    lambda images, *rest: (with_partners(images), *rest)
                )
            return as_computed(self.model, batches)

        return share_batches(self.strategy, make)

    def _test_batches(self):
        """Returns the batches of test images, and their number."""
        eval_resize = self.recipe.eval_resize
        as_raw = self._can_be_raw(self.source.test, eval_resize)

        def make(part):
            batches = eval_batches(
                self.source,
                self.source.test,
                self.recipe.crop,
                eval_resize,
                multiple=self.strategy.num_replicas_in_sync,
                part=part,
                as_raw=as_raw,
            )
            return as_computed(self.model, batches)

        number = int(make(part=(0, 1)).cardinality())
        return share_batches(self.strategy, make), number

    def _can_be_raw(self, split, eval_resize=None):
        # Raw batches are whole ones, of which workers have parts.
        can_render = self.model.prepare is render_batch
        return (
            can_render
            and num_workers(self.strategy) == 1
            and can_be_raw(self.source, split, self.recipe.crop, eval_resize)
        )

    def _epochs_between_tests(self, steps_per_epoch):
        """Returns so many that training sees as many images as the tests at least."""
        images_per_epoch = steps_per_epoch * self.recipe.batch_size
        return max(1, math.ceil(self.source.test.num_examples / images_per_epoch))


def as_computed(model, batches):
    """Rounds images as the first layer would, so that half as much is copied.

    Args:
        model: What is trained on them.
        batches: A `tf.data.Dataset` of (images, labels) and perhaps more.
    """
    # Not for a `Distiller`, whose teacher may compute in another dtype.
    dtype = getattr(model, "backbone", model).compute_dtype
    images = batches.element_spec[0]
    if dtype not in ("bfloat16", "float16") or isinstance(images, RawImages):
        return batches

    def rounded(images, *rest):
        return tf.cast(images, dtype), *rest

    # One thread rounds 128 images of 224 px in 15 ms, in which a GPU trains on as many.
    return batches.map(rounded, **IN_PARALLEL).prefetch(tf.data.AUTOTUNE)


def columns(rows):
    """Returns the rows of a `Progress` as a dict of equally long lists.

    What was not measured after an epoch is `None`.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
