"""The lines of a TOML file that its keys are on, which Python's parser does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

# A key's way through tables and arrays.
Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
      (?P<blank>[ \t\r]+|\#[^\n]*)
    | (?P<end>\n)
    | (?P<string>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
    | (?P<mark>[\[\]{}=,.])
    | (?P<bare>[^\s\#"'\[\]{}=,.]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def lines_of(content: str) -> Mapping[Path, int]:
    """The line, from 1 on, of each key, table and item of an array in a file that Python's parser has read.

    Parameters
    ----------
    content
        The file. Of one that is not TOML, nothing that is said holds.
    """
    return _Walk(content).found


class _Walk:
    """A walk through the tokens of a file, which notes where each key begins."""

    def __init__(self, content: str) -> None:
        self.found: dict[Path, int] = {}
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        line = 1
        for match in _TOKEN.finditer(content):
            kind = match.lastgroup or ""
            if kind != "blank":
                self._tokens.append((kind, match[0], line))
            line += match[0].count("\n")
        self._tokens.append(("end", "", line))
        self._table: Path = ()
        self._counts: dict[Path, int] = {}
        while self._at < len(self._tokens):
            self._statement()

    def _statement(self) -> None:
        if self._is_next("["):
            is_array = self._is_next("[", 1)
            line = self._tokens[self._at][2]
            self._at += 2 if is_array else 1
            keys = self._keys()
            self._at += 2 if is_array else 1
            self._table = self._resolved(keys[:-1])
            self._note(self._table, line)
            self._table += (keys[-1],)
            if is_array:
                self._note(self._table, line)
                count = self._counts.get(self._table, 0)
                self._counts[self._table] = count + 1
                self._table += (count,)
            else:
                self._table = self._resolved_last(self._table)
            self._note(self._table, line)
        elif self._tokens[self._at][0] == "end":
            self._at += 1
        else:
            self._pair(self._table)

    def _pair(self, table: Path) -> None:
        """A key and its value."""
        line = self._tokens[self._at][2]
        path = (*table, *self._keys())
        self._note(path, line)
        # The equals sign.
        self._at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._is_next("["):
            self._at += 1
            self._items(path)
        elif self._is_next("{"):
            self._at += 1
            while not self._is_next("}"):
                if self._is_next(",") or self._tokens[self._at][0] == "end":
                    self._at += 1
                else:
                    self._pair(path)
            self._at += 1
        else:
            # A number may have a dot, and a moment a blank.
            while self._tokens[self._at][0] != "end" and not any(map(self._is_next, ",]}")):
                self._at += 1

    def _items(self, path: Path) -> None:
        count = 0
        while not self._is_next("]"):
            if self._is_next(",") or self._tokens[self._at][0] == "end":
                self._at += 1
                continue
            item = (*path, count)
            self._note(item, self._tokens[self._at][2])
            self._value(item)
            count += 1
        self._at += 1

    def _keys(self) -> Path:
        """A key with dots, up to what is behind it."""
        keys: list[str] = []
        while True:
            kind, text, _ = self._tokens[self._at]
            if kind in ("bare", "string"):
                keys.append(text if kind == "bare" else tomllib.loads(f"key = {text}")["key"])
            elif text != ".":
                return tuple(keys)
            self._at += 1

    def _resolved(self, keys: Path) -> Path:
        """The way to a table, where a name of an array of tables means its last one."""
        path: Path = ()
        for key in keys:
            path = self._resolved_last((*path, key))
        return path

    def _resolved_last(self, path: Path) -> Path:
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _note(self, path: Path, line: int) -> None:
        """Note a key and the tables that it makes."""
        for length in range(1, len(path) + 1):
            self.found.setdefault(path[:length], line)

    def _is_next(self, mark: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._tokens) and self._tokens[at][:2] == ("mark", mark)
