"""The rules of ARCHITECTURE.md."""

import ast
import pathlib
import subprocess
import sys

import pytest

import bit_keras

PACKAGE = pathlib.Path(bit_keras.__file__).parent
# What anything may import.
LEAVES = {"compile_cache", "errors", "files", "progress", "published", "versions"}
MODELLING = {"layers", "checkpoints", "models"}
FEEDING = {"recipes", "assets", "data"}
MAY_IMPORT = {
    "compile_cache": set(),
    "errors": set(),
    "files": set(),
    "progress": set(),
    "published": set(),
    "versions": set(),
    "assets": set(),
    "layers": set(),
    "checkpoints": set(),
    "recipes": set(),
    "models": {"layers", "checkpoints", "assets"},
    "data": {"recipes", "assets"},
    "training": MODELLING | FEEDING,
    "evaluation": MODELLING | FEEDING,
    "export": MODELLING | FEEDING,
    "workflows": MODELLING | FEEDING | {"training", "evaluation", "export"},
}
HEAVY = ("tensorflow_datasets", "tensorflow_hub", "matplotlib", "safetensors", "tqdm")


def modules():
    return [
        pytest.param(path, id=str(path.relative_to(PACKAGE)))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def imported(node):
    """Yields the full names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide the room"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules())
def test_rooms_import_only_the_rooms_before_them(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    everything = MAY_IMPORT.keys()
    allowed = {
        "__init__": everything,
        "__main__": {"cli"},
        "cli": everything | {"cli"},
    }.get(room) or MAY_IMPORT[room] | LEAVES | {room}
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            package, *inner = name.split(".")
            if package == "bit_keras":
                assert inner[0] in allowed, f"{room} imports {name}"


@pytest.mark.parametrize("path", modules())
def test_heavy_libraries_are_imported_where_they_are_used(path):
    for node in ast.parse(path.read_text()).body:
        for name in imported(node):
            assert not name.startswith(HEAVY), f"{name} at the top of the module"


def test_importing_the_package_loads_no_heavy_library():
    program = f"""
import sys, keras
before = set(sys.modules)  # Keras itself brings matplotlib
import bit_keras
print([m for m in {HEAVY} if m in set(sys.modules) - before])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_all_there_and_documented():
    assert sorted(bit_keras.__all__) == bit_keras.__all__
    for name in bit_keras.__all__:
        public = getattr(bit_keras, name)
        assert len(public.__doc__.strip().splitlines()[0]) > 20, name


@pytest.mark.parametrize("path", modules())
def test_everything_public_is_documented(path):
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    exempt = {"build", "call", "compute_output_shape", "get_config", "from_config"}

    def check(node, name):
        is_keras_method = name.startswith("on_") or name in exempt
        if isinstance(node, documented) and not name.startswith("_"):
            assert ast.get_docstring(node) or is_keras_method, name
        if isinstance(node, ast.Module | ast.ClassDef):
            for child in node.body:
                check(child, getattr(child, "name", "_"))

    check(tree, path.stem if path.stem.startswith("__") else path.name)
    assert ast.get_docstring(tree), "a module says what it is for"
