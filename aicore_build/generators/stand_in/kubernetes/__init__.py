"""Stands in for the package `kubernetes` while the generator runs; loads it when it is used.

The generator only asks whether `kubernetes` can be imported, which takes half of its time. This
folder is put before all others on PYTHONPATH, in the flow's own Python, which may be 3.9.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

_HERE = str(Path(__file__).parents[1])
_real = PathFinder.find_spec("kubernetes", [folder for folder in sys.path if folder != _HERE])
if _real is None or _real.submodule_search_locations is None:
    raise ModuleNotFoundError("No module named 'kubernetes'", name="kubernetes")

# Submodules are the real ones.
__path__ = list(_real.submodule_search_locations)


def __getattr__(name: str) -> ModuleType:
    """A submodule, read when something in it is asked for."""
    spec = None if name.startswith("__") else importlib.util.find_spec(f"kubernetes.{name}")
    if spec is None or spec.loader is None:
        raise AttributeError(f"module 'kubernetes' has no attribute {name!r}")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    globals()[name] = module
    return module
