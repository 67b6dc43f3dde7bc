"""The table of published files against the facts that were published with them."""

import ast
import collections
import pathlib
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.errors import InputError
from bit_keras.models import presets
from bit_keras.models.presets import PRESETS, get_preset, list_presets

BUCKET = "https://storage.googleapis.com/bit_models"

# Parameters of the backbone, with 1000 and with 21843 classes.
PARAMETERS = {
    "r50x1": (23_500_352, 25_549_352, 68_256_659),
    "r50x3": (211_174_080, 217_319_080, 345_399_315),
    "r101x1": (42_492_480, 44_541_480, 87_248_787),
    "r101x3": (381_789_888, 387_934_888, 516_015_123),
    "r152x2": (232_238_208, 236_335_208, 321_728_979),
    "r152x4": (928_340_224, 936_533_224, 1_107_299_923),
}

# GMACs at 224 with 1000 classes, from timm's benchmark of inference.
TIMM_GMACS = {
    "r50x1": 4.23,
    "r50x3": 37.06,
    "r101x1": 8.04,
    "r101x3": 71.23,
    "r152x2": 46.95,
    "r152x4": 186.9,
}

# Classes and image size, after the order of the README's pattern.
VTAB = {
    "caltech101": (102, 480),
    "diabetic_retinopathy": (5, 480),
    "dtd": (47, 480),
    "oxford_flowers102": (102, 480),
    "oxford_iiit_pet": (37, 480),
    "resisc45": (45, 480),
    "sun397": (397, 480),
    "cifar100": (100, 128),
    "eurosat": (10, 128),
    "patch_camelyon": (2, 480),
    "smallnorb-elevation": (9, 480),
    "svhn": (10, 128),
    "dsprites-orientation": (16, 128),
    "smallnorb-azimuth": (18, 480),
    "clevr-distance": (6, 480),
    "clevr-count": (8, 480),
    "dmlab": (6, 480),
    "kitti-distance": (4, 480),
    "dsprites-xpos": (16, 128),
}

DISTILLED = {
    "R50x1_160": ("bit_distill_r50x1_160", "R50x1", 1000, 160),
    "R50x1_224": ("bit_distill_r50x1_224", "R50x1", 1000, 224),
    "R152x2_T_224": ("bit_distill_r152x2_teacher_224", "R152x2", 1000, 224),
    "R152x2_T_384": ("bit_distill_r152x2_teacher_384", "R152x2", 1000, 384),
    "R152x2_T_flowers128": (
        "bit_distill_r152x2_teacher_flowers128",
        "R152x2",
        102,
        128,
    ),
    "R152x2_T_pet128": ("bit_distill_r152x2_teacher_pet128", "R152x2", 37, 128),
    "R152x2_T_food128": ("bit_distill_r152x2_teacher_food128", "R152x2", 101, 128),
    "R152x2_T_sun128": ("bit_distill_r152x2_teacher_sun128", "R152x2", 397, 128),
}


def test_every_published_file_has_one_row():
    upstream = [f"BiT-{s}-{a.upper()[0]}{a[1:]}" for s in "SM" for a in PARAMETERS]
    imagenet = [f"{name}-ILSVRC2012" for name in upstream if "-M-" in name]
    vtab = [
        f"BiT-M-{architecture}-run{run}-{task}"
        for architecture in ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
        for run in (0, 1, 2)
        for task in VTAB
    ]
    assert (len(upstream), len(imagenet), len(vtab)) == (12, 6, 285)
    addresses = (
        [f"{BUCKET}/{name}.npz" for name in upstream + imagenet]
        + [f"{BUCKET}/vtab/{name}.npz" for name in vtab]
        + [f"{BUCKET}/distill/{name}.npz" for name in DISTILLED]
    )
    rows = collections.Counter(preset.url for preset in PRESETS.values())
    assert rows.pop(None) == 7  # The six BiT-L and the bundled one.
    assert rows == collections.Counter(addresses)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_upstream_networks(name):
    _, small, medium = PARAMETERS[name]
    assert get_preset(f"bit_s_{name}").num_parameters == small
    assert get_preset(f"bit_m_{name}").num_parameters == medium
    assert get_preset(f"bit_m_{name}_ilsvrc2012").num_parameters == small


@pytest.mark.parametrize("name", PARAMETERS)
def test_unpublished_upstream_networks(name):
    preset = get_preset(f"BiT-L-{name}")
    features = 2048 * int(name[-1])
    assert preset.num_parameters == PARAMETERS[name][0] + (features + 1) * 18291
    assert not preset.has_weights
    assert "not public" in preset.source
    with pytest.raises(InputError, match=f"bit_l_{name} has no published weights"):
        preset.fetch()


@pytest.mark.parametrize("name", TIMM_GMACS)
def test_gflops_are_twice_the_multiplications(name):
    # timm counts the normalization too, so its figures are a little higher.
    ratio = get_preset(f"bit_s_{name}").gflops / (2 * TIMM_GMACS[name])
    assert 0.96 < ratio < 1


def test_gflops_are_those_at_the_image_size():
    assert get_preset("bit_m_r152x4_ilsvrc2012").gflops == pytest.approx(
        2 * 844.84, rel=0.04
    )
    assert get_preset("R152x2_T_384").gflops == pytest.approx(2 * 136.16, rel=0.04)


def test_h5_files_are_those_of_upstream_networks_but_r152x2():
    addresses = {name: p.h5_url for name, p in PRESETS.items() if p.h5_url}
    assert len(addresses) == 10
    assert not any("r152x2" in name for name in addresses)
    assert addresses["bit_m_r101x3"] == f"{BUCKET}/BiT-M-R101x3.h5"


@pytest.mark.parametrize("task", VTAB)
def test_vtab_rows(task):
    name = f"bit_m_r101x1_vtab_{task.replace('-', '_')}_run2"
    preset = get_preset(name)
    assert preset.name == name
    assert preset.published_name == f"BiT-M-R101x1-run2-{task}"
    assert preset.architecture.name == "R101x1"
    assert (preset.architecture.num_classes, preset.image_size) == VTAB[task]
    assert preset.resize == "squash"


@pytest.mark.parametrize("stem", DISTILLED)
def test_distilled_rows(stem):
    name, architecture, num_classes, image_size = DISTILLED[stem]
    preset = get_preset(stem)
    assert preset.name == name
    assert preset.architecture.name == architecture
    assert preset.architecture.num_classes == num_classes
    assert preset.image_size == image_size


@pytest.mark.parametrize(
    ("name", "image_size", "resize", "crop_from"),
    [
        ("bit_s_r50x1", 224, "central_crop", 256),
        ("bit_m_r152x4", 224, "central_crop", 256),
        ("bit_m_r50x1_ilsvrc2012", 480, "squash", None),
        ("R50x1_160", 160, "central_crop", 183),
        ("R50x1_224", 224, "central_crop", 256),
        ("R152x2_T_384", 384, "squash", None),
        ("R152x2_T_pet128", 128, "central_crop", 160),
    ],
)
def test_how_images_get_their_size(name, image_size, resize, crop_from):
    preset = get_preset(name)
    assert (preset.image_size, preset.resize, preset.crop_from) == (
        image_size,
        resize,
        crop_from,
    )


def test_what_every_row_says():
    for name, preset in PRESETS.items():
        assert re.fullmatch(r"bit_[a-z0-9_]+", name)
        assert preset.name == name
        assert preset.value_range == (-1, 1)
        assert preset.licence == "Apache-2.0"
        assert preset.source and "\n" not in preset.source


def test_bundled_preset(tmp_path, monkeypatch):
    preset = get_preset("bit_t_r26x05")
    assert preset.architecture.units == (2, 2, 2, 2)
    assert preset.architecture.width == 0.5
    monkeypatch.setattr(presets, "ASSETS", tmp_path)
    assert not preset.has_weights
    with pytest.raises(InputError, match="bit_t_r26x05 has no published weights"):
        preset.fetch()
    path = tmp_path / "bit_t_r26x05.npz"
    path.touch()
    assert preset.has_weights
    assert preset.fetch() == path


def test_weights_are_fetched_from_their_address(monkeypatch):
    calls = []
    monkeypatch.setattr(presets, "fetch", lambda *a, **k: calls.append((a, k)))
    get_preset("bit_m_r50x1").fetch(progress=False)
    assert calls == [((f"{BUCKET}/BiT-M-R50x1.npz",), {"progress": False})]


def test_no_two_rows_share_a_name():
    spellings = [
        {presets._key(preset.name), presets._key(preset.published_name)}
        for preset in PRESETS.values()
    ]
    assert len(set.union(*spellings)) == sum(map(len, spellings))
    assert len(PRESETS) == len(spellings) == 12 + 6 + 285 + 8 + 6 + 1


@settings(max_examples=100, deadline=None)
@given(
    preset=st.sampled_from(list(PRESETS.values())),
    published=st.booleans(),
    suffix=st.sampled_from(["", ".npz", ".h5"]),
    separator=st.sampled_from(["-", "_", None]),
    change_case=st.sampled_from([str, str.upper, str.lower, str.swapcase]),
)
def test_every_spelling_is_known(preset, published, suffix, separator, change_case):
    name = preset.published_name if published else preset.name
    if separator:
        name = re.sub("[-_]", separator, name)
    assert get_preset(change_case(name + suffix)) is preset


@pytest.mark.parametrize("name", ["bit_m_r50x2", "BiT-M-R50x1-ILSVRC", "", "?", None])
def test_unknown_name(name):
    with pytest.raises(InputError, match="`bit-keras presets`") as raised:
        get_preset(name)
    message = str(raised.value)
    assert message.endswith(f"Received: {name!r}")
    proposed = re.search(r"such as (.*) \(", message)[1].split(" or ")
    assert 1 <= len(proposed) <= 3
    assert len(set(proposed)) == len(proposed)
    assert set(proposed) <= PRESETS.keys()


def test_a_slip_is_answered_with_the_name_that_was_meant():
    with pytest.raises(InputError, match=r"such as bit_m_r50x1_ilsvrc2012 or"):
        get_preset("BiT-M-R50x1-ILSRVC2012")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", 318),
        ("bit_s_*", 6),
        ("BIT-S-*", 6),
        ("*ilsvrc2012", 6),
        ("*_vtab_*", 285),
        ("BiT-M-R50x1-run0-*", 19),
        ("bit_distill_*", 8),
        ("R152x2_T_*", 6),
        ("bit_l_*", 6),
        ("bit_m_r50x1", 1),
        ("nothing", 0),
    ],
)
def test_list_presets(pattern, count):
    names = list_presets(pattern)
    assert len(names) == count
    assert set(names) <= PRESETS.keys()


def test_import_is_light():
    tree = ast.parse(pathlib.Path(presets.__file__).read_text())
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {
        "bit_keras.assets.label_maps",
        "bit_keras.checkpoints.fetch",
        "bit_keras.checkpoints.names",
        "bit_keras.errors",
    }
