"""Pooled features of images, each computed once."""

import json
import pathlib
import zipfile

import numpy as np

from bit_keras.data.load import eval_batches
from bit_keras.data.splits import naming_unreadable
from bit_keras.errors import RunError
from bit_keras.evaluation.batches import examples_in
from bit_keras.files import replaced
from bit_keras.progress import progress_bar


def extract_features(model, source, split, image_size, progress=True):
    """Returns the pooled features of all images of a split, in their order.

    Args:
        model: A `BiTClassifier` without a head, of which they are the output.
        source: The `Source` that the split is of.
        split: A `Split`.
        image_size: Pixels that images are resized to.
        progress: Whether to show a progress bar.

    Returns:
        float32 `(images, 2048 * width)`.

    Raises:
        InputError: If an image cannot be read.
        RunError: If a feature is not finite.
    """
    batches = eval_batches(source, split, image_size, in_few_sizes=True)
    bar = progress_bar("features", split.num_examples, " images", show=progress)
    rows = []
    with naming_unreadable(split), bar:
        for batch in batches:
            images, _, is_example = examples_in(batch)
            features = np.asarray(model.predict_on_batch(images), np.float32)
            rows.append(features[is_example])
            bar.update(len(rows[-1]))
    features = np.concatenate(rows)
    _check_finite(features, split)
    return features


def _check_finite(features, split):
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise RunError(
            f"The features of {int(bad.sum())} of {split.num_examples} images are not "
            "finite; check that the weights hold neither NaN nor infinity."
        )


class FeatureCache:
    """The features of a split, kept in memory and, if wanted, in a file.

    Only those that are asked for are computed, for few-shot learning looks at a small
    part of a large set.

    Args:
        key: All that decides the features, a dict of JSON's types, such as checksums of
            weights and images. What a file holds for another key is not read.
        path: The `.npz` file, or `None` for memory alone.
    """

    def __init__(self, key, path=None):
        self._key = json.dumps(key, sort_keys=True)
        self._path = path and pathlib.Path(path)
        self._kept = self._read()

    def get(self, numbers, compute):
        """Returns the features of some images.

        Args:
            numbers: The images of the split, int64, increasing.
            compute: Called with the numbers, increasing, of those images whose features
                are not there yet; returns them, `(images, dimensions)`.

        Returns:
            Float `(images, dimensions)`.
        """
        known, features = self._kept or (np.zeros(0, np.int64), None)
        missing = np.setdiff1d(numbers, known)
        if len(missing):
            computed = compute(missing)
            if features is not None:
                computed = np.concatenate([features, computed])
            known = np.concatenate([known, missing])
            order = np.argsort(known)
            self._kept = known, features = known[order], computed[order]
            self._write()
        return features[np.searchsorted(known, numbers)]

    def _read(self):
        """Returns (numbers, features) of the file, `None` if they are not there."""
        if not (self._path and self._path.is_file()):
            return None
        try:
            # Opened here, since NumPy leaves a damaged file open.
            with (
                open(self._path, "rb") as file,
                np.load(file, allow_pickle=False) as archive,
            ):
                if archive["key"].item() != self._key:
                    return None
                return archive["numbers"], archive["features"]
        # A damaged file is as good as none: the features are computed again.
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def _write(self):
        if self._path:
            numbers, features = self._kept
            with replaced(self._path) as temporary:
                np.savez(temporary, key=self._key, numbers=numbers, features=features)
