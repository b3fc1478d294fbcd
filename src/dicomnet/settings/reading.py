"""Reading the settings of nodes and tools: options over environment over file; what is wrong is told with its line.

It needs no library, since a tool that calls a peer reads the same file as a node.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..values import replace
from .entries import REMOTE_SETTINGS, RETENTION_SETTINGS, RULE_SETTINGS
from .kinds import Text, Unfit, in_words, is_title, nearest
from .mistakes import Mistakes
from .table import ACCESS, BY_NAME, MANY, PREFIX, REMOTES, RETENTION, SECTIONS, SETTINGS, Setting
from .values import Settings, defaults, option_of

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# How Python's parser names a table: as a tuple.
_TUPLE = re.compile(r"\((?:'[^']*'(?:, )?)+,?\)")
# What its sentences leave to guess.
_WORDS = {"Cannot overwrite a value": "this key is there already"}
_Way = tuple[str | int, ...]

_ROWS: dict[str, Sequence[Setting]] = {
    name: [each for each in SETTINGS if each.section == name] for name in SECTIONS
}
# The tables that are lists of rules.
_LISTS: dict[str, Sequence[Setting]] = {ACCESS: RULE_SETTINGS, RETENTION: RETENTION_SETTINGS}


def read(file: str | Path | None, options: Mapping[str, Text | bool] | None = None) -> Settings:
    """The settings that hold.

    Parameters
    ----------
    file
        The file; None for none.
    options
        What the options of the command say, by the name of the setting.

    Raises
    ------
    Mistakes
        If something is wrong.
    OSError
        If the file cannot be read.
    """
    named = _File(None if file is None else Path(file))
    environment = _Environment()
    sources: list[_Source] = [named, environment, _Options(_nested(options or {}))]
    document: dict[str, Any] = {}
    for source in sources:
        _lay_over(document, source.content)
    is_open = named.is_open and REMOTES in named.content and REMOTES not in environment.content
    return replace(_Walk(sources).settings(document), is_open=is_open)


class _File:
    """What the file says."""

    def __init__(self, file: str | Path | None) -> None:
        self.content: dict[str, Any] = {}
        self._lines: Mapping[_Way, int] = {}
        self._path = file
        self.is_open = False
        if file is not None:
            from .lines import lines_of

            path = Path(file)
            text = _text_of(path)
            self.is_open = bool(path.stat().st_mode & stat.S_IROTH)
            self.content = _parsed(path, text)
            self._lines = lines_of(text)
            _put_paths_beside(self.content, path.parent)

    def place(self, way: _Way) -> str:
        """Where a value is, or what it is in; empty if it is not there."""
        for length in range(len(way), 0, -1):
            line = self._lines.get(way[:length])
            if line is not None:
                return f"{self._path}:{line}"
        # What belongs into a table that is not there belongs into the file.
        return ""


class _Environment:
    """What environment variables say, as texts; the tables of which there may be many, as JSON."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        mistakes = []
        for variable, value in os.environ.items():
            if variable.upper().startswith(PREFIX):
                # A key may have an underline, and a section has none.
                section, _, key = variable[len(PREFIX) :].lower().partition("_")
                try:
                    self._add(section, key, value)
                except ValueError as error:
                    mistakes.append(f"{variable}: {error}")
        if mistakes:
            raise Mistakes(sorted(mistakes))

    def _add(self, section: str, key: str, value: str) -> None:
        if section in SECTIONS:
            if not key:
                example = _ROWS[section][0].variable
                raise ValueError(f"{section} is a table, whose keys have a variable each, such as {example}")
            self.content.setdefault(section, {})[key] = Text(value)
        elif section in MANY:
            if key:
                raise ValueError(f"{section} is given as a whole, by {PREFIX}{section.upper()}")
            self.content[section] = _of_json(value)

    def place(self, way: _Way) -> str:
        """The variable of a value; empty if there is none."""
        section, key = (*way, "")[:2]
        if section in MANY and section in self.content:
            return f"{PREFIX}{section}".upper()
        return f"{PREFIX}{section}_{key}".upper() if key in self.content.get(str(section), ()) else ""


class _Options:
    """What the options of the command say."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def place(self, way: _Way) -> str:
        """The option of a value; empty if it was not given."""
        section, key = map(str, (*way, "")[:2])
        if key not in self.content.get(section, ()):
            return ""
        return option_of(BY_NAME[f"{section}.{key}"])


_Source = _File | _Environment | _Options


class _Walk:
    """A walk through what all sources say together, which notes what is wrong.

    Parameters
    ----------
    sources
        Those sources, the strongest one last.
    """

    def __init__(self, sources: Sequence[_Source]) -> None:
        self._sources = sources
        self._mistakes: list[str] = []

    def settings(self, document: dict[str, Any]) -> Settings:
        """The settings in a document; raises Mistakes."""
        for name in document:
            if name not in SECTIONS and name not in MANY:
                self._note_unknown((name,), [*SECTIONS, *MANY])
        values, origins = defaults(), {}
        for section, rows in _ROWS.items():
            for key, value in self._table((section,), document.get(section, {}), rows).items():
                values[f"{section}.{key}"] = value
                origins[f"{section}.{key}"] = self._origin((section, key))
        remotes = self._remotes(document.get(REMOTES, {}))
        rules = {name: self._rules(name, document.get(name, [])) for name in _LISTS}
        if self._mistakes:
            raise Mistakes(sorted(self._mistakes, key=_by_line))
        entries: list[tuple[_Way, Mapping[str, Any]]]
        entries = [((REMOTES, name), each) for name, each in remotes.items()]
        entries += [
            ((name, index), each) for name, those in rules.items() for index, each in enumerate(those)
        ]
        for way, entry in entries:
            for each in (way, *((*way, key) for key in entry)):
                origins[_name(each)] = self._origin(each)
        # Where there is a table without a rule, nobody may do anything.
        access = rules[ACCESS] if ACCESS in document else None
        return Settings(values, origins, remotes, access, rules[RETENTION])

    def _remotes(self, found: Any) -> dict[str, Mapping[str, Any]]:
        if not isinstance(found, dict):
            self._note_other((REMOTES,), found, f"remotes, each under [{REMOTES}.NAME]")
            return {}
        remotes: dict[str, Mapping[str, Any]] = {}
        for name, content in found.items():
            rows = REMOTE_SETTINGS
            if isinstance(content, dict) and "url" in content:
                # It has host and port in it.
                rows = tuple(replace(each, is_required=False) for each in rows)
            remotes[name] = self._table((REMOTES, name), content, rows)
            if ":" in name:
                self._note((REMOTES, name), "a name has no colon; what has one is an address")
            if isinstance(content, dict) and "ae_title" not in content and not is_title(name):
                self._note((REMOTES, name), "its name is no AE title; give ae_title")
        return remotes

    def _rules(self, name: str, found: Any) -> tuple[Mapping[str, Any], ...]:
        if not isinstance(found, list):
            self._note_other((name,), found, f"rules, each under [[{name}]]")
            return ()
        return tuple(self._table((name, index), each, _LISTS[name]) for index, each in enumerate(found))

    def _table(self, way: _Way, found: Any, rows: Sequence[Setting]) -> dict[str, Any]:
        """The values of the keys of a table that are there, and right."""
        if not isinstance(found, dict):
            self._note_other(way, found, "a table")
            return {}
        names = [each.key for each in rows]
        for key in found:
            if key not in names:
                self._note_unknown((*way, key), names)
        values = {}
        for row in rows:
            here = (*way, row.key)
            if row.key in found:
                try:
                    values[row.key] = row.kind.check(found[row.key])
                except Unfit as failure:
                    words = f"{_name(here)}: found {failure.found}, expected {failure.expected}"
                    self._note_of(here if failure.item is None else (*here, failure.item), words)
            elif row.is_required:
                self._note_of(here, f"{_name(here)} is missing; expected {row.kind.expected}")
        return values

    def _note(self, way: _Way, words: str) -> None:
        """Note what is wrong with a value."""
        self._note_of(way, f"{_name(way)}: {words}")

    def _note_other(self, way: _Way, found: Any, expected: str) -> None:
        self._note(way, f"found {in_words(found)}, expected {expected}")

    def _note_unknown(self, way: _Way, names: Sequence[str]) -> None:
        self._note_of(way, f"{_name(way)} is not known{_instead(str(way[-1]), names)}")

    def _note_of(self, way: _Way, sentence: str) -> None:
        place = self._origin(way)
        self._mistakes.append(f"{place}: {sentence}" if place else sentence)

    def _origin(self, way: _Way) -> str:
        return next((place for each in reversed(self._sources) if (place := each.place(way))), "")


def _name(way: _Way) -> str:
    return ".".join(map(str, way))


def _of_json(text: str) -> Any:
    """A table of a variable; raises ValueError for what is no JSON, or has a name twice."""
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{next(each for each in names if names.count(each) > 1)} is there twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("lists and tables are nested too deeply") from None


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        section, _, key = name.partition(".")
        found.setdefault(section, {})[key] = value
    return found


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay what a stronger source says over the rest, key by key in sections, whole entries of other tables."""
    for name, content in above.items():
        if name not in SECTIONS or name not in below:
            below[name] = content
        elif isinstance(below[name], dict):
            below[name] = below[name] | content


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    try:
        # Some editors begin a file with a byte order mark, which shows nowhere.
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Mistakes([f"{path}:{line}: a byte is not UTF-8, which TOML is written in"]) from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import tomllib

    failure: Exception
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Mistakes([_not_toml(path, text, str(error))]) from None
    except ValueError as error:
        # Python's own, which has no line.
        failure, words = error, "a number has too many digits"
    except RecursionError as error:
        failure, words = error, "lists and tables are nested too deeply"
    raise Mistakes([f"{path}:{_line_of(type(failure), text)}: {words}"])


def _line_of(failure: type[Exception], text: str) -> int:
    """The first line up to which a file leads to a failure."""
    import tomllib
    from bisect import bisect_left

    lines = text.splitlines(keepends=True)

    def fails(count: int) -> bool:
        try:
            tomllib.loads("".join(lines[:count]))
        except (ValueError, RecursionError) as error:
            return type(error) is failure
        return False

    return bisect_left(range(len(lines)), True, key=fails)


def _not_toml(path: Path, text: str, message: str) -> str:
    found = _PLACE.search(message)
    words = _TUPLE.sub(lambda each: ".".join(re.findall("'([^']*)'", each[0])), _PLACE.sub("", message))
    words = _WORDS.get(words, f"{words[:1].lower()}{words[1:]}")
    line = found[1] if found and found[1] else str(text.rstrip("\n").count("\n") + 1)
    where = f", column {found[2]}" if found and found[2] else ""
    return f"{path}:{line}: this is not TOML{where}: {words}"


def _put_paths_beside(content: dict[str, Any], folder: Path) -> None:
    """Let paths in a file be relative to the folder of that file."""
    tables = [(rows, content.get(name)) for name, rows in _ROWS.items()]
    remotes = content.get(REMOTES)
    if isinstance(remotes, dict):
        tables += [(REMOTE_SETTINGS, each) for each in remotes.values()]
    for rows, table in tables:
        for row in rows:
            if row.kind.is_path and isinstance(table, dict) and isinstance(table.get(row.key), str):
                table[row.key] = table[row.key] and str(folder / table[row.key])


def _instead(key: str, names: Sequence[str]) -> str:
    """What may have been meant by a key that is not among those that are known at its place."""
    near = nearest(key.lower().replace("-", "_"), names)
    if near is None:
        near = next((each.name for each in SETTINGS if each.key == key), None)
    return f"; known here are {', '.join(names)}" if near is None else f"; did you mean {near}?"


def _by_line(said: str) -> tuple[str, int]:
    place, _, rest = said.partition(":")
    line = rest.partition(":")[0]
    return place, int(line) if line.isdecimal() else 0
