"""The exact accuracy of a model on a set of images."""

import time

from bit_keras.data.sources import naming_unreadable
from bit_keras.errors import InputError
from bit_keras.evaluation import write_pictures, write_report
from bit_keras.workflows.evaluation_sets import describe_counting, open_evaluation_set
from bit_keras.workflows.folders import prepare_folder
from bit_keras.workflows.summaries import describe_model, describe_source

SPLITS = ("test", "train")


def evaluate(
    model,
    dataset,
    split="test",
    *,
    data_dir=None,
    manual_dir=None,
    image_size=None,
    out_dir=None,
    overwrite=False,
    progress=True,
):
    """Counts every image of a split once.

    Args:
        model: A `BiTClassifier`.
        dataset: As in `load_dataset`: the name of a TFDS set, a folder of classes,
            arrays, `"doodles"`, or a `Source`; or one of the `VARIANTS` of ILSVRC-2012,
            such as `"imagenet_a"` or `"objectnet"`; or, for a model of ImageNet's
            classes, a folder of some of them, by their names or WordNet ids.
        split: `"test"` or `"train"`.
        data_dir: Folder where TFDS keeps its sets; for ObjectNet that of its download.
        manual_dir: Folder with what TFDS cannot download by itself; by default
            `downloads/manual` in `data_dir`.
        image_size: Pixels that images are resized to; by default the model's.
        out_dir: If given, the empty folder that the report and its pictures go to.
        overwrite: Whether a folder that is not empty is used all the same.
        progress: Whether to show a progress bar.

    Returns:
        An `Evaluation`; a `MappedEvaluation` where classes are not those of the model.

    Raises:
        InputError: If the set, the model and the folder do not fit.
    """
    if split not in SPLITS:
        raise InputError(f"`split` must be one of {SPLITS}. Received: {split!r}")
    chosen = open_evaluation_set(model, dataset, data_dir, manual_dir)
    source, part = chosen.source, getattr(chosen.source, split)
    if part is None:
        raise InputError(
            f"{source.name} has images to test on alone. Received: split {split!r}"
        )
    size = choose_image_size(model, image_size)
    if out_dir:
        out_dir = prepare_folder(out_dir, overwrite)
    batches = chosen.batches(part, size)
    start = time.perf_counter()
    with naming_unreadable(part):
        evaluation = chosen.evaluate(model, batches, part, progress)
    seconds = time.perf_counter() - start
    if out_dir:
        pictures, examples = write_pictures(out_dir, evaluation, batches)
        write_report(
            out_dir,
            title=f"{model.backbone.architecture.name} on {source.name}",
            model_summary=describe_model(model),
            data={**describe_source(source), "evaluated height and width": size},
            recipe={},
            evaluation=evaluation,
            split=split,
            timings={"evaluation": round(seconds, 1)},
            pictures=pictures,
            examples=examples,
            notes=describe_counting(evaluation),
        )
    return evaluation


def choose_image_size(model, image_size):
    """Returns the size that was asked for, or else the model's own."""
    size = image_size or model.image_size
    if size is None:
        raise InputError(
            "The model does not say what size of images it takes; give `image_size` in "
            "pixels."
        )
    return size
