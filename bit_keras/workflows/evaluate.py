"""The exact accuracy of a model on a set of images."""

import time
import warnings

from bit_keras.assets.label_maps import are_same_classes
from bit_keras.data.load import eval_batches
from bit_keras.data.sources import naming_unreadable, open_source
from bit_keras.errors import InputError
from bit_keras.evaluation import evaluate_model, write_pictures, write_report
from bit_keras.workflows.folders import prepare_folder
from bit_keras.workflows.models import check_fit
from bit_keras.workflows.summaries import describe_model, describe_source

SPLITS = ("test", "train")


def evaluate(
    model,
    dataset,
    split="test",
    *,
    data_dir=None,
    image_size=None,
    out_dir=None,
    overwrite=False,
    progress=True,
):
    """Counts every image of a split once.

    Args:
        model: A `BiTClassifier`.
        dataset: As in `load_dataset`: the name of a TFDS set, a folder of classes,
            arrays, `"doodles"`, or a `Source`.
        split: `"test"` or `"train"`.
        data_dir: Folder where TFDS keeps its sets.
        image_size: Pixels that images are resized to; by default the model's.
        out_dir: If given, the empty folder that the report and its pictures go to.
        overwrite: Whether a folder that is not empty is used all the same.
        progress: Whether to show a progress bar.

    Returns:
        An `Evaluation`.

    Raises:
        InputError: If the set, the model and the folder do not fit.
    """
    if split not in SPLITS:
        raise InputError(f"`split` must be one of {SPLITS}. Received: {split!r}")
    source = open_source(dataset, data_dir)
    check_fit(model, source, "evaluate it on the set that it was fine-tuned on")
    _compare_names(model, source)
    size = choose_image_size(model, image_size)
    if out_dir:
        out_dir = prepare_folder(out_dir, overwrite)
    part = getattr(source, split)
    batches = eval_batches(source, part, size)
    start = time.perf_counter()
    with naming_unreadable(part):
        evaluation = evaluate_model(model, batches, source.class_names, progress)
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


def _compare_names(model, source):
    """Warns where the classes of the same number have different names."""
    if model.class_names and not are_same_classes(
        model.class_names, source.class_names
    ):
        pairs = zip(model.class_names, source.class_names, strict=True)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        warnings.warn(
            f"The class names of the model and of {source.name} differ, first "
            f"`{ours}` and `{theirs}`; they are compared by their place.",
            stacklevel=3,
        )
