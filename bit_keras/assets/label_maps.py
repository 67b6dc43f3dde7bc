"""Names of classes, in the order of the logits of networks that have weights."""

import collections
import dataclasses
import functools
import gzip
import pathlib

FOLDER = pathlib.Path(__file__).with_name("labels")


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """The classes of a set, in the order of the logits.

    Args:
        name: Name of the set.
        ids: What tells classes apart: WordNet ids, such as `"n01440764"`, or set and
            class, such as `"cifar10/cat"`.
        lemmas: The words of each class, such as `"tench, Tinca tinca"`.
    """

    name: str
    ids: tuple[str, ...]
    lemmas: tuple[str, ...]

    @functools.cached_property
    def class_names(self):
        """A name for each class that no other has, upper and lower case being one.

        The first word of the synset; all words where another begins with the same
        one; and these with the id where another has the same words.
        """
        firsts = [_first(words).casefold() for words in self.lemmas]
        by_first = collections.Counter(firsts)
        by_all = collections.Counter(words.casefold() for words in self.lemmas)

        def name(synset, words, first):
            if by_first[first] == 1:
                return _first(words)
            return words if by_all[words.casefold()] == 1 else f"{words} ({synset})"

        return tuple(map(name, self.ids, self.lemmas, firsts))

    @functools.cached_property
    def places(self):
        """{id: place of its class}."""
        return {name: place for place, name in enumerate(self.ids)}


def _first(words):
    return words.partition(", ")[0]


@functools.cache
def imagenet2012():
    """Returns the `LabelMap` of the 1,000 classes of ILSVRC-2012."""
    return _read("imagenet2012")


@functools.cache
def imagenet21k():
    """Returns the `LabelMap` of the 21,843 classes of BiT-M.

    They are those of the release of autumn 2011 and two without images, n03931044 and
    n09859684. Of ILSVRC-2012 they lack one: n04399382, teddy.

    Source: google-research/big_transfer, issues 7 and 18.
    """
    return _read("imagenet21k")


@functools.cache
def cifar10_quickdraw300():
    """Returns the `LabelMap` of the 310 classes of `bit_t_r26x05`.

    Those of CIFAR-10, and 300 of Quick, Draw! in the order of its set.
    """
    return _read("cifar10_quickdraw300")


LABEL_MAPS = {
    "imagenet2012": imagenet2012,
    "imagenet21k": imagenet21k,
    "cifar10_quickdraw300": cifar10_quickdraw300,
}
# Numbers of classes; reading the maps takes longer.
COUNTS = {"imagenet2012": 1000, "imagenet21k": 21843, "cifar10_quickdraw300": 310}
# What classes without names are taken for, by their number.
MAP_OF_COUNT = {COUNTS[name]: name for name in ("imagenet2012", "imagenet21k")}


def _read(name):
    text = gzip.decompress((FOLDER / f"{name}.tsv.gz").read_bytes()).decode()
    rows = (line.split("\t") for line in text.splitlines())
    return LabelMap(name, *zip(*rows, strict=True))


@functools.cache
def classes_of(name):
    """Returns the WordNet ids of the classes that a set has of ILSVRC-2012's.

    Args:
        name: `"imagenet_a"` or `"imagenet_r"`.
    """
    return tuple((FOLDER / f"{name}.txt").read_text(encoding="ascii").split())


@functools.cache
def objectnet():
    """Returns {folder of ObjectNet: WordNet ids} of what is in ILSVRC-2012 too.

    113 of ObjectNet's 313 classes, each one to three of ILSVRC-2012.
    """
    lines = (FOLDER / "objectnet.tsv").read_text(encoding="ascii").splitlines()
    rows = (line.split("\t") for line in lines)
    return {folder: tuple(ids.split()) for folder, ids in rows}


def find_label_map(class_names):
    """Returns the `LabelMap` that names are those of, or `None`.

    Args:
        class_names: The names of all classes, in their order: those of a `LabelMap`,
            or its ids.
    """
    class_names = tuple(class_names)
    for name, count in COUNTS.items():
        if count == len(class_names):
            label_map = LABEL_MAPS[name]()
            if class_names in (label_map.class_names, label_map.ids):
                return label_map
    return None


def are_same_classes(names, others):
    """Tells whether two lists name the same classes, in words or by WordNet ids."""
    names, others = tuple(names), tuple(others)
    if names == others:
        return True
    label_map = find_label_map(names)
    return label_map is not None and find_label_map(others) is label_map
