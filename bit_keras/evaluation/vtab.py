"""The 19 tasks of VTAB-1k, as one table."""

import dataclasses
import difflib
from collections.abc import Callable

from bit_keras.errors import InputError
from bit_keras.evaluation import vtab_labels as labels
from bit_keras.recipes.vtab import WITHOUT_CROP, WITHOUT_FLIP

GROUPS = NATURAL, SPECIALIZED, STRUCTURED = "natural", "specialized", "structured"
TRAIN800 = "train[:800]"
# Of sets that have a split for validation.
VALIDATION = "validation[:200]"
# Number of examples of each part but the test images.
SIZES = {"train800": 800, "val200": 200, "train1000": 1000}

RESISC45_BY_HAND = (
    "download NWPU-RESISC45.rar from https://1drv.ms/u/s!AmgKYzARBl5ca3HNaHIlzp_IXjs "
    "and unpack it, so that the folder NWPU-RESISC45 with a folder for each class lies "
    "in the folder for downloads by hand"
)
RETINOPATHY_BY_HAND = (
    "download the data of "
    "https://www.kaggle.com/c/diabetic-retinopathy-detection/data with an account "
    "there, and unpack train.zip to train/, test.zip to test/, sample.zip to sample/ "
    "and trainLabels.csv.zip to trainLabels.csv in the folder for downloads by hand"
)


def times_255(image):
    """Maps an image of zeros and ones, uint8, to black and white."""
    return image * 255


@dataclasses.dataclass(frozen=True)
class TaskSet:
    """The TFDS set of a task, and what VTAB-1k takes of it.

    Args:
        name: Name of the TFDS set, with that of its configuration.
        versions: Patterns of the versions that will do: first that of the published
            code, then those that today's TFDS has in its place.
        val200: TFDS expression of the examples to choose by in a search. Those to learn
            from are `TRAIN800` in all sets.
        test: TFDS expression of the examples to test on.
        num_test: Number of these.
        by_hand: What to download by hand, where TFDS cannot do it.
    """

    name: str
    versions: tuple[str, ...]
    val200: str
    test: str
    num_test: int
    by_hand: str | None = None

    @property
    def train800(self):
        """TFDS expression of the examples to learn from in a search."""
        return TRAIN800

    @property
    def train1000(self):
        """TFDS expression of the examples to learn from at last."""
        return f"{self.train800}+{self.val200}"

    def expected_size(self, part):
        """Returns how many examples `"train800"` or another part has to have."""
        return SIZES.get(part, self.num_test)


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of VTAB-1k.

    Args:
        name: As in the names of the published files.
        group: `"natural"`, `"specialized"` or `"structured"`.
        data: Its `TaskSet`.
        num_classes: Number of classes.
        label: How the label follows from an example.
        pixels: Maps the decoded image, uint8 `(height, width, 3)`, grey repeated, to
            the one to learn from; `None` where they are the same.
    """

    name: str
    group: str
    data: TaskSet
    num_classes: int
    label: labels.LabelRule = labels.as_it_stands()
    pixels: Callable | None = None

    @property
    def flip(self):
        """Whether a training image may be mirrored."""
        return self.name not in WITHOUT_FLIP

    @property
    def crop(self):
        """Whether a training image may be cropped."""
        return self.name not in WITHOUT_CROP


CALTECH101 = TaskSet("caltech101", ("3.*.*",), "train[2754:2954]", "test", 6084)
CIFAR100 = TaskSet("cifar100", ("3.*.*",), "train[45000:45200]", "test", 10_000)
DTD = TaskSet("dtd", ("3.*.*",), VALIDATION, "test", 1880)
FLOWERS = TaskSet("oxford_flowers102", ("2.*.*",), VALIDATION, "test", 6149)
PETS = TaskSet("oxford_iiit_pet", ("3.*.*", "4.*.*"), "train[2944:3144]", "test", 3669)
SUN397 = TaskSet("sun397/tfds", ("4.*.*",), VALIDATION, "test", 21_750)
SVHN = TaskSet("svhn_cropped", ("3.*.*",), "train[65931:66131]", "test", 26_032)
CAMELYON = TaskSet("patch_camelyon", ("2.*.*",), VALIDATION, "test", 32_768)
EUROSAT = TaskSet(
    "eurosat/rgb", ("2.*.*",), "train[16200:16400]", "train[21600:]", 5400
)
RESISC45 = TaskSet(
    "resisc45",
    ("3.*.*",),
    "train[18900:19100]",
    "train[25200:]",
    6300,
    RESISC45_BY_HAND,
)
RETINOPATHY = TaskSet(
    "diabetic_retinopathy_detection/btgraham-300",
    ("3.*.*",),
    VALIDATION,
    "test",
    42_670,
    RETINOPATHY_BY_HAND,
)
CLEVR = TaskSet("clevr", ("3.*.*",), "train[63000:63200]", "validation", 15_000)
DMLAB = TaskSet("dmlab", ("2.0.1",), VALIDATION, "test", 22_735)
KITTI = TaskSet("kitti", ("3.1.0", "3.*.*"), VALIDATION, "test", 711)
DSPRITES = TaskSet(
    "dsprites", ("2.*.*",), "train[589824:590024]", "train[663552:]", 73_728
)
SMALLNORB = TaskSet("smallnorb", ("2.*.*",), "test[:200]", "test[50%:]", 12_150)

X_POSITION = labels.in_classes("label_x_position", 32)
ORIENTATION = labels.in_classes("label_orientation", 40)
AZIMUTH = labels.as_it_stands("label_azimuth")
ELEVATION = labels.as_it_stands("label_elevation")

_TASKS = (
    Task("caltech101", NATURAL, CALTECH101, 102),
    Task("cifar100", NATURAL, CIFAR100, 100),
    Task("dtd", NATURAL, DTD, 47),
    Task("oxford_flowers102", NATURAL, FLOWERS, 102),
    Task("oxford_iiit_pet", NATURAL, PETS, 37),
    Task("sun397", NATURAL, SUN397, 397),
    Task("svhn", NATURAL, SVHN, 10),
    Task("patch_camelyon", SPECIALIZED, CAMELYON, 2),
    Task("eurosat", SPECIALIZED, EUROSAT, 10),
    Task("resisc45", SPECIALIZED, RESISC45, 45),
    Task("diabetic_retinopathy", SPECIALIZED, RETINOPATHY, 5),
    Task("clevr-count", STRUCTURED, CLEVR, 8, labels.CLEVR_COUNT),
    Task("clevr-distance", STRUCTURED, CLEVR, 6, labels.CLEVR_DISTANCE),
    Task("dmlab", STRUCTURED, DMLAB, 6),
    Task("kitti-distance", STRUCTURED, KITTI, 4, labels.KITTI_DISTANCE),
    Task("dsprites-xpos", STRUCTURED, DSPRITES, 16, X_POSITION, times_255),
    Task("dsprites-orientation", STRUCTURED, DSPRITES, 16, ORIENTATION, times_255),
    Task("smallnorb-azimuth", STRUCTURED, SMALLNORB, 18, AZIMUTH),
    Task("smallnorb-elevation", STRUCTURED, SMALLNORB, 9, ELEVATION),
)
TASKS = {task.name: task for task in _TASKS}
"""Every `Task`, by its name.

The parts are slices in the order of the files, whatever classes are in them: SUN397 has
309 of its 397 classes in the 800.

Source: task_adaptation's `data/*.py` (sets, versions, parts, labels and pixels).
"""


def choose_tasks(names):
    """Returns tasks by their names, those of groups, or `"all"`.

    Args:
        names: Strings.

    Returns:
        A tuple of `Task`, each once, in the order of `TASKS`.

    Raises:
        InputError: If there is no such task or group, or no name.
    """
    if not names:
        raise InputError("Give at least one task, or `all`.")
    wanted = set()
    for name in names:
        wanted |= {
            task.name
            for task in TASKS.values()
            if name in ("all", task.group, task.name)
        } or _no_such_task(name)
    return tuple(task for task in TASKS.values() if task.name in wanted)


def _no_such_task(name):
    known = ("all", *GROUPS, *TASKS)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"one of {', '.join(known)}."
    raise InputError(f"VTAB-1k has no task and no group `{name}`; {hint}")
