"""Transfer upstream networks to small sets, beside networks that saw nothing upstream.

    python examples/bit_in_miniature/transfer.py --upstream OUT --models \\
        S-R50x1,M-R50x1,L-R50x1 --scratch R50x1 --data_dir DATA --out_dir OUT/transfer

It composes what `bit_keras.workflows.fewshot` is made of, since that always changes the
learning rate in proportion to the batch. Each finished run is a file in
`OUT/transfer/runs/`, which no later call makes again; `transfer.json` there has a row
for each model, target, method and number of examples, and is written as they come.
Contenders are:

- each of `--models`, a folder of `--upstream`;
- `scratch-R50x1`: random weights, and the same rule;
- `scratch5-R50x1`: random weights, and five times the steps;
- `pixels`: a linear probe of the images themselves, of 32 x 32 pixels;
- `contrast`: one of three numbers of each image, how much red, green and blue vary.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import ClassVar

import keras
import recipes
import sets
from absl import app, flags

import bit_keras
from bit_keras.evaluation.fewshot import L2
from bit_keras.evaluation.fewshot_report import summarize
from bit_keras.workflows.fewshot_methods import FewShotSet, FineTuning, Probe
from bit_keras.workflows.fewshot_options import FewShotOptions
from bit_keras.workflows.fine_tuner import FrozenModel, describe_recipe
from bit_keras.workflows.folders import write_json
from bit_keras.workflows.kept_runs import KeptRuns
from bit_keras.workflows.pretrain import WEIGHTS_FILE
from bit_keras.workflows.shared_networks import SharedNetworks

RESULTS_FILE = "transfer.json"
PIXELS = 32
FULL = "full"
LONGER = {"scratch": 1, "scratch5": 5}
# What a row is of.
SUBJECT = ("model", "target", "method", "shots")


def define_flags(values=flags.FLAGS):
    for name, default, text in (
        ("models", [], "Folders of --upstream, such as L-R50x1."),
        ("scratch", [], "Networks to start from random weights, such as R50x1."),
        ("targets", list(sets.TARGETS), "Sets to learn."),
        ("shots", ["1", "5", "10", "25"], "Examples of each class."),
        ("methods", ["finetune", "probe"], "Ways to learn."),
        ("full", [], "Sets to fine-tune on all of, such as fashion_mnist,mnist."),
    ):
        flags.DEFINE_list(name, default, text, flag_values=values)
    flags.DEFINE_multi_enum(
        "schedules",
        list(LONGER),
        list(LONGER),
        "How long random weights are trained.",
        flag_values=values,
    )
    flags.DEFINE_string("upstream", "miniature", "Of upstream.py.", flag_values=values)
    flags.DEFINE_string("out_dir", "transfer", "For results.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Of TFDS.", flag_values=values)
    flags.DEFINE_bool("pixels", True, "Probe pixels and contrast.", flag_values=values)
    flags.DEFINE_bool("bfloat16", False, "Compute in bfloat16.", flag_values=values)
    flags.DEFINE_bool("progress", False, "Show progress bars.", flag_values=values)
    flags.DEFINE_integer("seeds", 5, "Subsets of each size.", flag_values=values)
    flags.DEFINE_integer("batch_size", 128, "Images in a step.", flag_values=values)
    flags.DEFINE_float("rate", 0.003, "Base learning rate.", flag_values=values)
    flags.DEFINE_integer("steps", 500, "With a few examples.", flag_values=values)
    flags.DEFINE_integer(
        "full_steps", None, "With all; by default the HyperRule's.", flag_values=values
    )


@dataclasses.dataclass(frozen=True)
class Contender:
    """What is put to the test.

    Args:
        name: What a person calls it.
        open: Returns its `FrozenModel`, or `WithoutNetwork`.
        longer: Factor on the steps of fine-tuning; 0 for none, the probe alone.
        image_size: Pixels of images for the probe.
        probes: Whether there is a probe, which a longer training would not change.
    """

    name: str
    open: Callable
    longer: int = 1
    image_size: int = recipes.CROP
    probes: bool = True


class Contrast(keras.layers.Layer):
    """The standard deviation of each channel of an image."""

    def call(self, images):
        return keras.ops.std(images, axis=(1, 2))


class WithoutNetwork:
    """Takes the place of a `FrozenModel` whose features need no network.

    Args:
        name: `"pixels"` for the pixels themselves, or `"contrast"`.
    """

    LAYERS: ClassVar = {"pixels": keras.layers.Flatten, "contrast": Contrast}

    def __init__(self, name):
        self.name = name
        self.identity = {"architecture": name}
        shape = (PIXELS, PIXELS, 3)
        self.model = keras.Sequential([keras.Input(shape), self.LAYERS[name]()])


def contenders(values):
    """Returns the contenders that flags ask for."""
    policy = "mixed_bfloat16" if values.bfloat16 else "float32"

    def open_upstream(name):
        path = pathlib.Path(values.upstream, name, WEIGHTS_FILE)
        model = bit_keras.BiTClassifier.from_checkpoint(path, 0, policy)
        return FrozenModel(name, model)

    def open_scratch(name, architecture):
        keras.utils.set_random_seed(0)
        model = bit_keras.BiTClassifier(recipes.new_backbone(architecture, policy), 0)
        return FrozenModel(name, model, from_scratch=True)

    chosen = [
        Contender(name, functools.partial(open_upstream, name))
        for name in values.models
    ]
    for architecture in values.scratch:
        for kind in values.schedules:
            longer = LONGER[kind]
            name = f"{kind}-{architecture}"
            make = functools.partial(open_scratch, name, architecture)
            chosen.append(Contender(name, make, longer, probes=longer == 1))
    if values.pixels:
        for name in WithoutNetwork.LAYERS:
            make = functools.partial(WithoutNetwork, name)
            chosen.append(Contender(name, make, longer=0, image_size=PIXELS))
    return chosen


def main(values):
    chosen = contenders(values)
    options = FewShotOptions(progress=values.progress)
    job = Job(values, SharedNetworks(options, len(chosen)))
    for contender in chosen:
        frozen = job.open(contender)
        for name in values.targets:
            job.few_shot(contender, frozen, name)
        if contender.longer:
            for name in values.full:
                job.full(contender, frozen, name)


class Job:
    """The runs of all contenders on all targets, each finished one in a file.

    Args:
        values: The flags.
        networks: The `SharedNetworks` of the contenders.
    """

    def __init__(self, values, networks):
        self.values = values
        self.networks = networks
        self.shots = tuple(sorted(map(int, values.shots)))
        self.runs = KeptRuns(values.out_dir, total=0)
        self.rows = []
        self.target = functools.cache(self._open_target)

    def open(self, contender):
        """Returns a contender's model, in a network that is compiled already if can be.

        The one before it must not be used any more.
        """
        frozen = contender.open()
        return self.networks.share(frozen) if contender.longer else frozen

    def _open_target(self, name):
        data = FewShotSet(sets.target(name, self.values.data_dir))
        if shots := self._possible_shots(data):
            data.draws = [(max(shots), seed) for seed in range(self.values.seeds)]
        return data

    def _possible_shots(self, data):
        return [count for count in self.shots if count <= data.class_counts.min()]

    def few_shot(self, contender, frozen, name):
        """Learns a target from a few examples of each class, as far as it has them."""
        data = self.target(name)
        shots = self._possible_shots(data)
        for method in self._methods(contender, frozen, data, shots):
            for count in shots:
                runs = [
                    self._few_shot_run(frozen, data, method, count, seed)
                    for seed in range(self.values.seeds)
                ]
                self._add(contender, data, method.kind, count, runs)

    def full(self, contender, frozen, name):
        """Fine-tunes on all training images of a target."""
        data = self.target(name)
        recipe = self._rule(contender, self.values.full_steps).recipe(data.source)
        tuner = self.networks.tuner(frozen, data.source.num_classes)
        configuration = describe_recipe(recipe)
        run = self._get(
            frozen,
            data,
            ("finetune", FULL, 0),
            configuration,
            lambda: tuner.run(data.source, recipe, 0),
        )
        self._add(contender, data, "finetune", FULL, [run])

    def _rule(self, contender, steps):
        values = self.values
        return recipes.TransferRule(
            values.batch_size, values.rate, steps, contender.longer
        )

    def _methods(self, contender, frozen, data, shots):
        values = self.values
        if "probe" in values.methods and contender.probes and shots:
            yield Probe(
                frozen,
                data,
                contender.image_size,
                (L2,),
                # In memory alone.
                lambda part, key: None,
                values.progress,
            )
        if "finetune" in values.methods and contender.longer:
            rule = self._rule(contender, values.steps)
            tuner = self.networks.tuner(frozen, data.source.num_classes)
            yield FineTuning(data, rule.recipe, tuner)

    def _few_shot_run(self, frozen, data, method, count, seed):
        def count_right():
            [right] = method.run(count, seed).values()
            return right

        words = (method.kind, count, seed)
        return self._get(frozen, data, words, method.settings(count, seed), count_right)

    def _get(self, frozen, data, words, settings, count_right):
        """Returns a run, made now if it is not there."""

        def make():
            return {"num_correct": count_right()}

        return get_run(self.runs, frozen, data, words, settings, make)

    def _add(self, contender, data, kind, count, runs):
        """Adds a row, and writes all that there are."""
        source = data.source
        row = summarize(
            [run["num_correct"] for run in runs],
            source.test.num_examples,
            model=contender.name,
            target=source.name,
            method=kind,
            shots=count,
            chance=1 / source.num_classes,
            seconds=sum(run["seconds"] for run in runs),
        )
        self.rows.append(row)
        merge_rows(self.runs.out_dir / RESULTS_FILE, self.rows)
        print(
            f"{row['target']}, {row['model']}, {kind}, {count} per class: "
            f"{row['median']:.1%} ({row['min']:.1%} to {row['max']:.1%})",
            flush=True,
        )


def get_run(runs, frozen, data, words, settings, make):
    """Returns a run, made now if it is not there.

    Args:
        runs: The `KeptRuns`.
        frozen: The `FrozenModel`.
        data: The `FewShotSet`.
        words: (kind of run, examples per class, seed).
        settings: All else that decides the result, a dict of JSON's types.
        make: As in `KeptRuns.get`.
    """
    kind, count, seed = words
    configuration = {
        "model": frozen.identity,
        "data": data.identity,
        **settings,
        "method": kind,
        "examples_per_class": count,
        "seed": seed,
    }
    name = (frozen.name, data.source.name, kind, f"{count}-shot", f"seed-{seed}")
    return runs.get(configuration, make, *name)


def merge_rows(path, rows, subject=SUBJECT):
    """Writes rows to a file, beside those of other calls that are there.

    Args:
        path: The file.
        rows: Dicts of JSON's types; of one subject the last one is kept.
        subject: The names of what tells subjects apart.
    """
    merged = {
        tuple(row[name] for name in subject): row for row in [*read_rows(path), *rows]
    }
    write_json(path, list(merged.values()))


def read_rows(path):
    """Returns the rows of a file, none if it is not there."""
    path = pathlib.Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


if __name__ == "__main__":
    define_flags()
    app.run(lambda _: main(flags.FLAGS))
