"""What fine-tuning and pre-training have in common: a run, and what it leaves."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable

from bit_keras.data.check import check_images
from bit_keras.data.load import eval_batches
from bit_keras.data.sources import naming_unreadable
from bit_keras.errors import InputError
from bit_keras.evaluation import (
    Evaluation,
    evaluate_model,
    write_pictures,
    write_report,
)
from bit_keras.evaluation.thumbnails import EXAMPLES_FOLDER
from bit_keras.files import replaced
from bit_keras.models.classifier import BiTClassifier
from bit_keras.recipes.recipe import Recipe
from bit_keras.training.distill import Distiller
from bit_keras.training.fit import columns, count_epochs, train
from bit_keras.training.resume import Checkpoints
from bit_keras.training.strategies import check_batch_size, is_chief
from bit_keras.workflows.folders import (
    CHECKPOINT_FOLDER,
    HISTORY_FILE,
    MODEL_FILE,
    TENSORBOARD_FOLDER,
    free_folder,
    prepare_folder,
    write_json,
)
from bit_keras.workflows.models import check_fit
from bit_keras.workflows.options import Options, say_nothing
from bit_keras.workflows.runs import describe_run, without_strategy
from bit_keras.workflows.summaries import describe_model, describe_source

# From this share of the time on, the input decides how long a run takes.
LONG_WAIT = 0.5


@dataclasses.dataclass(frozen=True)
class RunOptions(Options):
    """How a run is carried out; none of it changes what is computed.

    Args:
        batch_split: Number of equal parts that each replica computes its share of a
            batch in, one after another, to save memory.
        remat: Whether gradients compute the inside of each residual unit anew, to save
            memory.
        steps_per_execution: Number of steps between two looks at the run.
        checkpoint_steps: Number of steps between checkpoints, beside that after each
            epoch; by default there is one whenever ten minutes have passed.
        keep_checkpoints: Number of the latest checkpoints that are kept.
        tensorboard: Whether to write scalars and augmented images for TensorBoard.
        max_bad_images: Number of images that may be left out because they cannot be
            read; the run does not start if there are more.
        progress: Whether to show progress bars.
        say: Called with a line about each thing that is written.
    """

    nouns = "A run has no option"

    batch_split: int = 1
    remat: bool = False
    steps_per_execution: int = 1
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 2
    tensorboard: bool = False
    max_bad_images: int = 0
    progress: bool = True
    say: Callable[[str], None] = say_nothing


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a run has left.

    Args:
        out_dir: Folder with the model, the report and its pictures, and more.
        model: The trained `BiTClassifier`, of one device.
        evaluation: `Evaluation` of all test images by the final model.
        history: Loss, accuracy and learning rate in the course of training.
        timings: Seconds of each part.
        input_wait: Share of the time for which training waited for its images, in
            [0, 1]; `None` where that is not measured.
    """

    out_dir: pathlib.Path
    model: BiTClassifier
    evaluation: Evaluation
    history: dict
    timings: dict
    input_wait: float | None


def run_training(
    model,
    source,
    recipe,
    out_dir,
    write_more,
    *,
    what,
    name,
    seed,
    overwrite,
    notes,
    teacher,
    options,
):
    """Trains a model from where an earlier run stopped, evaluates, saves and reports.

    Args:
        model: A `BiTClassifier` as the run starts from it.
        source: A `Source`.
        recipe: A recipe.
        out_dir: The folder; it must be empty, not there yet, or hold the unfinished run
            of the same configuration. `None` for the first such one of `runs/NAME`,
            `runs/NAME-2`, ...
        write_more: Called with the trained model and the folder.
        what: What is done, such as `"fine-tuned"`.
        name: The name in `runs/NAME`; `None` for that of model and set.
        seed: Seed of order, crops, flips and MixUp.
        overwrite: Whether what is in the folder may be replaced.
        notes: Sentences for the report.
        teacher: Keras model to distil, or `None`.
        options: `RunOptions`.

    Returns:
        A `TrainingResult`, or `None` on a worker that is not the chief.
    """
    if not isinstance(recipe, Recipe):
        raise InputError(f"`recipe` must be a recipe. Received: {recipe!r}")
    check_fit(model, source, f"call model.reset_head({source.num_classes}) first")
    strategy = model.distribute_strategy
    # Before there is anything to wait for, and before a folder is made.
    count_epochs(recipe, options.steps_per_execution)
    check_batch_size(strategy, recipe.batch_size, options.batch_split)
    chief = is_chief(strategy)
    source = check_images(source, options.max_bad_images, options.progress and chief)
    configuration = describe_run(model, source, recipe, seed)
    architecture = model.backbone.architecture.name
    if out_dir is None:
        path = pathlib.Path("runs", name or f"{architecture}-{source.name}")
        out_dir = free_folder(path, configuration)
    out_dir = prepare_folder(out_dir, overwrite, configuration, makes=chief)
    checkpoints = Checkpoints(
        out_dir / CHECKPOINT_FOLDER, options.keep_checkpoints, writes=chief
    )
    checkpoints.claim(configuration)
    model.class_names = list(source.class_names)
    model.image_size = recipe.crop
    with naming_unreadable(source.train, source.test):
        state = _train(
            model, source, recipe, seed, teacher, out_dir, checkpoints, options
        )
    if not chief:
        return None

    history, timings = columns(state.rows), {"training": round(state.seconds, 1)}
    model = without_strategy(model)
    write_json(out_dir / HISTORY_FILE, history)
    with replaced(out_dir / MODEL_FILE) as temporary:
        model.save(temporary)
    options.say(f"Model: {out_dir / MODEL_FILE}")
    test = eval_batches(source, source.test, recipe.crop, recipe.eval_resize)
    with _timed(timings, "evaluation"):
        evaluation = evaluate_model(model, test, source.class_names, options.progress)
    with _timed(timings, "other results"):
        write_more(model, out_dir)
    with _timed(timings, "pictures"):
        pictures, examples = write_pictures(
            out_dir, evaluation, test, history=history, seed=seed
        )
    for caption, path in pictures.items():
        options.say(f"{caption.split(':')[0]}: {path}")
    if examples:
        options.say(f"Images of frequent confusions: {out_dir / EXAMPLES_FOLDER}")
    _, as_markdown, report = write_report(
        out_dir,
        title=f"{architecture} {what} on {source.name}",
        model_summary=describe_model(model),
        data=describe_source(source),
        recipe={"setting": recipe.describe(), **recipe.to_dict()},
        evaluation=evaluation,
        history=history,
        timings=timings,
        input_wait=state.input_wait,
        pictures=pictures,
        examples=examples,
        seed=seed,
        notes=notes,
    )
    options.say(f"Report as Markdown: {as_markdown}")
    options.say(f"Report: {report}")
    _advise(state.input_wait, options.say)
    checkpoints.remove()
    return TrainingResult(
        out_dir, model, evaluation, history, timings, state.input_wait
    )


def _train(model, source, recipe, seed, teacher, out_dir, checkpoints, options):
    """Returns the `Progress` of a run whose training is over."""
    model.backbone.remat = options.remat
    strategy = model.distribute_strategy
    if teacher is not None:
        with strategy.scope():
            model = Distiller(model, teacher)
    return train(
        model,
        source,
        recipe,
        seed=seed,
        batch_split=options.batch_split,
        steps_per_execution=options.steps_per_execution,
        checkpoints=checkpoints,
        checkpoint_steps=options.checkpoint_steps,
        tensorboard=options.tensorboard and out_dir / TENSORBOARD_FOLDER,
        progress=options.progress,
    )


def _advise(input_wait, say):
    """Says what would make a run faster whose input decides how long it takes."""
    if input_wait is not None and input_wait > LONG_WAIT:
        say(
            f"Training waited for its images {100 * input_wait:.0f} % of the time: "
            "more processor cores, a faster disk or smaller files would speed it up."
        )


@contextlib.contextmanager
def _timed(timings, part):
    """Notes in `timings` how many seconds its body takes."""
    start = time.perf_counter()
    yield
    timings[part] = round(time.perf_counter() - start, 1)
