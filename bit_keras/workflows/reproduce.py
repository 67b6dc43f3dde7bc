"""The published tables of transfer, filled anew with what weights and data allow."""

import dataclasses
import functools
import pathlib
import statistics
import time
from collections.abc import Callable

import keras

from bit_keras.checkpoints.fetch import cached_path
from bit_keras.data.sources import open_source
from bit_keras.data.tfds import is_prepared
from bit_keras.errors import InputError
from bit_keras.evaluation.paper_tables import (
    MEASURED_IMAGES_PER_SECOND,
    SEEDS,
    TABLES,
    VTAB,
)
from bit_keras.evaluation.reproduction_report import write_reproduction
from bit_keras.evaluation.vtab import TASKS
from bit_keras.evaluation.vtab_data import check_data
from bit_keras.evaluation.vtab_report import ALL
from bit_keras.workflows.fewshot_methods import FewShotSet, FineTuning
from bit_keras.workflows.fine_tuner import (
    FineTuner,
    FrozenModel,
    describe_recipe,
    identify_source,
)
from bit_keras.workflows.finetune import finetune
from bit_keras.workflows.kept_runs import KeptRuns, announce, claim_folder, digest
from bit_keras.workflows.models import open_start_model
from bit_keras.workflows.options import Options, say_nothing
from bit_keras.workflows.runs import fingerprint
from bit_keras.workflows.vtab import vtab

SUFFIXES = (".npz", ".h5")


@dataclasses.dataclass(frozen=True)
class ReproduceOptions(Options):
    """How a table is filled anew.

    Args:
        only: Names of experiments, or beginnings of names, to carry out; by default
            all.
        plan_only: Whether to carry out nothing and only to tell what would be.
        weights_dir: Folder with published weight files, beside those downloaded before.
        download: Whether weights and sets that are not there are downloaded.
        data_dir: Folder where TFDS keeps its sets.
        manual_dir: Folder with what TFDS cannot download by itself.
        images_per_second: Speed of the machine, for the estimate of time, see
            `Experiment.hours`.
        batch_split: As in `RunOptions`.
        remat: As in `RunOptions`.
        overwrite: Whether the folder may hold something else.
        progress: Whether to show progress bars.
        say: Called with a line about each thing that is done.
    """

    only: tuple = ()
    plan_only: bool = False
    weights_dir: str | None = None
    download: bool = False
    data_dir: str | None = None
    manual_dir: str | None = None
    images_per_second: float = MEASURED_IMAGES_PER_SECOND
    batch_split: int = 1
    remat: bool = False
    overwrite: bool = False
    progress: bool = True
    say: Callable[[str], None] = say_nothing

    def __post_init__(self):
        if not self.images_per_second > 0:
            raise InputError(
                "`images_per_second` must be positive. Received: "
                f"{self.images_per_second}"
            )
        if self.weights_dir and not pathlib.Path(self.weights_dir).is_dir():
            raise InputError(
                f"{self.weights_dir} is no folder; give the one that holds weight "
                "files by their published names, such as BiT-M-R50x1.npz."
            )


def reproduce(table, out_dir, **options):
    """Carries out the experiments behind a published table.

    Those whose weights and images are there are run one after another; the others are
    skipped by name. A job that was stopped goes on where it stopped when it is started
    again in the same folder.

    Args:
        table: A key of `TABLES`: `"table1"`, `"table2"`, `"fewshot"` or `"vtab"`.
        out_dir: Folder for `report.html`, the same as `report.json` and `report.md`,
            and a folder for each experiment.
        **options: Of `ReproduceOptions`, such as `weights_dir` and `plan_only`.

    Returns:
        The contents of `report.json`.

    Raises:
        InputError: If there is no such table, experiment or folder.
        RunError: If a download or a run fails.
        Interrupted: After SIGINT.

    Example:

    >>> report = reproduce("fewshot", "runs/fewshot", only=["m-r50x1-cifar10"])
    >>> [(row["published"], row["reproduced"]) for row in report["figures"]]
    """
    options = ReproduceOptions.of(options)
    experiments = _choose(table, options.only)
    claim_folder(out_dir, options.overwrite)
    plan = {}
    for experiment in experiments:
        missing = _missing(experiment, options)
        plan[experiment.name] = missing
        hours = experiment.hours(options.images_per_second)
        state = f"skipped: {missing}" if missing else "ready"
        options.say(f"{experiment.name}: {hours:.2f} h, {state}")
    job = _Job(out_dir, options, total=_count_runs(experiments, plan))
    start = time.perf_counter()
    if not options.plan_only:
        with job.runs.worded():
            for experiment in experiments:
                if not plan[experiment.name]:
                    job.run(experiment)
    paths = write_reproduction(
        job.runs.out_dir,
        table,
        [
            {
                "experiment": experiment,
                "missing": plan[experiment.name],
                "hours": experiment.hours(options.images_per_second),
                "accuracies": job.accuracies.get(experiment.name),
            }
            for experiment in experiments
        ],
        images_per_second=options.images_per_second,
        notes=job.runs.notes(),
        timings={"this call": round(time.perf_counter() - start, 1)},
    )
    return announce(paths, options.say)


def _choose(table, only):
    """Returns the experiments of a table whose names begin as was asked for."""
    if table not in TABLES:
        raise InputError(
            f"`table` must be one of {', '.join(TABLES)}. Received: {table!r}"
        )
    chosen = [
        experiment
        for experiment in TABLES[table]
        if not only or experiment.name.startswith(tuple(only))
    ]
    if not chosen:
        names = ", ".join(experiment.name for experiment in TABLES[table])
        raise InputError(
            f"No experiment of {table} begins with {' or '.join(only)}; there are "
            f"{names}."
        )
    return chosen


def _count_runs(experiments, plan):
    there = [experiment for experiment in experiments if not plan[experiment.name]]
    return sum(
        SEEDS if experiment.kind == "fewshot" else 1
        for experiment in there
        if experiment.kind != VTAB
    )


def _missing(experiment, options):
    """Returns what keeps an experiment from being run, in a few words, or `None`."""
    preset = experiment.preset
    if _find_weights(preset, options) is None:
        if not preset.has_weights:
            return f"{preset.published_name} was never published"
        return f"{preset.published_name}.npz is not there; give weights_dir or download"
    if options.download:
        return None
    if experiment.dataset == VTAB:
        rows = check_data(tuple(TASKS.values()), options.data_dir)
        absent = [row["dataset"] for row in rows if row["state"] != "ready"]
        return (
            f"{len(absent)} sets are not there, first {absent[0]}" if absent else None
        )
    if not is_prepared(experiment.dataset, options.data_dir):
        return f"the TFDS set {experiment.dataset} is not there"
    return None


def _find_weights(preset, options):
    """Returns the path of a weight file, `"published"` to fetch it, or `None`."""
    if options.weights_dir:
        for suffix in SUFFIXES:
            path = pathlib.Path(options.weights_dir, preset.published_name + suffix)
            if path.is_file():
                return str(path)
    if preset.url is None:
        return "published" if preset.has_weights else None
    there = cached_path(preset.url).is_file()
    return "published" if there or options.download else None


class _Job:
    """Experiments, and the accuracies that came of them.

    Args:
        out_dir: The folder.
        options: `ReproduceOptions`.
        total: Number of runs.
    """

    def __init__(self, out_dir, options, total):
        self.options = options
        self.runs = KeptRuns(out_dir, total, options.overwrite)
        self.accuracies = {}

    def run(self, experiment):
        """Carries out one experiment."""
        weights = _find_weights(experiment.preset, self.options)
        # What `open_start_model` takes for the published weights.
        weights = None if weights == "published" else weights
        methods = {"vtab": self._vtab, "fewshot": self._few_shots}
        method = methods.get(experiment.kind, self._fine_tune)
        accuracies = self.accuracies[experiment.name] = method(experiment, weights)
        for figure in experiment.figures:
            ours = 100 * accuracies[figure.task, figure.metric]
            self.options.say(
                f"{experiment.name}, {figure.metric}: {ours:.2f} %, published "
                f"{figure.value} %"
            )

    def _open(self, experiment):
        options = self.options
        source = open_source(
            experiment.dataset, options.data_dir, manual_dir=options.manual_dir
        )
        recipe_of = functools.partial(_recipe_of, experiment)
        return source, recipe_of

    def _fine_tune(self, experiment, weights):
        source, recipe_of = self._open(experiment)
        keras.utils.set_random_seed(0)
        model, _ = open_start_model(experiment.preset.name, source.num_classes, weights)
        recipe = recipe_of(source)
        configuration = {
            "weights": fingerprint(model),
            "policy": model.backbone.dtype_policy.name,
            "data": identify_source(source),
            "recipe": describe_recipe(recipe),
        }

        def make():
            folder = f"{experiment.name}-{digest(configuration)}"
            result = finetune(
                model,
                source,
                recipe,
                self.runs.out_dir / folder,
                overwrite=True,  # A run of this very configuration goes on.
                batch_split=self.options.batch_split,
                remat=self.options.remat,
                progress=self.options.progress,
                say=self.options.say,
            )
            evaluation = result.evaluation
            return {"top-1": evaluation.top1, "top-5": evaluation.top5}

        result = self.runs.get(configuration, make, experiment.name)
        task = experiment.dataset
        return {(task, metric): result[metric] for metric in ("top-1", "top-5")}

    def _few_shots(self, experiment, weights):
        source, recipe_of = self._open(experiment)
        frozen = FrozenModel.open(experiment.name, experiment.preset.name, weights)
        tuner = FineTuner.of(frozen, source.num_classes, self.options)
        data = FewShotSet(source)
        method = FineTuning(data, recipe_of, tuner)
        shots = experiment.examples_per_class
        accuracies = []
        for seed in range(SEEDS):
            configuration = {
                "model": frozen.identity,
                "data": data.identity,
                "recipe": method.settings(shots, seed),
                "examples_per_class": shots,
                "seed": seed,
            }
            make = functools.partial(method.run, shots, seed)
            [right] = self._kept(configuration, make, experiment.name, f"seed-{seed}")
            accuracies.append(right / source.test.num_examples)
        return {(experiment.dataset, "top-1"): statistics.median(accuracies)}

    def _kept(self, configuration, make, *name):
        """Returns the numbers of right images that a few-shot method counts."""
        result = self.runs.get(configuration, lambda: {"num_correct": make()}, *name)
        return result["num_correct"].values()

    def _vtab(self, experiment, weights):
        options = self.options
        report = vtab(
            {experiment.start: experiment.preset.name},
            ["all"],
            self.runs.out_dir / experiment.name,
            weights=weights,
            data_dir=options.data_dir,
            manual_dir=options.manual_dir,
            batch_split=options.batch_split,
            remat=options.remat,
            progress=options.progress,
            say=options.say,
        )
        means = report["means"][experiment.start]
        return {
            (VTAB if group == ALL else f"{VTAB}/{group}", "top-1"): mean
            for group, mean in means.items()
        }


def _recipe_of(experiment, source):
    return experiment.recipe(*source.image_size, source.train.num_examples)
