"""What there is to say about a model in its card."""

from bit_keras.checkpoints.saved_models import CLASS_NAMES_FILE
from bit_keras.export.cards import Subject
from bit_keras.export.families import folder_of
from bit_keras.models.presets import BASE_URL, VTAB
from bit_keras.published import published

NETWORK = (
    "A BiT network: a ResNet-v2 with group normalization and weight standardization."
)
STAGES = {
    "upstream": "Upstream",
    "fine_tuning": "Fine-tuning",
    "distillation": "Distillation",
}
# A card names no more classes than these.
MAX_NAMES = 200
# By the number of classes: which ones, and where their names are.
CLASSES = {
    1000: f"ILSVRC-2012, in the order of <{BASE_URL}/ilsvrc2012_wordnet_lemmas.txt>",
    310: "CIFAR-10 and of 300 of Quick, Draw!, in the order of "
    "`bit_keras/assets/labels/cifar10_quickdraw300.tsv.gz`",
    21843: "ImageNet-21k, trained with a sigmoid, since several may be true of an "
    f"image, in the order of <{BASE_URL}/imagenet21k_wordnet_lemmas.txt>",
}


def subject_of_family(family, folder):
    """Returns what the card of a family of presets says.

    Args:
        family: A `Family`.
        folder: The folder of its card, a `pathlib.Path`.

    Returns:
        A `Subject`, whose examples open the first preset.
    """
    preset = family.presets[0]
    if len(family.presets) > 1:
        folder = folder / folder_of(preset).partition("/")[2]
    training, _, paper = preset.source.partition("; ")
    title = preset.published_name
    is_vtab = family.kind == "vtab"
    if len(family.presets) > 1:
        title = f"{title.partition('-run')[0]} on the tasks of VTAB-1k"
        training = "Trained on ImageNet-21k, fine-tuned on 1,000 examples of each task"
    elif family.kind in ("student", "teacher"):
        title = f"{title} of the distillation paper"
    no_weights = "" if preset.has_weights else ", weights=None"
    return Subject(
        name=title,
        summary=f"{NETWORK} {training}.",
        facts=_facts_of(family),
        features=preset.architecture.num_features,
        classes=_classes_of(family),
        evaluation="" if is_vtab else f"In evaluation: {_evaluation(preset)}.",
        resizing=_resizing(preset, is_vtab),
        folder=_saved_model(folder),
        export=f"bit-keras export {preset.name}" if preset.has_weights else None,
        opened=f'bit_keras.BiTClassifier.from_preset("{preset.name}"{no_weights})',
        training=_training(family),
        figures=published(handle=family.handle),
        source=_source(preset, family, paper),
    )


def subject_of_model(model, name, folder, recipe=None, result=None):
    """Returns what the card of any other model says.

    Args:
        model: A `BiTClassifier`.
        name: What it is called.
        folder: The folder of its card, a `pathlib.Path`.
        recipe: The recipe in its report, or `None`.
        result: The result in its report, in one sentence, or `None`.

    Returns:
        A `Subject`.
    """
    architecture, size = model.architecture, model.image_size
    classes = None
    if model.num_classes:
        classes = f"`[batch, {model.num_classes}]`{_of_names(model.class_names)}"
    facts = [
        ("Network", architecture.name),
        ("Parameters", f"{architecture.num_parameters:,}"),
        ("Classes", f"{architecture.num_classes:,}"),
    ]
    settings = recipe and (recipe.get("setting") or recipe.get("kind"))
    return Subject(
        name=name,
        summary=" ".join(filter(None, [NETWORK, result])),
        facts=facts,
        features=architecture.num_features,
        classes=classes,
        evaluation=f"In evaluation: {size} x {size}." if size else "",
        resizing=size and f"resizes to {size} x {size} pixels",
        folder=_saved_model(folder),
        export=None,
        opened=f'bit_keras.BiTClassifier.from_saved_model("{_saved_model(folder)}")',
        training=[f"{settings}." if settings else "How it was trained is not known."],
        source=["Licence: that of the weights, which this package does not know."],
    )


def _of_names(class_names):
    """Returns the names of classes as a part of a sentence, or where they are."""
    if not class_names:
        return ""
    if len(class_names) > MAX_NAMES:
        return f" of the classes that `{CLASS_NAMES_FILE}` names"
    return f" of {', '.join(class_names)}"


def _saved_model(folder):
    return (folder / "saved_model").as_posix()


def _classes_of(family):
    if len(family.presets) > 1:
        return "of the classes of the task"
    count = family.presets[0].architecture.num_classes
    which = f" of the classes of {CLASSES[count]}" if count in CLASSES else ""
    return f"`[batch, {count}]`{which}" if count else None


def _facts_of(family):
    preset = family.presets[0]
    network = ("Network", preset.architecture.name)
    if len(family.presets) == 1:
        return [
            ("Preset", f"`{preset.name}`"),
            network,
            ("Parameters", f"{preset.num_parameters:,}"),
            ("Classes", f"{preset.architecture.num_classes:,}"),
            ("Images in evaluation", _evaluation(preset)),
            ("GFLOPs for one of them", f"{preset.gflops:.1f}"),
        ]
    pattern = preset.name.replace(_task_key(preset), "TASK").replace("run0", "runN")
    tasks = [
        (f"TASK `{task}`", f"{num_classes} classes, {size} x {size} pixels")
        for task, (num_classes, size) in VTAB.items()
    ]
    return [("Presets", f"`{pattern}`, N from 0 to 2"), network, *tasks]


def _task_key(preset):
    return preset.name.partition("_vtab_")[2].rpartition("_run")[0]


def _evaluation(preset):
    size = f"{preset.image_size} x {preset.image_size} pixels"
    if preset.crop_from is None:
        return f"{size}, resized straight to that"
    return f"{size}, the centre of images with a shorter side of {preset.crop_from}"


def _resizing(preset, is_vtab):
    size = f"{preset.image_size} x {preset.image_size} pixels"
    if is_vtab:
        return "resizes to the size of the task"
    if preset.crop_from is None:
        return f"resizes to {size}"
    return f"resizes straight to {size} (without the crop of the evaluation above)"


def _training(family):
    lines = []
    for stage, recipe in family.stages().items():
        if isinstance(recipe, list):
            lines += [
                f"{STAGES[stage]}, {', '.join(group['tasks'])}: "
                f"{_describe(group['recipe'])}."
                for group in recipe
            ]
        else:
            lines.append(f"{STAGES[stage]}: {_describe(recipe)}.")
    return [*lines, *family.notes(), "All values: `recipe.json`."]


def _describe(recipe):
    spared = [
        f"no {name}"
        for name, value in (("flip", recipe.flip), ("crop", recipe.cropping))
        if value == "none"
    ]
    return ", ".join([recipe.describe(), *spared])


def _source(preset, family, paper):
    if family.kind == "small":
        return [
            "Licence: Apache-2.0, as this package, which the weights belong to.",
            "Training images: drawings of Google's Quick, Draw! dataset, CC BY 4.0; "
            'CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny '
            'Images", 2009), which is published without a licence.',
            f"Weights: `bit_keras/assets/{preset.asset}`, SHA-256 `{preset.sha256}`.",
        ]
    pattern = preset.url
    if len(family.presets) > 1:
        task = preset.published_name.split("-", maxsplit=4)[-1]
        pattern = pattern.replace(f"run0-{task}", "runN-TASK")
    return [
        f"Licence: {preset.licence}, that of the published weights.",
        f"Weights: <{pattern}>",
        f"Paper: {paper}.",
    ]
