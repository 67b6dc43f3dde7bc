"""Few-shot evaluation: models, sets, examples per class and seeds, in one report."""

import functools
import time

from bit_keras.data.sources import open_source
from bit_keras.errors import InputError
from bit_keras.evaluation.fewshot_report import summarize, write_fewshot_report
from bit_keras.workflows.fewshot_methods import FewShotSet, FineTuning, Probe
from bit_keras.workflows.fewshot_options import FewShotOptions
from bit_keras.workflows.fine_tuner import check_models
from bit_keras.workflows.kept_runs import (
    KeptRuns,
    announce,
    claim_folder,
    digest,
    file_name,
)
from bit_keras.workflows.shared_networks import SharedNetworks
from bit_keras.workflows.summaries import describe_model, describe_source

FEATURES_FOLDER = "features"


def fewshot(models, datasets, out_dir, **options):
    """Measures how well models learn from a few examples of each class.

    Each number of examples is drawn several times. The median, the least and the most
    of the test accuracies are reported, as in the paper's figures. A job that was
    stopped goes on with the first run that is not finished when it is started again in
    the same folder; runs of other settings are kept beside each other.

    Args:
        models: What each model is called, and the model: a `BiTClassifier`, or a preset
            or path as in `open_model`. Those are opened one after another; those of one
            architecture that follow each other are compiled once.
        datasets: A list of sets as in `open_source`: names of TFDS sets, folders of
            classes, or `Source`s.
        out_dir: Folder for `report.html`, the same as `report.json` and `report.md`,
            `fewshot.png`, the finished runs in `runs/`, and the features in
            `features/`.
        **options: Of `FewShotOptions`, such as `shots`, `seeds` and `method`.

    Returns:
        The contents of `report.json`.

    Raises:
        InputError: If a model, a set or an option cannot be used.
        RunError: If the loss stops being a number, or a file cannot be written.
        Interrupted: After SIGINT.

    Example:

    >>> report = fewshot(
    ...     {"R50x1": "bit_m_r50x1"}, ["cifar10", "mnist"], "fewshot", method="probe"
    ... )
    >>> [row["median"] for row in report["results"]]

    Source: Kolesnikov et al., "Big Transfer", arXiv 1912.11370, section 4.2 (subsets);
    big_vision's `evaluators/fewshot_lsr.py` (probe). There, images of the probe are
    cropped centrally; here, they are resized to a square, as BiT does in all transfer.
    """
    options = FewShotOptions.of(options)
    claim_folder(out_dir, options.overwrite)
    check_models(models)
    sets = _open_sets(datasets, options)
    job = _Job(out_dir, sets, options, count=len(models))
    start = time.perf_counter()
    with job.runs.worded():
        for name, model in models.items():
            job.run_model(name, model)
    return job.report(time.perf_counter() - start)


def _open_sets(datasets, options):
    """Opens all sets, with the numbers of examples that each has enough images for."""
    sets = {}
    for dataset in datasets:
        data = FewShotSet(open_source(dataset, options.data_dir))
        name = data.source.name
        if name in sets:
            raise InputError(f"Each set can be given once. Received: {name} twice")
        shots = _possible_shots(data, options.shots)
        # Of one seed, fewer examples are among more.
        data.draws = tuple((max(shots), seed) for seed in range(options.seeds))
        sets[name] = data, shots
    if not sets:
        raise InputError("There is no set of images; give at least one.")
    return sets


def _possible_shots(data, shots):
    fewest = int(data.class_counts.min())
    possible = tuple(count for count in shots if count <= fewest)
    if not possible:
        label = data.source.class_names[int(data.class_counts.argmin())]
        raise InputError(
            f"Class `{label}` of {data.source.name} has {fewest} training images; give "
            "at most as many examples of each class, or leave the set out. Received: "
            f"{', '.join(map(str, shots))}"
        )
    return possible


class _Job:
    """The runs of all models on all sets, each finished one in a file.

    Args:
        out_dir: The folder.
        sets: (`FewShotSet`, numbers of examples) by name.
        options: `FewShotOptions`.
        count: Number of models.
    """

    def __init__(self, out_dir, sets, options, count):
        self.sets = sets
        self.options = options
        kinds = 2 if options.method == "both" else 1
        subsets = sum(len(shots) for _, shots in sets.values()) * options.seeds
        total = count * kinds * subsets
        self.runs = KeptRuns(out_dir, total, options.overwrite)
        self.networks = SharedNetworks(options, count)
        self.results, self.models, self.notes = [], {}, []

    def run_model(self, name, model):
        """Evaluates one model on all sets."""
        frozen = self.networks.open(name, model)
        if frozen.from_scratch:
            self.notes.append(f"{name} has random weights.")
        self.models[name] = describe_model(frozen.model)
        for data, shots in self.sets.values():
            for method in self._methods(frozen, data, shots):
                for count in shots:
                    self._run_seeds(frozen, data, method, count)

    def _methods(self, frozen, data, shots):
        """Returns the methods that were asked for."""
        options = self.options
        recipe_of = functools.partial(
            options.recipe_of, from_scratch=frozen.from_scratch
        )
        methods = []
        if options.method in ("probe", "both"):
            path_of = functools.partial(self._features_path, frozen, data)
            size = recipe_of(data.source).crop
            methods.append(
                Probe(frozen, data, size, options.l2, path_of, options.progress)
            )
        if options.method in ("finetune", "both"):
            tuner = self.networks.tuner(frozen, data.source.num_classes)
            methods.append(FineTuning(data, recipe_of, tuner))
        return methods

    def _features_path(self, frozen, data, part, key):
        name = file_name(frozen.name, data.source.name, part, digest(key))
        return self.runs.out_dir / FEATURES_FOLDER / f"{name}.npz"

    def _run_seeds(self, frozen, data, method, count):
        """Makes the runs of one number of examples, as far as they are not there."""
        counts = {}
        for seed in range(self.options.seeds):
            for name, right in self._run(frozen, data, method, count, seed).items():
                counts.setdefault(name, []).append(right)
        source = data.source
        for name, right in counts.items():
            row = summarize(
                right,
                source.test.num_examples,
                model=frozen.name,
                dataset=source.name,
                method=name,
                setting=method.describe(count),
                examples_per_class=count,
                chance=1 / source.num_classes,
            )
            self.results.append(row)
            self.options.say(
                f"{source.name}, {frozen.name}, {name}, {count} per class: "
                f"{100 * row['median']:.1f} % ({100 * row['min']:.1f} to "
                f"{100 * row['max']:.1f})"
            )

    def _run(self, frozen, data, method, count, seed):
        """Returns the numbers of right test images of one run, by method."""
        configuration = {
            "model": frozen.identity,
            "data": data.identity,
            "method": method.kind,
            **method.settings(count, seed),
            "examples_per_class": count,
            "seed": seed,
        }

        def make():
            return {
                "num_correct": method.run(count, seed),
                "num_test": data.source.test.num_examples,
            }

        words = (data.source.name, method.kind, f"{count}-shot", f"seed-{seed}")
        return self.runs.get(configuration, make, frozen.name, *words)["num_correct"]

    def report(self, seconds):
        """Writes the report; returns its contents."""
        options = self.options
        paths = write_fewshot_report(
            self.runs.out_dir,
            self.results,
            models=self.models,
            datasets={name: self._describe_set(name) for name in self.sets},
            settings={
                "examples per class": options.shots,
                "seeds": list(range(options.seeds)),
            },
            notes=[*self.notes, *self._left_out()],
            timings={"this call": round(seconds, 1)},
        )
        return announce(paths, options.say)

    def _describe_set(self, name):
        data, _ = self.sets[name]
        described = describe_source(data.source)
        del described["name"]  # It is the heading.
        return described

    def _left_out(self):
        """Yields what a reader should know of the runs that were not made now."""
        for name, (data, shots) in self.sets.items():
            if missing := [c for c in self.options.shots if c not in shots]:
                yield (
                    f"{name} has a class of {data.class_counts.min()} training images, "
                    f"too few for {', '.join(map(str, missing))} per class."
                )
        yield from self.runs.notes()
