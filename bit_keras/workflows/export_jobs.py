"""What an export is made of: one job for each file or SavedModel."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

from bit_keras.checkpoints.saved_models import read_metadata
from bit_keras.errors import InputError
from bit_keras.export.archive import write_archive
from bit_keras.export.reusable import FORMS
from bit_keras.export.saved_model import check_target, export_saved_model
from bit_keras.workflows.folders import SAVED_MODEL_FOLDER
from bit_keras.workflows.options import Options, say_nothing

# Format of a file that stands alone: (its name, what it is called, precision).
PORTABLE = {
    "litert": ("model.tflite", "LiteRT", "float32"),
    "litert_float16": ("model_float16.tflite", "LiteRT", "float16"),
    "litert_int8": ("model_int8.tflite", "LiteRT", "int8"),
    "onnx": ("model.onnx", "ONNX", "float32"),
}
FORMATS = ("saved_model", *PORTABLE)
SAVED_MODEL_FOLDERS = {
    "trainable": SAVED_MODEL_FOLDER,
    "serving": f"{SAVED_MODEL_FOLDER}_serving",
}


@dataclasses.dataclass(frozen=True)
class ExportOptions(Options):
    """What is exported, and how.

    Args:
        outputs: `"features"`, `"logits"` or `"all"`, see `export_saved_model`.
        input_range: `(0, 1)`, `(-1, 1)` or `"uint8"`.
        form: Of SavedModels: `"trainable"`, `"serving"`, or `"both"`.
        variables: What the serving form stores its kernels in: `"float32"`,
            `"bfloat16"` or `"float16"`.
        formats: Some of `FORMATS`.
        archive: Whether each SavedModel is packed, too, as a `.tar.gz` that
            `hub.load(url)` takes.
        overwrite: Whether what is there is replaced.
        say: Called with a line about each thing that is written.

    Raises:
        InputError: If these do not go together.
    """

    nouns = "An export has no option"

    outputs: str = "features"
    input_range: tuple | str = (0, 1)
    form: str = "trainable"
    variables: str = "float32"
    formats: tuple[str, ...] = ("saved_model",)
    archive: bool = False
    overwrite: bool = False
    say: Callable[[str], None] = say_nothing

    def __post_init__(self):
        if not self.formats or set(self.formats) - set(FORMATS):
            raise InputError(
                f"`formats` must be some of {', '.join(FORMATS)}. "
                f"Received: {', '.join(self.formats) or 'none'}"
            )
        if self.form not in (*FORMS, "both"):
            raise InputError(
                f"`form` must be one of {', '.join(FORMS)}, both. "
                f"Received: {self.form!r}"
            )
        if self.archive and "saved_model" not in self.formats:
            raise InputError(
                "Only a SavedModel can be packed as an archive; add saved_model to "
                f"`formats`. Received: {', '.join(self.formats)}"
            )

    def mapping(self):
        """Returns from what to what an export computes, in words."""
        if self.input_range == "uint8":
            return f"uint8 images to {self.outputs}"
        low, high = self.input_range
        return f"images in [{low}, {high}] to {self.outputs}"


@dataclasses.dataclass(frozen=True)
class Job:
    """One file or SavedModel to write.

    Args:
        path: Where to.
        content: What it is, in words.
        write: Writes it, given the `BiTClassifier`; returns the number of bytes, and
            the deviation from the model or `None`.
    """

    path: pathlib.Path
    content: str
    write: Callable

    def check_target(self, overwrite):
        """Raises `InputError` now, and not after an hour, if the path is taken."""
        if self.path.name in SAVED_MODEL_FOLDERS.values():
            check_target(self.path, overwrite)
        elif self.path.exists() and not overwrite:
            raise InputError(
                f"{self.path} exists; choose another folder, or allow it to be "
                "replaced with `overwrite`."
            )


def plan(folder, options, recipe):
    """Returns the jobs of an export, in their order.

    Args:
        folder: The folder that everything goes to.
        options: `ExportOptions`.
        recipe: What the model was trained by, a dict or `None`.
    """
    jobs = []
    for name in FORMATS:
        if name in options.formats:
            make = _saved_models if name == "saved_model" else _portable
            jobs += make(name, folder, options, recipe)
    return jobs


def _saved_models(name, folder, options, recipe):
    for form in FORMS if options.form == "both" else (options.form,):
        # Of both forms only one can have other variables.
        both = options.form == "both" and form == "trainable"
        variables = "float32" if both else options.variables
        stored = "" if variables == "float32" else f" with {variables} kernels"
        path = folder / SAVED_MODEL_FOLDERS[form]
        content = f"SavedModel, {form}{stored}, {options.mapping()}"
        yield Job(
            path,
            content,
            functools.partial(
                _write_saved_model, path, options, form, variables, recipe
            ),
        )
        if options.archive:
            archive = path.with_name(f"{path.name}.tar.gz")
            yield Job(
                archive,
                f"Archive for hub.load(url) of a {content}",
                functools.partial(_write_archive, path, archive),
            )


def _write_saved_model(path, options, form, variables, recipe, model):
    export_saved_model(
        model,
        path,
        options.outputs,
        options.input_range,
        form,
        variables=variables,
        recipe=recipe,
        overwrite=options.overwrite,
    )
    files = (file for file in path.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files), read_metadata(path)["deviation"]


def _write_archive(folder, path, model):
    del model  # It is in the folder.
    return write_archive(folder, path).stat().st_size, None


def _portable(name, folder, options, recipe):
    del recipe  # There is no place for it in these files.
    file, title, precision = PORTABLE[name]
    path = folder / file
    content = f"{title}, {precision}, {options.mapping()}"
    return [
        Job(path, content, functools.partial(_write_portable, path, options, precision))
    ]


def _write_portable(path, options, precision, model):
    # They need the libraries of other runtimes.
    from bit_keras.export.portable import export_litert, export_onnx

    arguments = (model, path, options.outputs, options.input_range)
    if path.suffix == ".onnx":
        done = export_onnx(*arguments, overwrite=options.overwrite)
    else:
        done = export_litert(*arguments, precision, overwrite=options.overwrite)
    return done.num_bytes, done.deviation
