"""Importing: every submodule can be, in any order, and none takes the place of a function."""

import random
import subprocess
import sys
from pkgutil import walk_packages

import cipherlens

MODULES = sorted(module.name for module in walk_packages(cipherlens.__path__, "cipherlens."))
FUNCTIONS = ("attack", "audit", "create_cipher", "create_model", "export", "fold", "lock", "run_attack", "train")
"""Of the top level: some are there, the others are promised, and no package may have their names."""


def test_submodules_shadow_no_function() -> None:
    names = random.Random(0).sample(MODULES, len(MODULES))
    script = (
        "import importlib, types, cipherlens as cl\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"for name in {FUNCTIONS}:\n"
        "    value = getattr(cl, name, None)\n"
        "    assert not isinstance(value, types.ModuleType), name\n"
        "    assert value is None or callable(value), name\n"
        "modules = {name for name in cl.__all__ if isinstance(getattr(cl, name), types.ModuleType)}\n"
        "assert not modules, modules\n"
        "assert cl.testing.check_cipher and cl.transforms.Encrypt\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_no_module_has_the_name_of_a_function() -> None:
    assert len(MODULES) > 200
    assert not {f"cipherlens.{name}" for name in FUNCTIONS} & set(MODULES)
