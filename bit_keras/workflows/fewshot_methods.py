"""The two ways to learn from a few examples of each class."""

import dataclasses
import functools

import numpy as np

from bit_keras.data.load import in_memory
from bit_keras.data.sources import Source
from bit_keras.data.subsets import draw_balanced
from bit_keras.evaluation.features import FeatureCache, extract_features
from bit_keras.evaluation.fewshot import L2, LinearProbe
from bit_keras.workflows.fine_tuner import describe_recipe, identify_source


@dataclasses.dataclass(eq=False)
class FewShotSet:
    """A set of images of which balanced subsets are drawn.

    Args:
        source: The `Source`.
        draws: (examples per class, seed) of subsets that hold all others. Their images
            are read once, if they fit into memory: it takes longer to go through a
            large set than to learn from a few images of it.
    """

    source: Source
    draws: tuple = ()

    @functools.cached_property
    def labels(self):
        """The labels of the training images, which are read once."""
        return self.source.train.read_labels()

    @functools.cached_property
    def class_counts(self):
        """Number of training images of each class, int64 [K]."""
        return np.bincount(self.labels, minlength=self.source.num_classes)

    @functools.cached_property
    def identity(self):
        """What tells the set from another one, a dict of JSON's types."""
        return identify_source(self.source)

    def draw(self, examples_per_class, seed):
        """Returns the numbers of the training images in a subset."""
        names = self.source.class_names
        return draw_balanced(self.labels, names, examples_per_class, seed)

    @functools.cached_property
    def drawn(self):
        """The numbers of all images in `draws`, increasing."""
        return np.unique(np.concatenate([self.draw(*draw) for draw in self.draws]))

    def subset(self, examples_per_class, seed):
        """Returns the `Source` with a subset of the training images alone."""
        numbers, train = self.draw(examples_per_class, seed), self.source.train
        if self.draws:
            numbers, train = np.searchsorted(self.drawn, numbers), self._drawn_images
        return dataclasses.replace(self.source, train=train.subset(numbers))

    @functools.cached_property
    def _drawn_images(self):
        return in_memory(self.source.train.subset(self.drawn), self.source)


class Probe:
    """A linear classifier of frozen features, by least squares.

    Args:
        frozen: The `FrozenModel`.
        data: The `FewShotSet`; the features of all images in its `draws` are computed
            at once.
        image_size: Pixels that images are resized to.
        l2: Strengths of the regularization.
        path_of: Maps `"train"` or `"test"` and what decides the features to the file
            they are kept in, or to `None`.
        progress: Whether to show progress bars.
    """

    kind = "probe"

    def __init__(self, frozen, data, image_size, l2, path_of, progress):
        self.frozen = frozen
        self.data = data
        self.image_size = image_size
        self.l2 = l2
        self.path_of = path_of
        self.progress = progress

    def settings(self, examples_per_class, seed):
        """Returns what decides a run, beside model, set and subset."""
        return {"image_size": self.image_size, "l2": list(self.l2)}

    def describe(self, examples_per_class):
        """Returns the setting in one line."""
        return f"least squares on features of {self.image_size} px"

    def run(self, examples_per_class, seed):
        """Learns from one subset.

        Returns:
            The number of right test images, for each strength by its name.
        """
        numbers = self.data.draw(examples_per_class, seed)
        all_numbers, features = self._train_features
        features = features[np.searchsorted(all_numbers, numbers)]
        labels = self.data.labels[numbers]
        probe = LinearProbe(features, labels, self.data.source.num_classes)
        return {self._method(l2): self._count_right(probe, l2) for l2 in self.l2}

    def _count_right(self, probe, l2):
        predictions = probe.predict(self._test_features, l2)
        return int(np.sum(predictions == self._test_labels))

    def _method(self, l2):
        return "linear probe" if l2 == L2 else f"linear probe, l2 {l2:g}"

    @functools.cached_property
    def _train_features(self):
        """The numbers of all images in any subset, and their features."""
        return self.data.drawn, self._features("train", self.data.drawn)

    @functools.cached_property
    def _test_features(self):
        return self._features("test", np.arange(self.data.source.test.num_examples))

    @functools.cached_property
    def _test_labels(self):
        return self.data.source.test.read_labels()

    def _features(self, part, numbers):
        split = getattr(self.data.source, part)
        key = {
            "model": self.frozen.identity,
            "data": self.data.identity,
            "part": part,
            "image_size": self.image_size,
        }

        def compute(missing):
            wanted = split if len(missing) == split.num_examples else None
            return extract_features(
                self.frozen.model,
                self.data.source,
                wanted or split.subset(missing),
                self.image_size,
                self.progress,
            )

        return FeatureCache(key, self.path_of(part, key)).get(numbers, compute)


class FineTuning:
    """All of the network, with a new head of zeros, trained by a recipe.

    Args:
        data: The `FewShotSet`.
        recipe_of: Maps a `Source` to the recipe.
        tuner: The `FineTuner` of the model to start from.
    """

    kind = "finetune"

    def __init__(self, data, recipe_of, tuner):
        self.data = data
        self.recipe_of = recipe_of
        self.tuner = tuner

    def settings(self, examples_per_class, seed):
        """Returns what decides a run, beside model, set and subset."""
        return describe_recipe(self._recipe(examples_per_class))

    def describe(self, examples_per_class):
        """Returns the setting in one line."""
        return self._recipe(examples_per_class).describe()

    def run(self, examples_per_class, seed):
        """Learns from one subset; returns the number of right test images by name."""
        source = self.data.subset(examples_per_class, seed)
        recipe = self.recipe_of(source)
        return {"fine-tuning": self.tuner.run(source, recipe, seed)}

    def _recipe(self, examples_per_class):
        """Returns the recipe for a subset, of which the number of images is enough."""
        return self.recipe_of(self.data.subset(examples_per_class, 0))
