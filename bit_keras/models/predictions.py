"""Logits as words."""

import numpy as np

from bit_keras.assets.label_maps import LABEL_MAPS, MAP_OF_COUNT, find_label_map
from bit_keras.errors import InputError


def decode_predictions(predictions, top=5, class_names=None, from_logits=True):
    """Tells the likeliest classes of each image, as Keras's applications do.

    Args:
        predictions: `(batch, classes)`: logits, as a `BiTClassifier` returns them, or
            probabilities.
        top: Number of classes to tell for each image, at least 1.
        class_names: The name of each class, such as `model.class_names`; or
            `"imagenet2012"`, `"imagenet21k"` or `"cifar10_quickdraw300"`. By default
            1,000 classes are taken for those of ILSVRC-2012, 21,843 for those of
            ImageNet-21k in BiT-M's order, and others are called by number.
        from_logits: Whether a softmax makes probabilities of the predictions; without
            it they are told as they are.

    Returns:
        A list with one list for each image, of tuples (id, name, probability), the
        likeliest first: the id is that of WordNet for the classes of ImageNet, set and
        class for those of `bit_t_r26x05`, and else the number of the class, from 0. Of
        equal ones the lowest number comes first.

    Raises:
        InputError: If the predictions are not such a matrix, or the names not of as
            many classes.

    Example:

    >>> model = BiTClassifier.from_preset("bit_s_r50x1")
    >>> bit_keras.decode_predictions(model(images), top=1)
    [[('n02123045', 'tabby', 0.7313...)]]
    """
    predictions = np.asarray(predictions, np.float64)
    if predictions.ndim != 2 or not predictions.shape[1]:
        raise InputError(
            "`predictions` must be a matrix, (batch, classes). Received: shape "
            f"{predictions.shape}"
        )
    if top < 1:
        raise InputError(f"`top` must be at least 1. Received: {top}")
    if not np.isfinite(predictions).all():
        raise InputError("`predictions` must be finite. Received: NaN or infinity")
    ids, names = _classes(class_names, predictions.shape[1])
    shares = _softmax(predictions) if from_logits else predictions
    order = np.argsort(-predictions, axis=1, kind="stable")[:, :top]
    return [
        [(ids[place], names[place], float(row[place])) for place in places]
        for row, places in zip(shares, order, strict=True)
    ]


def _classes(class_names, count):
    """Returns the ids and the names of all classes."""
    if class_names is None:
        class_names = MAP_OF_COUNT.get(count, [f"class {i}" for i in range(count)])
    if isinstance(class_names, str):
        if class_names not in LABEL_MAPS:
            raise InputError(
                f"`class_names` must be names, or one of {', '.join(LABEL_MAPS)}. "
                f"Received: {class_names!r}"
            )
        label_map = LABEL_MAPS[class_names]()
        class_names = label_map.class_names
    else:
        label_map = find_label_map(class_names)
    if len(class_names) != count:
        raise InputError(
            f"`class_names` must name each of {count} classes. Received: "
            f"{len(class_names)} names"
        )
    return (label_map.ids if label_map else range(count)), class_names


def _softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
