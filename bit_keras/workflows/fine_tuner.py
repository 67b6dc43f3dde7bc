"""Fine-tuning one model again and again, from the same weights."""

import dataclasses
import functools
import zlib

import keras
import numpy as np

from bit_keras.data.fingerprints import fingerprint as split_fingerprint
from bit_keras.data.load import eval_batches
from bit_keras.data.sources import naming_unreadable
from bit_keras.errors import InputError
from bit_keras.evaluation import evaluate_model
from bit_keras.models.classifier import BiTClassifier
from bit_keras.recipes.schedules import RateTable
from bit_keras.training.fit import compile_for, train
from bit_keras.workflows.models import check_is_there, open_start_model
from bit_keras.workflows.runs import fingerprint

# Steps of the longest HyperRule.
LONGEST = 20_000
# Bias of a class that is none. Its softmax is zero; only labels that were smoothed over
# all classes would move it, and no recipe does that.
NEVER = -1e9
# Fields of recipes that are the business of the input and of the rates.
NOT_COMPILED = {
    *("num_examples", "height", "width", "resize", "eval_resize", "cropping", "flip"),
    *("mixup_alpha", "mixup_partner", "steps", "warmup_steps", "decay_steps"),
    "base_learning_rate",
}


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenModel:
    """A model whose weights stay as they are.

    Args:
        name: What a person calls it.
        model: A `BiTClassifier` without a head.
        from_scratch: Whether its weights are random.
    """

    name: str
    model: BiTClassifier
    from_scratch: bool = False

    @classmethod
    def open(cls, name, model, weights=None):
        """Opens a model to start from.

        Args:
            name: What a person calls it.
            model: A `BiTClassifier`, of which the backbone counts, or what
                `open_start_model` takes.
            weights: As in `open_start_model`.
        """
        if isinstance(model, BiTClassifier):
            # The same backbone; the head is the caller's.
            return cls(name, BiTClassifier(model.backbone, num_classes=0))
        # Random weights are the same ones whatever was opened before.
        keras.utils.set_random_seed(0)
        return cls(name, *open_start_model(model, 0, weights))

    @property
    def kind(self):
        """What networks that can exchange their weights have in common."""
        backbone = self.model.backbone
        policy = backbone.dtype_policy.name
        return backbone.architecture, policy, backbone.trainable

    @functools.cached_property
    def identity(self):
        """What tells the model from another one, a dict of JSON's types."""
        return {
            "architecture": str(self.model.architecture),
            "policy": self.model.backbone.dtype_policy.name,
            "weights": fingerprint(self.model.backbone),
        }


def check_models(models):
    """Raises `InputError` unless there are models, before other work.

    Args:
        models: What each model is called, and the model: a `BiTClassifier`, or a preset
            or path as in `open_model`.
    """
    if not models:
        raise InputError("There is no model to evaluate; give at least one.")
    for model in models.values():
        if not isinstance(model, BiTClassifier):
            check_is_there(model)


def identify_source(source):
    """Returns what tells a `Source` from another one, a dict of JSON's types."""
    return {
        "name": source.name,
        "classes": f"{zlib.crc32(repr(source.class_names).encode()):08x}",
        "training images": split_fingerprint(source.train),
        "test images": split_fingerprint(source.test),
    }


def describe_recipe(recipe):
    """Returns all of a recipe as a dict of JSON's types."""
    return {"kind": type(recipe).__name__, **recipe.to_dict()}


class FineTuner:
    """Fine-tunes copies of a model with a new head of zeros.

    Args:
        frozen: The `FrozenModel` to start from.
        num_classes: Number of classes of the head. Sets with fewer share the network
            that is compiled for it.
        progress: Whether to show progress bars.
        batch_split: As in `RunOptions`.
        remat: As in `RunOptions`.
    """

    def __init__(self, frozen, num_classes, progress, batch_split=1, remat=False):
        self.frozen = frozen
        self.num_classes = num_classes
        self.progress = progress
        self.batch_split = batch_split
        self.remat = remat
        self._compiled_for = self._tested_on = None

    @classmethod
    def of(cls, frozen, num_classes, options):
        """Is made with `progress`, `batch_split` and `remat` of a job's `Options`."""
        return cls(
            frozen, num_classes, options.progress, options.batch_split, options.remat
        )

    def run(self, source, recipe, seed):
        """Trains on a set of images; returns the number of right test images.

        Args:
            source: The `Source`, with as many classes as the head or fewer.
            recipe: The recipe.
            seed: Seed of order, crops, flips and MixUp.

        Raises:
            InputError: If it has more classes, or an image cannot be read.
        """
        num_classes, source = source.num_classes, self._with_room(source)
        with naming_unreadable(source.train, source.test):
            self._begin(recipe, num_classes)
            train(
                self.model,
                source,
                recipe,
                seed=seed,
                batch_split=self.batch_split,
                progress=self.progress,
                is_compiled=True,
                with_tests=False,
            )
            evaluation = evaluate_model(
                self.model,
                self._test_batches(source, recipe),
                source.class_names,
                self.progress,
            )
        return evaluation.num_correct

    @functools.cached_property
    def model(self):
        """The copy that is trained, so that the model stays as it is."""
        model = BiTClassifier.from_config(self.frozen.model.get_config())
        model.reset_head(self.num_classes)
        model.backbone.remat = self.remat
        return model

    def _with_room(self, source):
        """Returns a source whose labels are as wide as the head."""
        missing = self.num_classes - source.num_classes
        if missing < 0:
            raise InputError(
                f"A head of {self.num_classes} classes has no room for those of "
                f"{source.name}. Received: {source.num_classes} classes"
            )
        return dataclasses.replace(
            source, class_names=(*source.class_names, *[""] * missing)
        )

    def _test_batches(self, source, recipe):
        """Returns the batches of test images: those of the run before, if it had them.

        To make a pipeline anew takes as long as many steps of a small network.
        """
        wanted = source.test, source.num_classes, recipe.crop, recipe.eval_resize
        if wanted != self._tested_on:
            split, _, crop, resize = wanted
            self._batches = eval_batches(source, split, crop, resize, in_few_sizes=True)
            self._tested_on = wanted
        return self._batches

    def _begin(self, recipe, num_classes):
        """Puts the model and its optimizer where a run begins."""
        # The network is compiled once for all runs whose steps are the same ones: to
        # compile it takes longer than to train it on a fast device.
        needs = _compiled_parts(recipe)
        if needs != self._compiled_for or recipe.steps > self._rates.size:
            self._compile(recipe)
            self._compiled_for = needs
        self._rates.fill(recipe.learning_rate, recipe.steps)
        variables = self.model.optimizer.variables
        for variable, value in zip(variables, self._new_optimizer, strict=True):
            variable.assign(value)
        weights = self.model.backbone.weights, self.frozen.model.backbone.weights
        for variable, start in zip(*weights, strict=True):
            variable.assign(start)
        head = self.model.head
        head.kernel.assign(keras.ops.zeros_like(head.kernel))
        # Their probability is zero, to the last bit, and so are their gradients: no
        # step moves a class that the set does not have.
        is_class = np.arange(self.num_classes) < num_classes
        head.bias.assign(np.where(is_class, 0, NEVER))

    def _compile(self, recipe):
        with self.model.distribute_strategy.scope():
            self._rates = RateTable(max(recipe.steps, LONGEST))
        optimizer = recipe.compile_args()["optimizer"]
        config = optimizer.get_config() | {"learning_rate": self._rates}
        optimizer = type(optimizer).from_config(config)
        compile_for(self.model, recipe, self.batch_split, optimizer=optimizer)
        self._new_optimizer = [
            keras.ops.convert_to_numpy(v) for v in self.model.optimizer.variables
        ]


def _compiled_parts(recipe):
    """Returns what a training step depends on: all but order, pixels and rates."""
    return {
        name: value
        for name, value in describe_recipe(recipe).items()
        if name not in NOT_COMPILED
    }
