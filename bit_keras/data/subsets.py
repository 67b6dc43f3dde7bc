"""A few examples of each class."""

import dataclasses

import numpy as np

from bit_keras.errors import InputError


def few_examples(source, examples_per_class, seed=0):
    """Leaves a source as many training examples of each class, drawn from all.

    Fewer examples of the same seed are among more of them.

    Args:
        source: A `Source`.
        examples_per_class: Number of training examples of each class, at least 1.
        seed: Seed of the draw.

    Returns:
        The `Source` with fewer training examples and the same test examples.

    Raises:
        InputError: If a class has fewer.

    The published code does otherwise: it draws from the first 200,000 examples alone,
    or keeps the last ones that it has seen, whatever the seed.
    """
    numbers = draw_balanced(
        source.train.read_labels(), source.class_names, examples_per_class, seed
    )
    return dataclasses.replace(source, train=source.train.subset(numbers))


def draw_balanced(labels, class_names, examples_per_class, seed=0):
    """Draws as many examples of each class.

    Args:
        labels: int64 [N], the classes of all examples.
        class_names: K strings.
        examples_per_class: Number of examples to draw of each class, at least 1.
        seed: Seed of the draw; fewer examples are among more of the same seed.

    Returns:
        The numbers of the examples drawn, int64, increasing.

    Raises:
        InputError: If a class has fewer.
    """
    if not isinstance(examples_per_class, int) or examples_per_class < 1:
        raise InputError(
            "`examples_per_class` must be a whole number of at least 1. "
            f"Received: {examples_per_class!r}"
        )
    chosen = [
        _draw(labels, label, name, examples_per_class, seed)
        for label, name in enumerate(class_names)
    ]
    return np.sort(np.concatenate(chosen))


def _draw(labels, label, name, count, seed):
    """Draws examples of one class, whatever the other classes hold."""
    where = np.flatnonzero(labels == label)
    if len(where) < count:
        raise InputError(
            f"Class `{name}` has {len(where)} training examples, fewer than "
            f"`examples_per_class`; give at most as many. Received: {count}"
        )
    return np.random.default_rng([seed, label]).permutation(where)[:count]
