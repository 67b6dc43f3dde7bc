"""From a model to files that other programs run, with a model card."""

import collections
import dataclasses
import gc
import pathlib

import tensorflow as tf

from bit_keras.checkpoints.fetch import cached_path
from bit_keras.errors import InputError, RunError, first_line
from bit_keras.export.families import handle_of
from bit_keras.models.presets import PRESETS
from bit_keras.workflows.export_cards import (
    EXPORTS,
    check_card,
    find_place,
    place_of_preset,
    record,
)
from bit_keras.workflows.export_jobs import ExportOptions, plan
from bit_keras.workflows.models import open_model

WEIGHT_SUFFIXES = (".npz", ".h5")
# What can go wrong with one model while the next one may be fine.
FAILURES = (InputError, RunError, OSError, MemoryError, tf.errors.OpError)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export has left.

    Args:
        files: What was written: {path: dict of its `content` in words, `num_bytes`, and
            `deviation` from the model or `None`}.
        card: The path of the model card.
    """

    files: dict
    card: pathlib.Path


def export(model, out_dir=None, *, weights="published", **options):
    """Writes a model in one or several formats, with a model card.

    Args:
        model: As in `open_model`: a preset, a `.keras` file, the folder of a run or of
            a SavedModel, or a weight file.
        out_dir: The folder for all of it: by default `exports/m-r50x1` for the preset
            `bit_m_r50x1`, and `exports/NAME` for any other model.
        weights: For a preset: `"published"`, the path of a weight file, or `"none"`.
        **options: Of `ExportOptions`.

    Returns:
        An `Exported`. In the folder are `saved_model/` and `saved_model_serving/`, the
        archives and files that were asked for, `README.md`, `measured.json` and, where
        it is known, the `recipe.json` that the weights were trained by.

    Raises:
        InputError: If an argument is not possible, or if something of that is there.
        RunError: If a file does not give the model's outputs, or cannot be written.

    Example:

    >>> export("bit_m_r50x1", formats=("saved_model", "onnx")).card
    PosixPath('exports/m-r50x1/README.md')
    """
    options = ExportOptions.of(options)
    place = find_place(str(model), str(weights), out_dir)
    jobs = plan(place.folder, options, place.recipe)
    for job in jobs:
        job.check_target(options.overwrite)
    return _carry_out(jobs, place, model, weights, options)


def export_all(weights_dir=None, out_dir=EXPORTS, **options):
    """Exports every preset whose weights are on this machine; downloads nothing.

    What is there already is kept, so that the same call again goes on where another one
    was stopped. A failure of one preset does not stop the others.

    Args:
        weights_dir: Folder in which, and below which, published weight files are looked
            for, beside the cache of downloads and the package.
        out_dir: Folder for the folders of all presets.
        **options: Of `ExportOptions`.

    Returns:
        The names of the presets that there are exports of now.

    Raises:
        InputError: If there is no weight file of a preset in `weights_dir`.
        RunError: At the end, if presets could not be exported; says which and why.
    """
    options, failures = ExportOptions.of(options), {}
    weights = _find_weights(weights_dir)
    for preset, file in weights.items():
        try:
            _export_missing(place_of_preset(preset, out_dir), file, options)
        except FAILURES as error:
            failures[preset.name] = first_line(error)
            options.say(f"Failed, {preset.name}: {failures[preset.name]}")
        gc.collect()  # Keras models hold themselves, and the next one needs the memory.
    exported = [preset.name for preset in weights if preset.name not in failures]
    skipped = [preset for preset in PRESETS.values() if preset not in weights]
    options.say(
        f"Exported: {len(exported)}; skipped without a weight file: {len(skipped)} "
        f"({_list_by_family(skipped)})"
    )
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise RunError(f"{len(failures)} of {len(weights)} presets failed: {reasons}")
    return exported


def _export_missing(place, weights, options):
    """Exports what is not there yet of a preset."""
    jobs = plan(place.folder, options, place.recipe)
    missing = [job for job in jobs if options.overwrite or not job.path.exists()]
    for job in jobs:
        if job not in missing:
            options.say(f"Kept what is there: {job.path}")
    if missing:
        _carry_out(missing, place, place.preset.name, weights, options)


def _carry_out(jobs, place, model, weights, options):
    """Writes everything, and a card about it."""
    check_card(place.card_folder)
    model, files = open_model(model, weights=str(weights)), {}
    try:
        for job in jobs:
            num_bytes, deviation = job.write(model)
            files[job.path] = {
                "content": job.content,
                "num_bytes": num_bytes,
                "deviation": deviation,
            }
            options.say(f"{job.content}: {job.path} ({num_bytes / 1e6:,.1f} MB)")
    finally:
        # After a failure too, for what was written before it stays.
        card = record(place, model, files) if files else None
        if card:
            options.say(f"Model card: {card}")
    return Exported(files, card)


def _find_weights(folder):
    """Returns {preset: its weight file on this machine}."""
    given = {} if folder is None else _given_weights(pathlib.Path(folder))
    found = {
        preset: given.get(preset.published_name) or _kept_weights(preset)
        for preset in PRESETS.values()
    }
    return {preset: weights for preset, weights in found.items() if weights}


def _given_weights(folder):
    """Returns {stem: path} of the weight files in and below a folder."""
    if not folder.is_dir():
        raise InputError(f"`weights_dir` must be a folder. Received: {folder}")
    given = {}
    # The .npz files later, since their values count if there are both.
    for suffix in reversed(WEIGHT_SUFFIXES):
        given |= {path.stem: path for path in sorted(folder.rglob(f"*{suffix}"))}
    if not any(preset.published_name in given for preset in PRESETS.values()):
        raise InputError(
            f"There is no weight file of a preset in {folder}; give a folder that has "
            "one, such as BiT-M-R50x1.npz."
        )
    return given


def _kept_weights(preset):
    """Returns `"published"` if that needs no download, else `None`."""
    if preset.url is None:
        is_here = preset.has_weights
    else:
        is_here = cached_path(preset.url).is_file()
    return "published" if is_here else None


def _list_by_family(presets):
    counts = collections.Counter(map(handle_of, presets))
    return ", ".join(
        handle if count == 1 else f"{count} of {handle}"
        for handle, count in counts.items()
    )
