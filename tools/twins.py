"""Counts the lines that stand in both drivers and in both faces, with calls and with await.

What is counted is a module's source as `ast.unparse` writes it: without docstrings and comments, with imports and the
blank lines between definitions. ``async`` and ``await`` are left out, and `difflib` aligns the modules of a pair.
Run it with ``--show`` to see the lines that are the same.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "dicomnet"

# The modules of the same name and task: below each folder there is one with calls and one with await.
PAIRS = {
    "drivers": ("link", "carrier", "run", "server", "opening"),
    "": ("peer", "performing", "lanes", "retrieval"),
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_WAITING = re.compile(r"\b(?:async|await) |\bAsync(?=Iter)")


class _WithoutDocstrings(ast.NodeTransformer):
    """Takes the docstrings out of a module."""

    def visit(self, node: ast.AST) -> ast.AST:
        super().visit(node)
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


def code_lines(source: str) -> list[str]:
    """The lines of code of a module, without what only one of the two kinds has."""
    code = ast.unparse(_WithoutDocstrings().visit(ast.parse(source)))
    return [_WAITING.sub("", line) for line in code.splitlines()]


def same_lines(one: list[str], other: list[str]) -> list[str]:
    """The lines that both have in the same order."""
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return [line for block in blocks for line in one[block.a : block.a + block.size]]


def twins() -> Iterator[tuple[str, list[str], list[str], list[str]]]:
    """For each pair its name, the lines of both modules, and those that are the same."""
    for folder, names in PAIRS.items():
        for name in names:
            paths = (SOURCE / folder / kind / f"{name}.py" for kind in ("blocking", "aio"))
            one, other = (code_lines(path.read_text()) for path in paths)
            yield str(Path(folder, name)), one, other, same_lines(one, other)


def main() -> int:
    """Print the counts; with ``--show`` the lines too."""
    total = 0
    for name, one, other, same in twins():
        total += len(same)
        print(f"{name:20} {len(one):5} {len(other):5} {len(same):5}")
        if "--show" in sys.argv[1:]:
            print(*(f"    {line}" for line in same), sep="\n")
    print(f"{'in both':20} {total:17}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
