"""VTAB-1k: models fine-tuned on a thousand examples of each of 19 tasks."""

import time

from bit_keras.errors import InputError
from bit_keras.evaluation.vtab import TASKS, choose_tasks
from bit_keras.evaluation.vtab_data import check_data, open_task
from bit_keras.evaluation.vtab_report import summarize_task, write_vtab_report
from bit_keras.workflows.fine_tuner import (
    check_models,
    describe_recipe,
    identify_source,
)
from bit_keras.workflows.kept_runs import KeptRuns, announce, claim_folder
from bit_keras.workflows.shared_networks import SharedNetworks
from bit_keras.workflows.summaries import describe_model
from bit_keras.workflows.vtab_options import VtabOptions


def vtab(models, tasks=("all",), out_dir="runs/vtab", **options):
    """Measures how well models transfer to the tasks of VTAB-1k.

    Each model is fine-tuned on the 1000 examples of each task by the HyperRule, or by
    what a search on 800 and 200 of them has found, and tested on all test images. A job
    that was stopped goes on with the first run that is not finished when it is started
    again in the same folder.

    Args:
        models: What each model is called, and the model: a `BiTClassifier`, or a preset
            or path as in `open_model`.
        tasks: Names of tasks or groups, or `"all"`.
        out_dir: Folder for `report.html`, the same as `report.json` and `report.md`,
            `vtab.png`, and the finished runs in `runs/`.
        **options: Of `VtabOptions`, such as `seeds` and `search`.

    Returns:
        The contents of `report.json`.

    Raises:
        InputError: If a model, a task, a set or an option cannot be used; before any
            training.
        RunError: If a set cannot be downloaded, or the loss stops being a number.
        Interrupted: After SIGINT.

    Example:

    >>> report = vtab({"R50x1": "bit_m_r50x1"}, ["natural"], "runs/vtab")
    >>> report["means"]["R50x1"]["natural"]

    Source: Zhai et al., "A Large-scale Study of Representation Learning with the Visual
    Task Adaptation Benchmark", arXiv 1910.04867; Kolesnikov et al., "Big Transfer",
    arXiv 1912.11370, section 4.2 and appendix F. The values of the search are this
    package's own.
    """
    options = VtabOptions.of(options)
    claim_folder(out_dir, options.overwrite)
    check_models(models)
    chosen = choose_tasks(tasks)
    missing = _missing_tasks(chosen, options)
    there = [task for task in chosen if task.name not in missing]
    if not there:
        raise InputError(
            "None of the sets is there; `bit-keras vtab --check_data` tells what each "
            f"one needs. Received: data_dir={options.data_dir}"
        )
    # Before any training: a set may have to be downloaded.
    sources = {task.name: _open(task, options) for task in there}
    job = _Job(out_dir, sources, missing, options, count=len(models))
    start = time.perf_counter()
    with job.runs.worded():
        for name, model in models.items():
            job.run_model(name, model)
    return job.report(time.perf_counter() - start)


def _missing_tasks(tasks, options):
    """Returns why tasks are left out, by name; raises if they must not be."""
    missing = {}
    for row in check_data(tasks, options.data_dir):
        state = row["state"]
        # What can be downloaded is, and so is what somebody has put into a folder.
        fetched = state == "download" or (state == "by hand" and options.manual_dir)
        if state == "ready" or (fetched and not options.skip_missing):
            continue
        if not options.skip_missing:
            raise InputError(
                f"The set {row['dataset']} is not ready: {row['advice']}; or leave out "
                "what is missing with `skip_missing`."
            )
        missing |= dict.fromkeys(row["tasks"], f"{row['dataset']}: {row['advice']}")
    return missing


def _open(task, options, **parts):
    return open_task(task, options.data_dir, options.manual_dir, **parts)


class _Job:
    """The runs of all models on all tasks.

    Args:
        out_dir: The folder.
        sources: `Source`s by name of the task.
        missing: Why other tasks are left out, by name.
        options: `VtabOptions`.
        count: Number of models.
    """

    def __init__(self, out_dir, sources, missing, options, count):
        # Those that share a network follow each other.
        self.sources = dict(
            sorted(sources.items(), key=lambda item: item[1].num_classes)
        )
        self.missing, self.options = missing, options
        tried = len(options.rates) * len(options.search_steps) if options.search else 0
        total = count * len(sources) * (options.seeds + tried)
        self.runs = KeptRuns(out_dir, total, options.overwrite)
        self.networks = SharedNetworks(options, count)
        self.results, self.models, self.notes = [], {}, []

    def run_model(self, name, model):
        """Evaluates one model on all tasks."""
        frozen = self.networks.open(name, model)
        if frozen.from_scratch:
            self.notes.append(f"{name} has random weights.")
        self.models[name] = describe_model(frozen.model)
        for task_name, source in self.sources.items():
            task = TASKS[task_name]
            tuner = self.networks.tuner(frozen, source.num_classes)
            recipe, tried = self._choose(tuner, task)
            seeds = range(self.options.seeds)
            results = [self._run(tuner, task, source, recipe, seed) for seed in seeds]
            row = summarize_task(
                task,
                [result["num_correct"] for result in results],
                source.test.num_examples,
                model=name,
                setting=recipe.describe(),
                search=tried,
                seconds=sum(result["seconds"] for result in results),
            )
            self.results.append(row)
            self.options.say(f"{task.name}, {name}: {100 * row['mean']:.1f} %")

    def _choose(self, tuner, task):
        """Returns the recipe for a task, and what was tried to find it."""
        candidates = self.options.candidates(task.name)
        if not self.options.search:
            return candidates[0], []
        source = _open(task, self.options, train="train800", test="val200")
        counts = [
            self._run(tuner, task, source, recipe, seed=0)["num_correct"]
            for recipe in candidates
        ]
        tried = [
            {
                "steps": recipe.steps,
                "learning rate": recipe.base_learning_rate,
                "accuracy": count / source.test.num_examples,
            }
            for recipe, count in zip(candidates, counts, strict=True)
        ]
        # The first of equal ones, which is the shortest.
        return candidates[counts.index(max(counts))], tried

    def _run(self, tuner, task, source, recipe, seed):
        configuration = {
            "model": tuner.frozen.identity,
            "data": identify_source(source),
            "recipe": describe_recipe(recipe),
            "seed": seed,
        }

        def make():
            return {
                "num_correct": tuner.run(source, recipe, seed),
                "num_test": source.test.num_examples,
            }

        words = (tuner.frozen.name, task.name, f"seed-{seed}")
        return self.runs.get(configuration, make, *words)

    def report(self, seconds):
        """Writes the report; returns its contents."""
        options = self.options
        left_out = [f"{name} is left out: {why}." for name, why in self.missing.items()]
        paths = write_vtab_report(
            self.runs.out_dir,
            self.results,
            models=self.models,
            settings={
                "seeds": list(range(options.seeds)),
                "search": options.search,
            },
            notes=[*self.notes, *left_out, *self.runs.notes()],
            timings={"this call": round(seconds, 1)},
        )
        return announce(paths, options.say)
