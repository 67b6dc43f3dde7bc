"""Model cards: what a folder of exports holds, as Markdown for people."""

import dataclasses
import string
import textwrap

CARD_FILE = "README.md"
RECIPE_FILE = "recipe.json"
MEASURED_FILE = "measured.json"
# What every card begins with, and what tells it from a text that is not to be replaced.
MARK = "<!-- Written by `bit-keras export`, which replaces it each time. -->"


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a model card is about.

    Args:
        name: The title.
        summary: What it is, in a few sentences.
        facts: Rows of the table of facts, (what, value).
        features: Number of features.
        classes: The shape of the logits, and of which classes they are; `None` for a
            model without a head.
        evaluation: At which height and width it is evaluated, in one sentence.
        resizing: What the signature `image_bytes` does to images before the network;
            `None` for a model without that signature.
        folder: Where the SavedModel lies that the examples open.
        export: The command that writes it, or `None`.
        opened: The expression that opens the model in bit_keras itself.
        training: Sentences on how it was trained.
        figures: Published ones, each a `Figure`.
        source: Sentences on licence and origin.
    """

    name: str
    summary: str
    facts: list
    features: int
    classes: str | None
    evaluation: str
    resizing: str | None
    folder: str
    export: str | None
    opened: str
    training: list
    source: list
    figures: list = ()


CARD = string.Template(
    """\
$mark

# $name

$summary

$facts

## Input and output

$interface

## How to use it
$export
TensorFlow Hub's layer in tf_keras; without `trainable=True` its weights stay:

```python
import tensorflow_hub as hub
import tf_keras

path = "$folder"
layer = hub.KerasLayer(path, trainable=True)
classifier = tf_keras.Sequential([layer, tf_keras.layers.Dense(10)])
outputs = layer(images)
```

Keras 3:

```python
import keras

path = "$folder"
layer = keras.layers.TFSMLayer(path, call_endpoint="serving_default")
outputs = layer(images)["outputs"]
```

TensorFlow alone:

```python
import tensorflow as tf

path = "$folder"
loaded = tf.saved_model.load(path)
outputs = loaded(images)
$image_bytes```

bit_keras, whose models take images in [-1, 1]:

```python
import bit_keras

model = $opened
outputs = model(2 * images - 1)
```
$about_bytes
## Training

$training

## Published figures

$figures

## Measured here

$measured

## Licence and source

$source
"""
)

INTERFACE = (
    "Input: float32 images `[batch, height, width, 3]`, RGB, in [0, 1], the convention "
    "of TensorFlow Hub. With `--input_range=-1,1` what the network itself takes, with "
    "`--input_range=uint8` uint8 images from 0 to 255.",
    "Height and width: any from 32 pixels on, another one with each call. $evaluation",
    "Output: by default `features`, pooled, float32 `[batch, $features]`$logits.",
    "Forms: `saved_model/` can be trained, for weight standardization is in its graph. "
    "`saved_model_serving/`, from `--form=serving`, has kernels that were standardized "
    "once: the same outputs, less to compute, nothing to train.",
)
LOGITS = (
    "; with `--outputs=logits` float32 logits {}; with `--outputs=all` a dict of "
    "both and of every endpoint of the backbone"
)
NO_LOGITS = ", for there is no head"
IMAGE_BYTES = """\
answers = loaded.signatures["image_bytes"](image_bytes=tf.constant(contents_of_files))
"""
ABOUT_BYTES = (
    "The signature `image_bytes` decodes JPEG, PNG, BMP, GIF and WebP, {resizing}, and "
    "returns `labels`, `top_probabilities` and `probabilities`, those of a softmax; or "
    "`features`, where these are what is exported."
)


def render_card(subject, measured=None):
    """Returns a model card as a Markdown text.

    Args:
        subject: A `Subject`.
        measured: Contents of `measured.json`, or `None` where nothing was exported: for
            each model's name a dict with `weights` and `made_with`, in words, and
            `files`: for each file's name its `content`, `num_bytes` and `deviation`.
    """
    fields = {
        **vars(subject),
        "mark": MARK,
        "summary": _wrap(subject.summary),
        "facts": _table(("", ""), subject.facts),
        "export": f"\n```sh\n{subject.export}\n```\n" if subject.export else "",
        "logits": LOGITS.format(subject.classes) if subject.classes else NO_LOGITS,
        "image_bytes": IMAGE_BYTES if subject.resizing else "",
        "about_bytes": _about_bytes(subject),
        "training": _bullets(subject.training),
        "figures": _figures(subject.figures),
        "measured": _measured(measured or {}),
        "source": _bullets(subject.source),
    }
    interface = _bullets(string.Template(line).substitute(fields) for line in INTERFACE)
    return CARD.substitute(fields, interface=interface)


def _about_bytes(subject):
    if not subject.resizing:
        return ""
    return f"\n{_wrap(ABOUT_BYTES.format(resizing=subject.resizing))}\n"


def _figures(figures):
    if not figures:
        return "None are known for these very weights."
    rows = [(figure.what, f"{figure.value} %", figure.cited) for figure in figures]
    table = _table(("What", "Accuracy", "Published in"), rows)
    return f"Of others, not measured here; they do not all evaluate alike.\n\n{table}"


def _measured(measured):
    if not measured:
        return "Not exported yet, so that nothing has been measured."
    rows = [
        (
            f"`{file}`",
            figures["content"],
            f"{figures['num_bytes'] / 1e6:,.1f} MB",
            "–" if figures["deviation"] is None else f"{figures['deviation']:.1e}",
        )
        for model in measured.values()
        for file, figures in model["files"].items()
    ]
    origins = [
        f"{name}: {model['weights']}; written by {model['made_with']}."
        for name, model in measured.items()
    ]
    table = _table(("File", "Content", "Size", "Deviation"), rows)
    explained = (
        "The deviation is the largest relative L2 norm of the difference from the "
        "outputs of the Keras model, among several sizes of images and batches."
    )
    return "\n\n".join([table, _wrap(explained), _bullets(origins)])


def _bullets(sentences):
    return "\n".join(
        _wrap(sentence, initial_indent="- ", subsequent_indent="  ")
        for sentence in sentences
    )


def _wrap(text, **indents):
    return textwrap.fill(
        text, 88, break_long_words=False, break_on_hyphens=False, **indents
    )


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
