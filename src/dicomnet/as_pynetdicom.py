"""Programs that are written for pynetdicom, run on this package without an edit.

In a program ``dicomnet.install_as_pynetdicom()``; from outside ``python -m dicomnet.as_pynetdicom SCRIPT [ARG]...``.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

_NAME, _OURS = "pynetdicom", "dicomnet.pynetdicom"
# What programs run rather than import lies elsewhere: the tools, and what `python -m pynetdicom` starts.
_ELSEWHERE = {"apps": "dicomnet.apps", "__main__": "dicomnet.__main__"}

_USAGE = "usage: python -m dicomnet.as_pynetdicom (SCRIPT | -m MODULE) [ARG]..."


def install_as_pynetdicom() -> None:
    """Make ``import pynetdicom`` find `dicomnet.pynetdicom`, and ``import pynetdicom.X`` its module X.

    The logger ``pynetdicom`` governs from now on what this package logs. Called again, it does nothing.

    Raises
    ------
    RuntimeError
        If pynetdicom itself has been imported already.
    """
    package = import_module(_OURS)
    if sys.modules.setdefault(_NAME, package) is not package:
        raise RuntimeError(
            "pynetdicom itself has been imported already; call install_as_pynetdicom() before anything imports it"
        )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    logger = logging.getLogger("dicomnet")
    logger.parent = logging.getLogger(_NAME)
    if not logger.parent.handlers:
        # As there: a program that sets up no logging is told nothing.
        logger.parent.addHandler(logging.NullHandler())
    # What loggers remember of the levels above them is forgotten when a level is set.
    logger.setLevel(logger.level)


class _Finder(MetaPathFinder):
    """Finds ``pynetdicom.X``; no other finder may, since it would load our modules a second time."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top != _NAME:
            return None
        first, dot, further = rest.partition(".")
        ours = _ELSEWHERE.get(first, f"{_OURS}.{first}") + dot + further
        spec = find_spec(ours)
        if spec is None:
            raise ModuleNotFoundError(f"dicomnet has no module like {fullname}", name=fullname)
        is_package = spec.submodule_search_locations is not None
        return ModuleSpec(fullname, _Loader(ours), origin=spec.origin, is_package=is_package)


class _Loader(Loader):
    """Gives one of our modules."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has run already, and is to remain what it is.
        module.__spec__ = self._spec

    def get_code(self, fullname: str) -> CodeType | None:
        """For ``python -m``."""
        spec = find_spec(self._name)
        code: CodeType | None = spec.loader.get_code(self._name) if spec and spec.loader else None  # type: ignore[attr-defined]
        return code


def main() -> int:
    """Run a script or a module, as ``python`` would with the same arguments."""
    words = sys.argv[1:]
    if words[:1] in (["-h"], ["--help"]):
        print(f"{_USAGE}\n\nRun a program that is written for pynetdicom on dicomnet.")
        return 0
    is_module = words[:1] == ["-m"]
    if len(words) <= is_module:
        print(_USAGE, file=sys.stderr)
        return 2
    install_as_pynetdicom()
    sys.argv[:] = words[is_module:]
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return 0
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    # The module of this name and not a second one, whose finder would be another.
    from .as_pynetdicom import main as run

    sys.exit(run())
