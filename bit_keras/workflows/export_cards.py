"""Where exports go, and the model cards beside them."""

import dataclasses
import json
import pathlib

from bit_keras.checkpoints.saved_models import is_saved_model, read_metadata
from bit_keras.errors import InputError
from bit_keras.export.cards import (
    CARD_FILE,
    MARK,
    MEASURED_FILE,
    RECIPE_FILE,
    render_card,
)
from bit_keras.export.families import (
    FAMILIES,
    Family,
    folder_of,
    handle_of,
    recipe_of,
)
from bit_keras.export.subjects import subject_of_family, subject_of_model
from bit_keras.files import replaced
from bit_keras.models.presets import Preset, get_preset
from bit_keras.versions import versions
from bit_keras.workflows.folders import MODEL_FILE, write_json
from bit_keras.workflows.models import is_path
from bit_keras.workflows.runs import fingerprint

EXPORTS = "exports"
REPORT_FILE = "report.json"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the exports of a model go, and what their card is about.

    Args:
        name: What the model is called.
        folder: For the files.
        card_folder: For the card; another one where presets share a card.
        preset: The preset whose published weights the model has, or `None`.
        family: Whose card it is, or `None`.
        report: What the report of the model's run says, an empty dict without one.
    """

    name: str
    folder: pathlib.Path
    card_folder: pathlib.Path
    preset: Preset | None = None
    family: Family | None = None
    report: dict = dataclasses.field(default_factory=dict)

    @property
    def recipe(self):
        """What the model was trained by, as far as known, or `None`."""
        return recipe_of(self.preset) if self.preset else self.report.get("recipe")


def find_place(model, weights, out_dir=None):
    """Returns the `Place` for the exports of a model.

    Args:
        model: As in `open_model`.
        weights: As in `open_model`.
        out_dir: A folder in place of that by rule, or `None`.
    """
    if is_path(model):
        return _place_of_file(pathlib.Path(model), out_dir)
    preset = get_preset(model)
    published = {"published", preset.published_name}
    if not {str(weights), pathlib.Path(weights).stem} & published:
        random = f"{handle_of(preset)}-random"
        name = random if weights == "none" else pathlib.Path(weights).stem
        return _place_of_other(name, out_dir)
    if out_dir:
        folder = pathlib.Path(out_dir)
        family = Family(handle_of(preset), (preset,))
        return Place(preset.name, folder, folder, preset, family)
    return place_of_preset(preset, EXPORTS)


def place_of_preset(preset, root):
    """Returns the `Place` of a preset in the folder of all exports."""
    root, handle = pathlib.Path(root), handle_of(preset)
    family = FAMILIES.get(handle, Family(handle, (preset,)))
    return Place(preset.name, root / folder_of(preset), root / handle, preset, family)


def _place_of_file(path, out_dir):
    report = {}
    if is_saved_model(path):
        report["recipe"] = read_metadata(path).get("recipe")
    elif path.is_dir() or path.name == MODEL_FILE:
        path = path if path.is_dir() else path.parent
        report = _read_json(path / REPORT_FILE)
    path = path.resolve()
    return _place_of_other(path.name if path.is_dir() else path.stem, out_dir, report)


def _place_of_other(name, out_dir, report=None):
    folder = pathlib.Path(out_dir or pathlib.Path(EXPORTS, name))
    return Place(name, folder, folder, report=report or {})


def check_card(folder):
    """Raises `InputError` if a card would replace something else in a folder."""
    card = folder / CARD_FILE
    ours = card.is_file() and card.read_text(errors="replace").startswith(MARK)
    for name in (CARD_FILE, RECIPE_FILE, MEASURED_FILE):
        if (folder / name).exists() and not ours:
            raise InputError(
                f"{folder / name} is there and no part of an earlier export; choose "
                "another folder."
            )


def record(place, model, files):
    """Writes the card of an export, with what earlier ones have measured.

    Args:
        place: A `Place`.
        model: The `BiTClassifier`.
        files: {path: dict of `content`, `num_bytes` and `deviation`} of what has been
            written.

    Returns:
        The path of the card.
    """
    folder = place.card_folder
    measured = _read_json(folder / MEASURED_FILE)
    weights = _describe_weights(model)
    earlier = measured.get(place.name, {})
    # Of other weights under the same name nothing is told any longer.
    known = earlier["files"] if earlier.get("weights") == weights else {}
    written = {path.relative_to(folder).as_posix(): files[path] for path in files}
    measured[place.name] = {
        "weights": weights,
        "made_with": ", ".join(f"{name} {v}" for name, v in versions().items()),
        "files": dict(sorted((known | written).items())),
    }
    write_json(folder / MEASURED_FILE, measured)
    if place.family:
        subject = subject_of_family(place.family, folder)
        return _write_card(folder, subject, place.family.recipe(), measured)
    subject = subject_of_model(
        model, place.name, folder, place.recipe, _result(place.report)
    )
    return _write_card(folder, subject, place.recipe, measured)


def write_cards(root=EXPORTS):
    """Writes recipe and model card of every family of presets.

    Args:
        root: The folder of all exports; what earlier ones have measured is kept.

    Returns:
        The paths of the cards.
    """
    cards = []
    for handle, family in FAMILIES.items():
        folder = pathlib.Path(root, handle)
        subject = subject_of_family(family, folder)
        measured = _read_json(folder / MEASURED_FILE)
        cards.append(_write_card(folder, subject, family.recipe(), measured))
    return cards


def _write_card(folder, subject, recipe, measured):
    if recipe:
        write_json(folder / RECIPE_FILE, recipe)
    else:
        (folder / RECIPE_FILE).unlink(missing_ok=True)
    with replaced(folder / CARD_FILE) as temporary:
        temporary.write_text(render_card(subject, measured), encoding="utf-8")
    return folder / CARD_FILE


def _describe_weights(model):
    """Tells weights from others, in words."""
    origin = model.backbone.origin
    checksum = f"weights with the checksum {fingerprint(model)}"
    if not origin:
        return checksum
    return f"{checksum}, from {origin['file']} with the SHA-256 {origin['sha256']}"


def _result(report):
    """Returns the result of a run in one sentence, or `None`."""
    try:
        evaluation, title = report["evaluation"], report["title"]
        right, total = evaluation["num_correct"], evaluation["num_examples"]
        return f"{title}: {right:,} of {total:,} {report['split']} images right."
    except (KeyError, TypeError, ValueError):
        return None


def _read_json(path):
    """Returns the contents of a file, or an empty dict without a whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
