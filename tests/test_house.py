"""The house rule: imports go strictly downward, the lower floors do no I/O, and start-up stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from pathlib import Path

import pytest
from tests.grids import grid

PACKAGE = "dicomnet"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

# Each room with its floor. Imports go down, or stay inside a room; rooms on one floor do not see each other.
FLOORS: dict[str, float] = {
    "errors": 0,
    "values": 0,
    "plurals": 0,
    "_version": 0,
    "_config": 0,
    "wire": 1,
    "encoding": 1,
    "upper_layer": 2,
    "dimse": 3,
    "services": 4,
    "drivers": 5,
    "drivers.blocking": 5.5,
    "drivers.aio": 5.5,
    "datasets": 6,
    "rendering": 6.5,
    "exchange": 7,
    "settings": 7.2,
    "dicomweb": 7.4,
    "fetching": 7.5,
    "peers": 7.7,
    "blocking": 8,
    "aio": 8,
    "diagnosing": 8.5,
    "pynetdicom": 9,
    "archive": 10,
    "cli": 11,
    "apps": 12,
    "__main__": 13,
    "as_pynetdicom": 13,
}
ROOT = 14  # names only: what `import dicomnet` offers
# Arrows that may go up, each with its reason.
EXCEPTIONS: dict[tuple[str, str], str] = {}
HIGHEST_WITHOUT_IO = 4
HIGHEST_WITHOUT_PYDICOM = 5.5
IO = frozenset(
    [
        "socket",
        "ssl",
        "select",
        "selectors",
        "asyncio",
        "threading",
        "queue",
        "time",
        "concurrent",
        "multiprocessing",
        "mmap",
    ]
)


def room(module: str) -> str:
    """The room that a module is in by its dotted name, empty for the root itself."""
    name = module.removeprefix(PACKAGE).removeprefix(".")
    while name not in FLOORS and name:
        name = name.rpartition(".")[0]
    return name


def floor(module: str) -> float:
    """The floor of a module by its dotted name."""
    return FLOORS.get(room(module), ROOT)


class When(Enum):
    AT_START = auto()
    WHEN_CALLED = auto()
    FOR_TYPES = auto()


class _Imports(ast.NodeVisitor):
    """Each import with its line and when it takes place; only TYPE_CHECKING is known among conditions."""

    def __init__(self, module: str, is_package: bool, modules: frozenset[str]) -> None:
        self._base = module.split(".") if is_package else module.split(".")[:-1]
        self._modules = modules
        self._when = When.AT_START
        self.found: list[tuple[int, str, When]] = []
        self.opens: list[int] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.found.append((node.lineno, alias.name, self._when))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._base[: len(self._base) - node.level + 1] if node.level else []
        source = ".".join([*base, *(node.module.split(".") if node.module else [])])
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            self.found.append((node.lineno, inner if inner in self._modules else source, self._when))

    def _visit_at(self, when: When, nodes: Iterable[ast.AST]) -> None:
        before, self._when = self._when, when
        for node in nodes:
            self.visit(node)
        self._when = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._visit_at(When.WHEN_CALLED, ast.iter_child_nodes(node))

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        is_for_types = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        self._visit_at(When.FOR_TYPES if is_for_types else self._when, node.body)
        self._visit_at(self._when, [node.test, *node.orelse])

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func
        if (isinstance(name, ast.Name) and name.id == "open") or (
            isinstance(name, ast.Attribute) and name.attr == "open"
        ):
            self.opens.append(node.lineno)
        self.generic_visit(node)


def violations(
    module: str, source: str, modules: frozenset[str], *, is_package: bool = False
) -> Iterator[str]:
    """What a file does against the house rule, a sentence each.

    Parameters
    ----------
    module
        Its dotted name.
    source
        Its text.
    modules
        The dotted names of all modules, to tell ``from . import module`` from ``from . import name``.
    is_package
        Whether it is an ``__init__.py``.
    """
    imports = _Imports(module, is_package, modules)
    imports.visit(ast.parse(source))
    here = floor(module)
    for line, name, when in imports.found:
        top = name.split(".")[0]
        if top == PACKAGE:
            there = floor(name)
            arrow = module.removeprefix(f"{PACKAGE}."), name.removeprefix(PACKAGE).removeprefix(".")
            if room(module) != room(name) and there >= max(here, 1) and arrow not in EXCEPTIONS:
                yield f"{module}:{line} (floor {here}) imports {name} (floor {there})"
            if module == PACKAGE and there > 0 and when is When.AT_START:
                yield f"{module}:{line} imports {name} before anybody asked for it"
        elif top in IO and here <= HIGHEST_WITHOUT_IO:
            yield f"{module}:{line} (floor {here}) does I/O: imports {name}"
        elif top == "pydicom" and here <= HIGHEST_WITHOUT_PYDICOM:
            yield f"{module}:{line} (floor {here}) imports {name}"
    if here <= HIGHEST_WITHOUT_IO:
        yield from (f"{module}:{line} (floor {here}) opens a file" for line in imports.opens)


def files() -> dict[str, Path]:
    """All modules of the package by dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join((PACKAGE, *(part for part in parts if part != "__init__")))] = path
    return found


FILES = files()
MODULES = frozenset(FILES)


@grid("module", FILES)
def test_file_keeps_the_house_rule(module: str) -> None:
    path = FILES[module]
    found = violations(module, path.read_text(), MODULES, is_package=path.name == "__init__.py")
    assert list(found) == []


def test_every_module_has_a_room() -> None:
    """The root holds names: a module that lies there is in the list, and so is every folder."""
    at_the_root = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir()}
    assert at_the_root - {"__init__", "__pycache__", "py"} == {name for name in FLOORS if "." not in name}


def arrows(name: str, path: Path) -> set[str]:
    """The modules of the package that one imports, late and for types too."""
    imports = _Imports(name, path.name == "__init__.py", MODULES)
    imports.visit(ast.parse(path.read_text()))
    return {found for _, found, _ in imports.found if found in MODULES} - {name}


def circles(graph: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    found: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> Iterator[frozenset[str]]:
        found[module] = lowest[module] = len(found)
        path.append(module)
        for other in graph[module]:
            if other not in found:
                yield from visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], found[other])
        if lowest[module] == found[module]:
            group = path[path.index(module) :]
            del path[path.index(module) :]
            if len(group) > 1:
                yield frozenset(group)

    for module in graph:
        if module not in found:
            yield from visit(module)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: arrows(name, path) for name, path in FILES.items()}
    names = {frozenset(each.removeprefix(f"{PACKAGE}.") for each in group) for group in circles(graph)}
    assert names == set()


# The rooms of the web face, from the lowest up.
WEB_ROOMS = ("http", "access", "dicomweb", "page")


def test_the_rooms_of_the_web_face_see_only_lower_ones() -> None:
    base = f"{PACKAGE}.archive.web."

    def height(module: str) -> int:
        name = module.removeprefix(base).split(".")[0] if module.startswith(base) else ""
        return WEB_ROOMS.index(name) if name in WEB_ROOMS else -1

    seen = {
        (name, other) for name, path in FILES.items() for other in arrows(name, path) if height(name) >= 0
    }
    assert {height(name) for name, _ in seen} == set(range(len(WEB_ROOMS)))
    assert {pair for pair in seen if height(pair[1]) > height(pair[0])} == set()


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set[str](), "e": {"a"}}
    assert list(circles(graph)) == [frozenset({"b", "c"})]


def test_every_exception_is_needed() -> None:
    for module, other in EXCEPTIONS:
        name = f"{PACKAGE}.{module}"
        assert f"{PACKAGE}.{other}".rstrip(".") in arrows(name, FILES[name]), (module, other)


# Module, source, and how many violations are planted.
PLANTED: dict[str, tuple[str, str, int]] = {
    "up by name": ("wire.pdu", "import dicomnet.upper_layer.table", 1),
    "up by from": ("wire.pdu", "from dicomnet.dimse.codec import encode", 1),
    "up, relative": ("wire.pdu", "from ..upper_layer import machine", 1),
    "up, relative, to a package": ("upper_layer.machine", "from .. import dimse", 1),
    "up to the face": ("drivers.blocking.link", "from ...pynetdicom.events import Event", 1),
    "up to the root itself": ("drivers.blocking.link", "from ... import AE", 1),
    "up in TYPE_CHECKING": (
        "dimse.codec",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..services import registry",
        1,
    ),
    "up in a function": ("dimse.codec", "def f():\n    from ..services import registry", 1),
    "up in a method, among others": (
        "errors",
        "import os\nclass A:\n    async def f(self):\n        import dicomnet.wire.pdu, dicomnet._version",
        1,
    ),
    "up between the commands": (
        "cli.main",
        "def f():\n    from dicomnet.apps import echoscu",
        1,
    ),
    "cli by the archive": ("archive.node", "from ..cli import main", 1),
    "cli by the archive in TYPE_CHECKING": (
        "archive.node",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..cli import main",
        1,
    ),
    "archive by the face": ("pynetdicom.ae", "def f():\n    from ..archive import node", 1),
    "cli by the face": ("blocking.peer", "from ..cli import main", 1),
    "one driver by the other": ("drivers.aio.link", "from ..blocking.link import Link", 1),
    "the other driver by the one": ("drivers.blocking.link", "def f():\n    from ..aio import link", 1),
    "a driver by what both share": ("drivers.connection", "from .blocking import link", 1),
    "one face by the other": ("aio.peer", "from ..blocking.peer import Peer", 1),
    "wire by encoding": ("encoding.scan", "from ..wire.pdu import Abort", 1),
    "sockets on floor 1": ("wire.scanner", "import socket", 1),
    "clocks on floor 2": ("upper_layer.machine", "from time import monotonic", 1),
    "threads on floor 3": ("dimse.assembler", "import threading as t", 1),
    "asyncio on floor 4": ("services.user", "def f():\n    import asyncio", 1),
    "a part of concurrent": ("services.user", "from concurrent.futures import Executor", 1),
    "all kinds of I/O on floor 0": (
        "errors",
        "import ssl, select, selectors, queue\nimport multiprocessing.pool\nimport concurrent",
        6,
    ),
    "open": ("dimse.datasets", "def f(p):\n    return open(p)", 1),
    "open by another name": ("dimse.datasets", "import io\nf = io.open('x')\ng = Path('x').open()", 2),
    "pydicom on floor 5": ("drivers.aio.link", "import pydicom", 1),
    "pydicom on floor 3, lazily": ("dimse.datasets", "def f():\n    from pydicom.dataset import Dataset", 1),
    "pydicom for types": (
        "wire.items",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pydicom.uid import UID",
        1,
    ),
    "the root, eagerly": ("", "from .wire import pdu", 1),
    "the root, eagerly but for types": (
        "",
        (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from .blocking import peer\nelse:\n    from .blocking import peer"
        ),
        1,
    ),
    "the root itself from above": ("apps.echoscu", "from .. import AE", 1),
}

ALLOWED: dict[str, tuple[str, str]] = {
    "down": ("upper_layer.machine", "from ..errors import ProtocolError\nfrom ..wire.pdu import Abort"),
    "within a package": ("wire.pdu", "from .fields import item\nfrom dicomnet.wire import items"),
    "the package's own root": ("wire.pdu", "from . import items"),
    "version and settings from anywhere": ("wire.items", "from .. import _version, _config"),
    "the faces from cli": ("cli.main", "from ..blocking.peer import Peer\nfrom ..pynetdicom.ae import AE"),
    "everything below from the archive": (
        "archive.node",
        "from ..pynetdicom import ae\nfrom .. import drivers\nimport socket",
    ),
    "archive by cli": ("cli.serve", "from ..archive import node"),
    "what both drivers share": ("drivers.aio.link", "from ..connection import Connection"),
    "sockets on floor 5": ("drivers.blocking.link", "import socket, ssl, threading, time\nopen('x')"),
    "pydicom on floor 6": ("datasets.plain", "import pydicom"),
    "the root, lazily": (
        "",
        "from . import _version\ndef __getattr__(name):\n    from .blocking import peer",
    ),
    "the root, for types": ("", "import typing\nif typing.TYPE_CHECKING:\n    from .blocking import peer"),
    "modules whose name only begins so": ("wire.pdu", "import timeit\nimport selector_of_ours"),
}
SYNTHETIC = MODULES | {
    f"{PACKAGE}.{name}"
    for names in (
        "_config _version errors wire wire.items wire.pdu encoding encoding.scan upper_layer upper_layer.machine",
        "dimse dimse.codec services services.registry drivers drivers.connection drivers.blocking",
        "drivers.blocking.link drivers.aio drivers.aio.link datasets datasets.plain exchange blocking",
        "blocking.peer aio aio.peer pynetdicom pynetdicom.ae cli cli.main apps apps.echoscu archive archive.node",
    )
    for name in names.split()
}


def check(module: str, source: str) -> list[str]:
    return list(violations(f"{PACKAGE}.{module}".rstrip("."), source, SYNTHETIC, is_package=not module))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_caught(name: str) -> None:
    module, source, count = PLANTED[name]
    assert len(check(module, source)) == count


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_passes(name: str) -> None:
    module, source = ALLOWED[name]
    assert check(module, source) == []


def loaded_by(modules: Iterable[str]) -> set[str]:
    """The top-level names in ``sys.modules`` of a fresh interpreter after these imports."""
    code = "import sys\n" + "".join(f"import {module}\n" for module in modules)
    code += "print(*{name.partition('.')[0] for name, module in sys.modules.items() if module})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_protocol_core_starts_without_pydicom_and_without_sockets() -> None:
    """Reading imports cannot see what a name looked up late brings in, so this loads the four lower floors."""
    core = [module for module in FILES if floor(module) <= HIGHEST_WITHOUT_IO]
    loaded = loaded_by([PACKAGE, *core])
    assert PACKAGE in loaded
    assert loaded.isdisjoint({"pydicom", "numpy", "socket", "ssl", "asyncio"})


def test_the_drivers_start_without_pydicom() -> None:
    drivers = [module for module in FILES if floor(module) <= HIGHEST_WITHOUT_PYDICOM]
    assert "pydicom" not in loaded_by(drivers)
