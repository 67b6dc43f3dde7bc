"""Checkpoints of a run: all it takes to go on as if nothing had stopped it."""

import dataclasses
import functools
import json
import pathlib
import shutil
import warnings
import zipfile

import keras
import numpy as np
import tensorflow as tf

from bit_keras.errors import InputError
from bit_keras.files import replaced

CONFIGURATION_FILE = "run.json"
PROGRESS = "progress"


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    The order of the examples, their crops and flips, and MixUp are functions of the
    seed and the step, so that there is no other state of the data or of randomness.

    Args:
        step: Number of updates of the weights.
        rows: What was measured after each epoch, a dict each.
        seconds: Time spent on training.
        waited: Seconds for which steps waited for their images.
        measured: Seconds of the steps of which that is known.
    """

    step: int = 0
    rows: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    waited: float = 0.0
    measured: float = 0.0

    @property
    def input_wait(self):
        """Share of the time for which steps waited, in [0, 1]; `None` if unknown."""
        return self.waited / self.measured if self.measured else None


class Checkpoints:
    """The checkpoints of one run in a folder of their own.

    Each is an `.npz` file, whole or not there, with a checksum for each array: the
    variables of model and optimizer, the sums behind the metrics of the epoch that has
    begun, and the `Progress`.

    Args:
        folder: Where they are; made when the first one is written.
        keep: Number of the latest ones that are kept.
        writes: Whether this process writes them, or another one of the same run.

    Example:

    >>> checkpoints = Checkpoints("runs/cifar10/checkpoints")
    >>> checkpoints.claim({"seed": 0})
    >>> checkpoints.save(model, Progress(step=100))
    >>> checkpoints.restore(model).step
    100
    """

    def __init__(self, folder, keep=2, writes=True):
        if keep < 1:
            raise InputError(
                f"At least one checkpoint must be kept. Received: keep={keep}"
            )
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.writes = writes

    def claim(self, configuration):
        """Notes what the run is, or makes sure that it is the same one.

        Args:
            configuration: A dict of JSON's types.

        Raises:
            InputError: If the folder belongs to a run of another configuration; says
                where they differ.
        """
        known = self.configuration()
        if known is None:
            if self.writes:
                with replaced(self.folder / CONFIGURATION_FILE) as temporary:
                    temporary.write_text(json.dumps(configuration, indent=1))
        elif not self.is_of(configuration):
            name, before, now = first_difference(known, configuration)
            raise InputError(
                f"{self.folder.parent} holds an unfinished run of another "
                f"configuration: `{name}` was {before!r} and is now {now!r}; run the "
                "same command as before to finish it, give another folder, or start "
                "anew with `overwrite`."
            )

    def configuration(self):
        """Returns what `claim` has noted, or `None`."""
        try:
            return json.loads((self.folder / CONFIGURATION_FILE).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_of(self, configuration):
        """Returns whether they belong to a run of this configuration."""
        known = self.configuration()
        return known is not None and first_difference(known, configuration) is None

    def files(self):
        """Returns the checkpoints, the latest first."""
        return sorted(self.folder.glob("step-*.npz"), reverse=True)

    def save(self, model, progress, with_metrics=True):
        """Writes a checkpoint, and removes those that are too old.

        Where several workers train together, all of them have to call this if metrics
        are kept, which they add up together.

        Args:
            model: A compiled Keras model.
            progress: Its `Progress`.
            with_metrics: Whether to keep the metrics of the epoch that has begun.

        Raises:
            RunError: If it cannot be written; the ones before are as they were.
        """
        metrics = _read_metrics(model) if with_metrics else {}
        if not self.writes:
            return
        arrays = metrics | {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in _variables(model).items()
        }
        text = json.dumps(dataclasses.asdict(progress)).encode()
        arrays[PROGRESS] = np.frombuffer(text, np.uint8)
        with replaced(self.folder / f"step-{progress.step:010d}.npz") as temporary:
            np.savez(temporary, **arrays)
        for path in self.files()[self.keep :]:
            path.unlink()

    def restore(self, model):
        """Puts the latest checkpoint that is whole into the model.

        Args:
            model: A compiled Keras model, its optimizer and metrics built.

        Returns:
            The `Progress`, and a function that puts back the metrics of the epoch that
            had begun; `None` if there is no checkpoint.

        Raises:
            InputError: If a checkpoint is of another model, or all are damaged.
        """
        files = self.files()
        for path in files:
            try:
                arrays = _read(path)
            except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
                warnings.warn(
                    f"The checkpoint {path} is damaged ({error}); the one before is "
                    "taken.",
                    stacklevel=2,
                )
                continue
            progress = Progress(**json.loads(arrays.pop(PROGRESS).tobytes()))
            _assign(_variables(model), arrays, path)
            return progress, functools.partial(_restore_metrics, model, arrays)
        if files:
            raise InputError(
                f"All checkpoints in {self.folder} are damaged; remove the folder to "
                "start anew."
            )
        return None

    def remove(self):
        """Removes the folder, once the run has left its results."""
        if not self.writes:
            return
        shutil.rmtree(self.folder, ignore_errors=True)


def first_difference(before, now, prefix=""):
    """Returns (name, value before, value now) where two configurations differ first."""
    # As JSON keeps it: lists in place of tuples.
    before, now = (json.loads(json.dumps(config)) for config in (before, now))
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := first_difference(old, new, f"{prefix}{name}."):
                return inner
        elif old != new:
            return f"{prefix}{name}", old, new
    return None


def _variables(model):
    """Returns what makes up the state of a model in training, by name in the file."""
    variables = {f"model/{i:05d}": v for i, v in enumerate(_own_variables(model))}
    return variables | {
        f"optimizer/{i:05d}": v for i, v in enumerate(model.optimizer.variables)
    }


def _own_variables(model):
    """Returns the variables of a model, without those of its metrics."""
    metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics]


def _read_metrics(model):
    """Returns the sums behind the metrics by name: (replicas, ...), in their order.

    Each replica adds up its own; the sum over all would go on with other roundings.
    """
    strategy = model.distribute_strategy

    @tf.function
    def values_of_replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        values = [tf.identity(v.value)[None] for v in model.metrics_variables]
        return tf.convert_to_tensor(number)[None], values

    numbers, *values = (
        gathered.numpy()
        for gathered in tf.nest.flatten(
            tf.nest.map_structure(
                lambda value: _gather(strategy, value), strategy.run(values_of_replica)
            )
        )
    )
    return {
        f"metrics/{i:05d}": value[numbers.argsort()] for i, value in enumerate(values)
    }


def _gather(strategy, value):
    if strategy.num_replicas_in_sync == 1:
        return value
    return strategy.gather(value, axis=0)


def _restore_metrics(model, arrays):
    """Assigns to the metrics, which Keras makes when training begins."""
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    values = []
    for i, variable in enumerate(model.metrics_variables):
        value = arrays.get(f"metrics/{i:05d}", np.zeros((replicas, *variable.shape)))
        if len(value) != replicas:  # It goes on on other devices.
            others = np.zeros((replicas - 1, *variable.shape))
            value = np.concatenate([value.sum(axis=0, keepdims=True), others])
        values.append(value.astype(variable.dtype))

    @tf.function
    def assign_in_replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable, value in zip(model.metrics_variables, values, strict=True):
            variable.value.assign(tf.gather(value, number))

    strategy.run(assign_in_replica)


def _read(path):
    """Reads a whole file; each checksum is compared on the way."""
    with np.load(path, allow_pickle=False) as archive:
        if damaged := archive.zip.testzip():
            raise ValueError(f"the checksum of {damaged} is another one")
        return {name: archive[name] for name in archive.files}


def _assign(variables, arrays, path):
    """Assigns all, or raises before it has changed any."""
    for name, variable in variables.items():
        found = arrays[name].shape if name in arrays else "none"
        if found != tuple(variable.shape):
            raise InputError(
                f"The checkpoint {path} is of another model: {variable.path} has shape "
                f"{found} there and {tuple(variable.shape)} here."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
