"""Numbers in words: texts for people said "1 studies" and "1 objects"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dicomnet.plurals import counted

SOURCE = Path(__file__).parents[1] / "src" / "dicomnet"
# What is counted in texts; with a slash behind it is a rate.
NOUNS = "objects|studies|files|rows|matches|patients|entries|digests|items|associations|contexts"
_BARE = re.compile(rf"(?:%d|\0) (?:{NOUNS})\b(?!/s)")
# Where it is never one.
NEVER_ONE = (
    "objects in quarantine are",
    " presentation contexts",
    " contexts besides",
    " items, not one",
    "more than \0 items",
)


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (0, ("object",), "0 objects"),
        (1, ("object",), "1 object"),
        (2, ("study", "studies"), "2 studies"),
        (1, ("study", "studies"), "1 study"),
        (1000, ("match", "matches"), "1000 matches"),
    ],
)
def test_one_is_not_several(number: int, words: tuple[str, ...], expected: str) -> None:
    assert counted(number, *words) == expected


def texts(path: Path) -> list[str]:
    """The strings of a module; what is filled in is a zero byte."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_no_number_that_may_be_one_stands_before_a_plural() -> None:
    bare = {
        (path.name, text)
        for path in SOURCE.rglob("*.py")
        for text in texts(path)
        if _BARE.search(text) and not any(known in text for known in NEVER_ONE)
    }
    assert bare == set()
