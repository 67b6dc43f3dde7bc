"""List the published models: parameters, GFLOPs, input size, source.

bit-keras presets ["bit_m_*"] [--json]
"""

import json

from bit_keras.cli.common import define_json_flag
from bit_keras.errors import InputError
from bit_keras.models.presets import get_preset, list_presets


def define_flags(values):
    """Defines the flags of this command."""
    define_json_flag(values)


def run(values, arguments):
    """Prints the presets that match the patterns, or all of them."""
    names = {}  # each once, in order
    for pattern in arguments or ["*"]:
        matching = list_presets(pattern)
        if not matching:
            raise InputError(
                f"No preset matches {pattern}; `bit-keras presets` lists all."
            )
        names |= dict.fromkeys(matching)
    presets = [get_preset(name) for name in names]
    if values.json:
        print(json.dumps([preset.to_dict() for preset in presets], indent=2))
        return
    print(f"{'name':44s} classes pixels M params  GFLOPs  source")
    for preset in presets:
        print(
            f"{preset.name:44s} {preset.architecture.num_classes:7d} "
            f"{preset.image_size:6d} {preset.num_parameters / 1e6:8.1f} "
            f"{preset.gflops:7.1f}  {preset.source}"
        )
