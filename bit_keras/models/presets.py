"""The published BiT weight files, one row each."""

import dataclasses
import difflib
import fnmatch
import pathlib

from bit_keras.assets.label_maps import LABEL_MAPS
from bit_keras.checkpoints.fetch import fetch
from bit_keras.checkpoints.names import Architecture
from bit_keras.errors import InputError

BASE_URL = "https://storage.googleapis.com/bit_models"
ASSETS = pathlib.Path(__file__).parents[1] / "assets"

# Depth and width.
ARCHITECTURES = {
    "R50x1": (50, 1),
    "R50x3": (50, 3),
    "R101x1": (101, 1),
    "R101x3": (101, 3),
    "R152x2": (152, 2),
    "R152x4": (152, 4),
}

BIT_PAPER = "Kolesnikov et al., arXiv 1912.11370"
DISTILLATION_PAPER = "Beyer et al., arXiv 2106.05237"

# Letter: (classes, training data, their names).
UPSTREAM = {
    "S": (1000, "ILSVRC-2012 (ImageNet-1k)", "imagenet2012"),
    "M": (21843, "ImageNet-21k", "imagenet21k"),
    "L": (18291, "JFT-300M", None),
}

# Task, as in the file names: (classes, image size). The size is the HyperRule's, 128
# for images of less than 96 x 96 pixels and else 480.
VTAB = {
    "caltech101": (102, 480),
    "cifar100": (100, 128),
    "dtd": (47, 480),
    "oxford_flowers102": (102, 480),
    "oxford_iiit_pet": (37, 480),
    "sun397": (397, 480),
    "svhn": (10, 128),
    "patch_camelyon": (2, 480),
    "eurosat": (10, 128),
    "resisc45": (45, 480),
    "diabetic_retinopathy": (5, 480),
    "clevr-count": (8, 480),
    "clevr-distance": (6, 480),
    "dmlab": (6, 480),
    "kitti-distance": (4, 480),
    "dsprites-xpos": (16, 128),
    "dsprites-orientation": (16, 128),
    "smallnorb-azimuth": (18, 480),
    "smallnorb-elevation": (9, 480),
}

# File stem: (end of the name, classes, image size, size before the central crop, data).
# The crops of 224 and 128 are those of big_vision's `configs/proj/distill`; 183 keeps
# the proportion of 256 to 224 for a file whose evaluation is not published. The teacher
# of 384 ("rc384" there) was fine-tuned as BiT is, and so evaluates without a crop.
DISTILLED = {
    "R50x1_160": ("r50x1_160", 1000, 160, 183, "ILSVRC-2012"),
    "R50x1_224": ("r50x1_224", 1000, 224, 256, "ILSVRC-2012"),
    "R152x2_T_224": ("r152x2_teacher_224", 1000, 224, 256, "ILSVRC-2012"),
    "R152x2_T_384": ("r152x2_teacher_384", 1000, 384, None, "ILSVRC-2012"),
    "R152x2_T_flowers128": ("r152x2_teacher_flowers128", 102, 128, 160, "Flowers102"),
    "R152x2_T_pet128": ("r152x2_teacher_pet128", 37, 128, 160, "Oxford-IIIT Pet"),
    "R152x2_T_food128": ("r152x2_teacher_food128", 101, 128, 160, "Food-101"),
    "R152x2_T_sun128": ("r152x2_teacher_sun128", 397, 128, 160, "SUN397"),
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published network: where its weights are, and what it takes.

    Args:
        name: Name in this package, such as `"bit_m_r50x1"`.
        published_name: Name of its file without the suffix, such as `"BiT-M-R50x1"`.
        architecture: `Architecture`, with its number of classes.
        image_size: Height and width in pixels of the images in evaluation.
        source: Training data and publication, in one line.
        crop_from: Length in pixels that the shorter side is resized to before the
            central crop of `image_size`, or `None` to resize straight to the square.
        url: Address of the `.npz`, or `None`.
        h5_url: Address of the same weights as TF2 `.h5`, or `None`.
        asset: Name of a weight file that comes with the package, or `None`.
        sha256: Hexadecimal SHA-256 of that file, or `None`.
        label_map: What names the classes, a key of `LABEL_MAPS`, or `None`.
        value_range: Range of the pixel values.
        licence: Licence of the weights.

    Every network takes images that were resized bilinearly (timm resizes bicubically
    for the distilled ones).
    """

    name: str
    published_name: str
    architecture: Architecture
    image_size: int
    source: str
    crop_from: int | None = None
    url: str | None = None
    h5_url: str | None = None
    asset: str | None = None
    sha256: str | None = None
    label_map: str | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    licence: str = "Apache-2.0"

    @property
    def resize(self):
        """How images get their size: `"squash"` or `"central_crop"`."""
        return "squash" if self.crop_from is None else "central_crop"

    @property
    def class_names(self):
        """The name of each class, or `None` where this package does not know them."""
        return LABEL_MAPS[self.label_map]().class_names if self.label_map else None

    @property
    def num_parameters(self):
        """Number of trained values, the head included."""
        return self.architecture.num_parameters

    @property
    def gflops(self):
        """Billions of floating point operations for one image of `image_size`.

        Those of the convolutions and the head; a multiplication and its addition are
        two. Figures that count the normalization too, as timm's GMACs do, are 1 to 4 %
        above half of this one.
        """
        return 2e-9 * self.architecture.multiply_adds(self.image_size, self.image_size)

    @property
    def has_weights(self):
        """Whether there are weights, in the package or to download."""
        return self.url is not None or self._bundled is not None

    @property
    def _bundled(self):
        """Path of the weight file in the package, or `None` if it is not there."""
        path = self.asset and ASSETS / self.asset
        return path if path and path.is_file() else None

    def to_dict(self):
        """Returns all that is known, in JSON's types."""
        return {
            "name": self.name,
            "published_name": self.published_name,
            "architecture": self.architecture.name,
            "num_classes": self.architecture.num_classes,
            "label_map": self.label_map,
            "num_parameters": self.num_parameters,
            "image_size": self.image_size,
            "resize": self.resize,
            "crop_from": self.crop_from,
            "value_range": list(self.value_range),
            "gflops": self.gflops,
            "source": self.source,
            "licence": self.licence,
            "url": self.url,
            "h5_url": self.h5_url,
            "has_weights": self.has_weights,
        }

    def fetch(self, *, progress=True):
        """Returns the path of the weight file, downloaded once if it is not bundled.

        Args:
            progress: Whether to show a progress bar on standard error.

        Returns:
            A `pathlib.Path`.

        Raises:
            InputError: If there are no weights, or the cached file is damaged.
            RunError: If the download fails; says where to put the file by hand.

        Example:

        >>> get_preset("bit_m_r50x1").fetch()
        PosixPath('/home/me/.keras/bit_keras/bit_models/BiT-M-R50x1.npz')
        """
        if self._bundled:
            return self._bundled
        if self.url is None:
            raise InputError(
                f"{self.name} has no published weights: give a file of your own as "
                "`weights=`, or `weights=None` for random ones, or another preset, "
                "such as bit_m_r50x1."
            )
        return fetch(self.url, progress=progress)


def list_presets(pattern="*"):
    """Returns the names of all presets that match a pattern.

    Args:
        pattern: Shell pattern with `*`, `?` and `[...]`, for the names of this package
            or the published ones; upper and lower case are the same.

    Returns:
        A list of strings.

    Example:

    >>> list_presets("bit_m_r50x?")
    ['bit_m_r50x1', 'bit_m_r50x3']
    """
    return [
        preset.name
        for preset in PRESETS.values()
        if any(
            fnmatch.fnmatchcase(name.lower(), pattern.lower())
            for name in (preset.name, preset.published_name)
        )
    ]


def get_preset(name):
    """Returns the preset of a name.

    Args:
        name: The name in this package or the published one, with or without the
            suffix of its file, in any case, with hyphens or underscores.

    Returns:
        A `Preset`.

    Raises:
        InputError: If there is no such preset; names the most similar ones.

    Example:

    >>> get_preset("BiT-M-R50x1.npz").name
    'bit_m_r50x1'
    """
    key = _key(str(name))
    if key not in _BY_KEY:
        raise InputError(
            f"`name` must be a preset, such as {' or '.join(_similar(key))} "
            f"(`bit-keras presets` lists them all). Received: {name!r}"
        )
    return _BY_KEY[key]


def _similar(key):
    """Returns up to three names of presets that are spelled alike."""
    # Twice as many, for a preset may be found by both of its names.
    matches = difflib.get_close_matches(key, _BY_KEY, n=6) or ["bit_m_r50x1"]
    return list(dict.fromkeys(_BY_KEY[match].name for match in matches))[:3]


def _key(name):
    """Returns what is the same in all spellings of a name."""
    key = name.lower().replace("-", "_")
    return key.removesuffix(".npz").removesuffix(".h5")


def _architecture(name, num_classes):
    return Architecture.from_depth(*ARCHITECTURES[name], num_classes)


def _upstream(letter):
    """Yields the networks as pre-trained; the L ones were never published."""
    num_classes, data, label_map = UPSTREAM[letter]
    public = letter != "L"
    for name in ARCHITECTURES:
        published_name = f"BiT-{letter}-{name}"
        url = f"{BASE_URL}/{published_name}"
        yield Preset(
            name=_key(published_name),
            published_name=published_name,
            architecture=_architecture(name, num_classes),
            image_size=224,
            crop_from=256,
            url=f"{url}.npz" if public else None,
            h5_url=f"{url}.h5" if public and name != "R152x2" else None,
            source=f"Trained on {data}; {BIT_PAPER}"
            + ("" if public else "; the weights are not public"),
            label_map=label_map,
        )


def _fine_tuned_on_imagenet():
    for name in ARCHITECTURES:
        published_name = f"BiT-M-{name}-ILSVRC2012"
        yield Preset(
            name=_key(published_name),
            published_name=published_name,
            architecture=_architecture(name, 1000),
            image_size=480,
            url=f"{BASE_URL}/{published_name}.npz",
            source=f"Trained on ImageNet-21k, fine-tuned on ILSVRC-2012; {BIT_PAPER}",
            label_map="imagenet2012",
        )


def _fine_tuned_on_vtab():
    """Yields three runs of each task for every architecture of the paper."""
    for name in ARCHITECTURES:
        if name == "R152x2":
            continue
        for task, (num_classes, image_size) in VTAB.items():
            for run in range(3):
                published_name = f"BiT-M-{name}-run{run}-{task}"
                yield Preset(
                    name=_key(f"BiT-M-{name}-VTAB-{task}-run{run}"),
                    published_name=published_name,
                    architecture=_architecture(name, num_classes),
                    image_size=image_size,
                    url=f"{BASE_URL}/vtab/{published_name}.npz",
                    source=f"Trained on ImageNet-21k, fine-tuned on 1,000 examples of "
                    f"{task} (VTAB-1k, run {run}); {BIT_PAPER}",
                )


def _distilled():
    """Yields the students and their teachers."""
    for stem, (name, num_classes, image_size, crop_from, data) in DISTILLED.items():
        if "_T_" in stem:
            training = f"Trained on ImageNet-21k, fine-tuned on {data} to be a teacher"
        else:
            training = f"Distilled on {data} from BiT-M-R152x2"
        yield Preset(
            name=f"bit_distill_{name}",
            published_name=stem,
            architecture=_architecture(stem.partition("_")[0], num_classes),
            image_size=image_size,
            crop_from=crop_from,
            url=f"{BASE_URL}/distill/{stem}.npz",
            source=f"{training}; {DISTILLATION_PAPER}",
            label_map="imagenet2012" if data == "ILSVRC-2012" else None,
        )


def _small():
    """Yields the small network that comes with the package."""
    yield Preset(
        name="bit_t_r26x05",
        published_name="bit_t_r26x05",
        architecture=Architecture.from_depth(26, 0.5, 310),
        image_size=64,
        asset="bit_t_r26x05.npz",
        sha256="3612f44d62c44906588a68bd5c44925155f29b4213f91e966484fc0c673ec18b",
        source="Trained on the photos of CIFAR-10 and drawings of 300 classes of "
        "Quick, Draw!; of this package alone",
        label_map="cifar10_quickdraw300",
    )


PRESETS = {
    preset.name: preset
    for presets in (
        _upstream("S"),
        _upstream("M"),
        _fine_tuned_on_imagenet(),
        _fine_tuned_on_vtab(),
        _distilled(),
        _upstream("L"),
        _small(),
    )
    for preset in presets
}
"""Every preset by name.

Addresses, architectures and tasks: README of google-research/big_transfer, and
`configs/proj/distill/common.py` of google-research/big_vision for the teachers. Numbers
of classes: google-research/task_adaptation for VTAB; section 3.1 of the paper for
JFT-300M. Image sizes: `bit_hyperrule.py` of big_transfer for what was fine-tuned with
the HyperRule; `configs/bit_i21k.py` of big_vision for the crop of what was pre-trained.
"""

_BY_KEY = {
    _key(name): preset
    for preset in PRESETS.values()
    for name in (preset.name, preset.published_name)
}
