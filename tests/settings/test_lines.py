"""The lines of a TOML file that its keys are on."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.settings.kinds import as_toml
from dicomnet.settings.lines import Path, lines_of

FILE = '''\
# A comment with [brackets] and = signs.
title = "a # b" # and = more
"quoted key" = 1
a.b.c = 2
a."d.e" = 3

[server] # [not.this]
port = 104
lists = [
  1,
  [2, """
] three
"""],
  {x = 1, y.z = "}"},
]
when = 1979-05-27 07:32:00
text = """
[fake]
key = 1
\\"""
"""
other = \'\'\'
[fake]
\'\'\'
after = 1.5e3

[remotes.PACS]
host = 'x'

[[access]]
title = "A"
[access.more]
x = 1

[[access]]
allow = ["a",
  "b"]
'''
LINES: dict[Path, int] = {
    ("title",): 2,
    ("quoted key",): 3,
    ("a",): 4,
    ("a", "b", "c"): 4,
    ("a", "d.e"): 5,
    ("server",): 7,
    ("server", "port"): 8,
    ("server", "lists"): 9,
    ("server", "lists", 0): 10,
    ("server", "lists", 1): 11,
    ("server", "lists", 1, 1): 11,
    ("server", "lists", 2): 14,
    ("server", "lists", 2, "x"): 14,
    ("server", "lists", 2, "y", "z"): 14,
    ("server", "when"): 16,
    ("server", "text"): 17,
    ("server", "other"): 22,
    ("server", "after"): 25,
    ("remotes",): 27,
    ("remotes", "PACS"): 27,
    ("remotes", "PACS", "host"): 28,
    ("access",): 30,
    ("access", 0): 30,
    ("access", 0, "title"): 31,
    ("access", 0, "more"): 32,
    ("access", 0, "more", "x"): 33,
    ("access", 1): 35,
    ("access", 1, "allow"): 36,
    ("access", 1, "allow", 0): 36,
    ("access", 1, "allow", 1): 37,
}


def ways(value: Any, way: Path = ()) -> set[Path]:
    """The ways to all that is in a document."""
    found = {way} if way else set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found.union(*(ways(each, (*way, key)) for key, each in items))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_with_all_that_toml_has(ending: str) -> None:
    content = FILE.replace("\n", ending)
    found = lines_of(content)
    assert {way: found[way] for way in LINES} == LINES
    assert set(found) == ways(tomllib.loads(content))


@pytest.mark.parametrize("content", ["", "\n", "# only this", "a=1", '[a]\n"b"=[]', "a=[{}]"])
def test_short_files(content: str) -> None:
    assert set(lines_of(content)) == ways(tomllib.loads(content))


KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=4).map(as_toml),
    st.sampled_from(["'a.b'", "'#'", '"[x]"', '"\\u0041"', "1"]),
)
SCALARS = st.one_of(
    st.booleans().map(as_toml),
    st.integers(-9, 9).map(as_toml),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])).map(as_toml),
    st.sampled_from(
        [
            "1.5",
            "-2.0e-3",
            "inf",
            "0x1F",
            "1979-05-27 07:32:00.5",
            "07:32:00",
            "'''\n[x]\n'''",
            '"""\\\n  a = "" #\n"""',
            '""""quoted"""" ',
            "''''''",
            '"#]}"',
        ]
    ),
)
BLANKS = st.sampled_from(["", " ", "\n", " # ] = } [x]\n", "\n\n  "])


@st.composite
def _arrays(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    inside = [f"{draw(BLANKS)}{draw(items)}{draw(BLANKS)}" for _ in range(draw(st.integers(0, 3)))]
    end: str = draw(st.sampled_from(["", ","]))
    last = f"{end}{draw(BLANKS)}" if inside and end else ""
    return f"[{','.join(inside)}{last}]"


def _dotted(keys: list[str]) -> str:
    return " . ".join(keys)


@st.composite
def _inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    pairs = [f"{_dotted(draw(st.lists(KEYS, min_size=1, max_size=2)))} = {draw(values)}" for _ in range(2)]
    return f"{{ {', '.join(pairs[: draw(st.integers(0, 2))])} }}"


VALUES = st.recursive(SCALARS, lambda inner: _arrays(inner) | _inline_tables(inner), max_leaves=6)


@st.composite
def _statements(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["pair", "pair", "table", "array", "blank"]))
    keys = _dotted(draw(st.lists(KEYS, min_size=1, max_size=3)))
    end = draw(st.sampled_from(["", " # a comment"]))
    forms = {
        "pair": f"{keys} = {draw(VALUES)}{end}",
        "table": f"[{keys}]{end}",
        "array": f"[[ {keys} ]]{end}",
        "blank": end,
    }
    return forms[kind]


@given(st.lists(_statements(), max_size=8))
def test_all_that_is_in_a_file_has_the_line_where_its_statement_begins(statements: list[str]) -> None:
    """A line is looked for by taking the file apart: a way that is first there with a statement is in its lines."""
    taken: list[str] = []
    begins: dict[Path, tuple[int, int]] = {}
    for statement in statements:
        content = "\n".join([*taken, statement])
        try:
            document = tomllib.loads(content)
        except tomllib.TOMLDecodeError:
            continue
        line = sum(each.count("\n") + 1 for each in taken) + 1
        for way in ways(document):
            begins.setdefault(way, (line, line + statement.count("\n")))
        taken.append(statement)
    found = lines_of("\n".join(taken))
    assert set(found) == set(begins)
    for way, (first, last) in begins.items():
        assert first <= found[way] <= last
        if len(way) == 1:
            assert found[way] == first
