"""Accuracy where the classes of the images are not those of the model."""

import dataclasses
import functools

import numpy as np

from bit_keras.assets.label_maps import (
    LABEL_MAPS,
    MAP_OF_COUNT,
    find_label_map,
    imagenet2012,
)
from bit_keras.errors import InputError
from bit_keras.evaluation.accuracy import Evaluation, wilson_interval
from bit_keras.evaluation.logits import run_model, score, top_classes

OTHER = "another class"


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """Which of a model's classes are right for each class of a set.

    Args:
        rows: (name, places among the model's classes) of each class of the set; no
            class of the model is of two of them.
        num_classes: Number of the model's classes, K.
        among: Places of those that the model chooses among; `None` for all.
    """

    rows: tuple[tuple[str, tuple[int, ...]], ...]
    num_classes: int
    among: tuple[int, ...] | None = None

    @functools.cached_property
    def columns(self):
        """Places of the classes that the model chooses among, int64 array."""
        all_of_them = range(self.num_classes)
        return np.array(all_of_them if self.among is None else self.among)

    @functools.cached_property
    def counted_under(self):
        """The class of the set for each of `columns`, int64 array.

        Where there is none it is one more, that of all others.
        """
        owner = np.full(self.num_classes, len(self.rows))
        for label, (_, places) in enumerate(self.rows):
            owner[list(places)] = label
        return owner[self.columns]

    @property
    def class_names(self):
        """The classes of the set, and one for all others if the model may name them."""
        names = tuple(name for name, _ in self.rows)
        others = len(self.rows) in self.counted_under
        return (*names, OTHER) if others else names


@dataclasses.dataclass(frozen=True, eq=False)
class MappedEvaluation(Evaluation):
    """An `Evaluation` in the classes of the set.

    An image with several right classes counts under the likeliest of them, so that it
    is right if any of them is the likeliest of all.

    Args:
        num_choices: Number of classes that the model chose among.
        num_left_out: Number of images without any right class, which are not counted.
        correct_of_all: Number of right images if the model chooses among all of its
            classes, or `None` where it does so anyhow.
        correct_top5_of_all: The same for the five likeliest.
    """

    num_choices: int = 0
    num_left_out: int = 0
    correct_of_all: int | None = None
    correct_top5_of_all: int | None = None

    def to_dict(self):
        """Returns all figures in JSON's types; `num_classes` are those chosen among."""
        figures = super().to_dict() | {
            "num_classes": self.num_choices,
            "num_left_out": self.num_left_out,
        }
        if self.correct_of_all is not None:
            correct, total = self.correct_of_all, self.num_examples
            figures["among_all_classes"] = {
                "num_correct": correct,
                "num_correct_top5": self.correct_top5_of_all,
                "top1": correct / total,
                "top1_interval": list(wilson_interval(correct, total)),
                "top5": self.correct_top5_of_all / total,
            }
        return figures


def evaluate_mapped(model, batches, class_map, num_images, progress=True):
    """Counts every image of a set whose right classes are given.

    Args:
        model: Keras model, images [B, H, W, 3] -> logits [B, K].
        batches: Finite `tf.data.Dataset` of (images, right classes [B, K] as 1 and 0,
            weights [B]); rows of weight 0 are left out.
        class_map: A `ClassMap`.
        num_images: Number of images of the set, with those that are left out.
        progress: Whether to show a progress bar.

    Returns:
        A `MappedEvaluation`. Its losses are those of naming any of the right classes.

    Raises:
        InputError: If the model has another number of classes, or there is nothing to
            count.
        RunError: If a logit is not finite.
    """
    batches_of_columns, of_all = [], np.zeros(2, np.int64)
    for logits, right in run_model(model, batches, progress):
        _check(logits, right, class_map)
        batches_of_columns.append(_score(logits, right, class_map))
        if class_map.among is not None:
            of_all += _count_right(logits, right)
    columns = map(np.concatenate, zip(*batches_of_columns, strict=True))
    evaluation = MappedEvaluation(class_map.class_names, *columns)
    among_all = class_map.among is None
    return dataclasses.replace(
        evaluation,
        num_choices=len(class_map.columns),
        num_left_out=num_images - evaluation.num_examples,
        correct_of_all=None if among_all else int(of_all[0]),
        correct_top5_of_all=None if among_all else int(of_all[1]),
    )


def _check(logits, right, class_map):
    if logits.ndim != 2 or logits.shape[1] != class_map.num_classes:
        raise InputError(
            f"The model must give logits of {class_map.num_classes} classes. Received: "
            f"outputs of shape {logits.shape}"
        )
    if not right[:, class_map.columns].any(axis=1).all():
        raise InputError(
            "An image is of none of the classes that the set is said to have; prepare "
            "the set anew."
        )


def _score(logits, right, class_map):
    """Returns the columns of `Evaluation` for a batch, in the classes of the set."""
    logits = logits[:, class_map.columns]
    right = right[:, class_map.columns] > 0
    of_right = np.where(right, logits, -np.inf)
    labels, _, top, shares, _ = score(logits, of_right.argmax(axis=1))
    losses = _log_sum(logits) - _log_sum(of_right)
    owner = class_map.counted_under
    return owner[labels], losses, _first_places(owner[top]), shares


def _log_sum(logits):
    highest = logits.max(axis=1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))


def _first_places(classes):
    """Returns the ranked classes [n, 5] with -1 where one is there again."""
    is_same = classes[:, :, None] == classes[:, None, :]
    is_again = np.tril(is_same, -1).any(axis=2)
    return np.where(is_again, -1, classes)


def _count_right(logits, right):
    """Returns how many are right, and right among the five likeliest, of all."""
    top = top_classes(logits, min(5, logits.shape[1]))
    is_right = np.take_along_axis(right, top, axis=1) > 0
    return np.array([is_right[:, 0].sum(), is_right.any(axis=1).sum()])


def check_ilsvrc2012(model, name):
    """Raises `InputError` unless a model has the classes of ILSVRC-2012.

    Args:
        model: A `BiTClassifier`; without class names its classes are taken to be in the
            order of ILSVRC-2012 if they are 1,000.
        name: The set that it is to be evaluated on.
    """
    names = model.class_names
    if model.num_classes == len(imagenet2012().ids) and (
        names is None or find_label_map(names) is imagenet2012()
    ):
        return
    received = f"{model.num_classes:,} classes"
    if names and model.num_classes == len(imagenet2012().ids):
        received = f"1,000 others, the first of them `{names[0]}`"
    raise InputError(
        f"{name} is for models with the 1,000 classes of ILSVRC-2012, such as "
        f"bit_s_r50x1 or bit_m_r50x1_ilsvrc2012. Received: a model with {received}"
    )


def map_by_name(model, folder_names):
    """Finds classes of ImageNet by the names of folders.

    Args:
        model: A `BiTClassifier` with the classes of ILSVRC-2012 or ImageNet-21k, by
            their names or, without any, by their number.
        folder_names: WordNet ids, class names, or words that a single class has;
            underscores stand for spaces, and capital letters do not matter.

    Returns:
        A `ClassMap`.

    Raises:
        InputError: If a name is none of them, or two are of the same class.
    """
    places = _places_by_name(model)
    unknown = [name for name in folder_names if _key(name) not in places]
    if unknown:
        raise InputError(
            "Where folders are not as many as the model's classes, each must be called "
            "after one of them, by its WordNet id or a name that no other has. "
            f"Received: {', '.join(unknown[:5])}"
        )
    found = {}
    for name in folder_names:
        place = places[_key(name)]
        if place in found:
            raise InputError(
                f"The folders {found[place]} and {name} are of the same class of the "
                "model; give one of them."
            )
        found[place] = name
    rows = tuple((name, (place,)) for place, name in found.items())
    return ClassMap(rows, model.num_classes)


def knows_any(model, folder_names):
    """Tells whether any name is of a class of the model; see `map_by_name`."""
    places = _places_by_name(model)
    return any(_key(name) in places for name in folder_names)


def _key(name):
    return name.replace("_", " ").casefold()


def _places_by_name(model):
    """Returns {name: place} of all that the classes of ImageNet may be called."""
    names = model.class_names or MAP_OF_COUNT.get(model.num_classes, ())
    label_map = LABEL_MAPS[names]() if isinstance(names, str) else find_label_map(names)
    if not label_map or label_map.name not in MAP_OF_COUNT.values():
        return {}
    words, ambiguous = {}, set()
    for place, lemmas in enumerate(label_map.lemmas):
        for word in {_key(word) for word in lemmas.split(", ")}:
            ambiguous |= {word} & words.keys()
            words[word] = place
    words |= {_key(name): place for place, name in enumerate(label_map.class_names)}
    unique = {word: place for word, place in words.items() if word not in ambiguous}
    return unique | label_map.places
