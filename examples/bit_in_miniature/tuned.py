"""The HyperRule against a tuned recipe: what does the one rule for all tasks give away?

    python examples/bit_in_miniature/tuned.py --data_dir DATA --out_dir OUT/tuned

On each target, every pair of `--rates` and `--steps` is fine-tuned on a few draws of
`--shots` examples per class, and validated on training images that the draw has left,
never on test images. The best pair and the rule are then fine-tuned on all draws and
tested. `OUT/tuned/tuned.json` has a row for each target, with all candidates. Each
finished run is a file in `OUT/tuned/runs/`, which no later call makes again.

The search is favoured: it has seen the labels of the images that it validates on, up to
`--validation` more of each class, of which the rule knows nothing.
"""

import dataclasses
import functools
import itertools
import pathlib

import keras
import numpy as np
import recipes
import sets
from absl import app, flags
from transfer import get_run, merge_rows

import bit_keras
from bit_keras.evaluation.fewshot_report import summarize
from bit_keras.evaluation.report import describe_environment
from bit_keras.workflows.fewshot_methods import FewShotSet, FineTuning
from bit_keras.workflows.fewshot_options import FewShotOptions
from bit_keras.workflows.fine_tuner import describe_recipe, identify_source
from bit_keras.workflows.kept_runs import KeptRuns
from bit_keras.workflows.shared_networks import SharedNetworks

RESULTS_FILE = "tuned.json"
# What a row is of.
SUBJECT = ("model", "target", "shots")
RULE_RATE = recipes.TransferRule.base_learning_rate


def define_flags(values=flags.FLAGS):
    for name, default, text in (
        ("targets", ["quickdraw45", "fashion_mnist"], "Sets to learn."),
        ("rates", ["0.001", "0.003", "0.01", "0.03", "0.1"], "Rates to try."),
        ("steps", ["200", "500", "1500"], "Numbers of steps to try."),
    ):
        flags.DEFINE_list(name, default, text, flag_values=values)
    flags.DEFINE_string(
        "weights",
        "bit_t_r26x05",
        "A preset, or a file of upstream.py.",
        flag_values=values,
    )
    flags.DEFINE_string("out_dir", "tuned", "For results.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Of TFDS.", flag_values=values)
    flags.DEFINE_bool("bfloat16", False, "Compute in bfloat16.", flag_values=values)
    flags.DEFINE_bool("progress", False, "Show progress bars.", flag_values=values)
    for name, default, text in (
        ("shots", 25, "Examples of each class."),
        ("seeds", 5, "Draws to test on."),
        ("search_draws", 2, "Draws to search on, the first ones."),
        ("validation", 40, "Images of each class to validate on, at most."),
        ("batch_size", 512, "Images in a step."),
        ("rule_steps", None, "For rehearsals; by default the HyperRule's."),
    ):
        flags.DEFINE_integer(name, default, text, flag_values=values)


def main(values):
    if values.bfloat16:
        keras.config.set_dtype_policy("mixed_bfloat16")
    networks = SharedNetworks(FewShotOptions(progress=values.progress), count=1)
    frozen = networks.open(values.weights, values.weights)
    runs = KeptRuns(values.out_dir, total=0)
    for name in values.targets:
        source = sets.target(name, values.data_dir)
        # Compiled once: rates and steps are no part of what is compiled.
        tuner = networks.tuner(frozen, source.num_classes)
        row = Comparison(values, tuner, runs, source).row()
        merge_rows(pathlib.Path(values.out_dir, RESULTS_FILE), [row], SUBJECT)
        print(_as_line(row), flush=True)


class ValidationSet(FewShotSet):
    """A set whose subsets are tested on training images that are not in them.

    Args:
        source: The `Source`.
        per_class: Number of those images of each class.
    """

    def __init__(self, source, per_class):
        super().__init__(source)
        self.per_class = per_class
        # The same images again are found in batches already.
        self._held_back = functools.cache(self._hold_back)

    @functools.cached_property
    def identity(self):
        """What tells the set from another one, a dict of JSON's types."""
        whole = identify_source(self.source)
        return {**whole, "validation images per class": self.per_class}

    def subset(self, examples_per_class, seed):
        """Returns the `Source` with a subset, and with others in place of tests."""
        source = super().subset(examples_per_class, seed)
        return dataclasses.replace(
            source, test=self._held_back(examples_per_class, seed)
        )

    def _hold_back(self, examples_per_class, seed):
        # Fewer examples of the same seed are among more.
        more = self.draw(examples_per_class + self.per_class, seed)
        numbers = np.setdiff1d(more, self.draw(examples_per_class, seed))
        return self.source.train.subset(numbers)


class Comparison:
    """The rule and a search on one target, each finished run in a file.

    Args:
        values: The flags.
        tuner: The `FineTuner` of the model to start from.
        runs: The `KeptRuns`.
        source: The `Source` of the target.

    Raises:
        InputError: If no images are left to validate on.
    """

    def __init__(self, values, tuner, runs, source):
        self.values = values
        self.tuner = tuner
        self.runs = runs
        self.tests = FewShotSet(source)
        self.validation = ValidationSet(source, self._validation_images())

    def _validation_images(self):
        shots, count = self.values.shots, int(self.tests.class_counts.min())
        if count <= shots:
            raise bit_keras.InputError(
                f"{self.tests.source.name} has {count} training images of a class; "
                f"`--shots` must leave some to validate on. Received: {shots}"
            )
        return min(self.values.validation, count - shots)

    def row(self):
        """Returns the row of the target, a dict of JSON's types."""
        values, source = self.values, self.tests.source
        searched = self._search()
        candidates = [self._candidate(*each) for each in searched]
        winner = best(candidates)
        rule = self._test(RULE_RATE, values.rule_steps)
        tuned = self._test(winner["rate"], winner["steps"])
        return {
            "target": source.name,
            "model": self.tuner.frozen.name,
            "shots": values.shots,
            "chance": 1 / source.num_classes,
            "identity": self.tuner.frozen.identity,
            "rule": self._contender(*rule),
            "winner": self._contender(*tuned),
            "candidates": candidates,
            "search": {
                "draws": values.search_draws,
                "validation_images_per_class": self.validation.per_class,
                "runs": sum(len(runs) for _, runs in searched),
                "seconds": round(sum(each["seconds"] for each in candidates), 2),
            },
            "environments": _environments([*searched, rule, tuned]),
        }

    def _search(self):
        """Returns (rule, its runs) of each candidate."""
        values = self.values
        grid = [
            self._rule(float(rate), int(steps))
            for rate, steps in itertools.product(values.rates, values.steps)
        ]
        # One draw after another: its validation images are put into batches once.
        draws = [
            [self._run("validation", self.validation, rule, seed) for rule in grid]
            for seed in range(values.search_draws)
        ]
        return list(zip(grid, zip(*draws, strict=True), strict=True))

    def _test(self, rate, steps):
        """Returns (rule, its runs on all draws)."""
        rule = self._rule(rate, steps)
        seeds = range(self.values.seeds)
        return rule, [self._run("finetune", self.tests, rule, seed) for seed in seeds]

    def _rule(self, rate, steps):
        return recipes.TransferRule(self.values.batch_size, rate, steps)

    def _run(self, kind, data, rule, seed):
        shots = self.values.shots
        method = FineTuning(data, rule.recipe, self.tuner)

        def make():
            return {
                **_count_right(method, shots, seed),
                # Those of a row may have been made on several machines.
                "environment": describe_environment(),
            }

        settings = method.settings(shots, seed)
        words = (kind, shots, seed)
        return get_run(self.runs, self.tuner.frozen, data, words, settings, make)

    def _candidate(self, rule, runs):
        classes = self.validation.source.num_classes
        subject = {"rate": rule.base_learning_rate, "steps": rule.steps}
        row = _summarize(runs, classes * self.validation.per_class, **subject)
        # What it was tested on are no test images.
        row["num_validation"] = row.pop("num_test")
        return {**row, "mean": float(np.mean(row["accuracies"]))}

    def _contender(self, rule, runs):
        source = self.tests.subset(self.values.shots, 0)
        recipe = describe_recipe(rule.recipe(source))
        return _summarize(runs, source.test.num_examples, recipe=recipe)


def best(candidates):
    """Returns the candidate that is right most often.

    Of equal ones that of fewer steps, and then of the lower rate.

    Args:
        candidates: Dicts with `num_correct`, of the same numbers of validation images,
            `steps` and `rate`.
    """
    return min(
        candidates,
        key=lambda row: (-sum(row["num_correct"]), row["steps"], row["rate"]),
    )


def _count_right(method, shots, seed):
    try:
        [right] = method.run(shots, seed).values()
    except bit_keras.RunError as error:
        # Those with a cause tell of the machine, such as of a lack of memory.
        if error.__cause__:
            raise
        # That a network does not learn at such a rate is a result, too.
        return {"num_correct": 0, "failed": str(error)}
    return {"num_correct": right}


def _summarize(runs, num_images, **subject):
    return summarize(
        [run["num_correct"] for run in runs],
        num_images,
        **subject,
        failed=sum("failed" in run for run in runs),
        seconds=round(sum(run["seconds"] for run in runs), 2),
    )


def _environments(tried):
    """Returns the different environments of (rule, its runs)."""
    found = []
    for run in itertools.chain.from_iterable(runs for _, runs in tried):
        if run["environment"] not in found:
            found.append(run["environment"])
    return found


def _as_line(row):
    """Returns what a person wants to know of a row."""
    rule, winner = row["rule"], row["winner"]
    recipe = winner["recipe"]
    return (
        f"{row['target']}, {row['shots']} per class: the rule {rule['median']:.1%}, "
        f"tuned {winner['median']:.1%} with rate {recipe['base_learning_rate']:g} and "
        f"{recipe['steps']} steps, after {row['search']['seconds']:.0f} s of search"
    )


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
