"""Reading the settings of a node: options over environment over file; what is wrong is told with its line.

Apart, since pydantic is slow to import, and only a node's configuration needs it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, create_model
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from .kinds import Kind, Text, Unfit, in_words
from .lines import lines_of
from .table import (
    ACCESS,
    BY_NAME,
    MANY,
    PREFIX,
    REMOTE_SETTINGS,
    REMOTES,
    RETENTION,
    RETENTION_SETTINGS,
    RULE_SETTINGS,
    SECTIONS,
    SETTINGS,
    Setting,
)
from .values import Mistakes, Settings, defaults, option_of

# The variable that names the file.
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_Way = tuple[str | int, ...]
_CLOSED = ConfigDict(extra="forbid")


def _table(name: str, rows: Sequence[Setting]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        each.key: (Annotated[Any, PlainValidator(each.kind.check)], ... if each.is_required else None)
        for each in rows
    }
    return create_model(name, __config__=_CLOSED, **fields)


_ROWS: dict[str, Sequence[Setting]] = {
    name: [each for each in SETTINGS if each.section == name] for name in SECTIONS
}


class _Variables(BaseSettings):
    """How variables of the environment are named: the prefix, the section, the key."""

    # A key may have an underline, and a section has none.
    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=PREFIX, env_nested_delimiter="_", env_nested_max_split=1
    )


_Remote = _table(REMOTES, REMOTE_SETTINGS)
# The tables that are lists of rules.
_LISTS: dict[str, Sequence[Setting]] = {ACCESS: RULE_SETTINGS, RETENTION: RETENTION_SETTINGS}
_FIELDS: dict[str, Any] = {
    **{name: (_table(name, rows), Field(default_factory=dict)) for name, rows in _ROWS.items()},
    REMOTES: (GenericAlias(dict, (str, _Remote)), Field(default_factory=dict)),
    **{
        name: (GenericAlias(list, _table(name, rows)), Field(default_factory=list))
        for name, rows in _LISTS.items()
    },
}
_Document = create_model("_Document", __base__=_Variables, **_FIELDS)


def read(file: Path | None, options: Mapping[str, Text | bool] | None = None) -> Settings:
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
    sources: list[_Source] = [_File(file), _Environment(), _Options(_nested(options or {}))]
    document: dict[str, Any] = {}
    for source in sources:
        _lay_over(document, source.content)
    try:
        checked = _Document.model_validate(document)
    except ValidationError as error:
        raise Mistakes(sorted(_said(error, sources), key=_by_line)) from None
    return _settings(checked, sources)


class _File:
    """What the file says."""

    def __init__(self, path: Path | None) -> None:
        self.content: dict[str, Any] = {}
        self._lines: Mapping[_Way, int] = {}
        self._path = path
        if path is not None:
            text = _text_of(path)
            try:
                self.content = tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise Mistakes([_not_toml(path, text, str(error))]) from None
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
    """What environment variables say, as texts."""

    def __init__(self) -> None:
        try:
            found = EnvSettingsSource(_Document)()
        except SettingsError as error:
            # A table as a whole is JSON, and only that is decoded here.
            name = next(each for each in _FIELDS if f'"{each}"' in str(error))
            words = f"this is not JSON: {error.__cause__}"
            raise Mistakes([f"{PREFIX}{name.upper()}: {words}"]) from None
        self.content: dict[str, Any] = {}
        for section, values in found.items():
            is_flat = section in SECTIONS and isinstance(values, dict)
            self.content[section] = {key: _text(each) for key, each in values.items()} if is_flat else values
        self._variables = {each.upper() for each in os.environ}

    def place(self, way: _Way) -> str:
        """The variable of a value; empty if there is none."""
        for length in (2, 1):
            variable = "_".join((PREFIX[:-1], *map(str, way[:length]))).upper()
            if variable in self._variables and way[0] in self.content:
                return variable
        return ""


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


def _text(value: Any) -> Any:
    return Text(value) if isinstance(value, str) else value


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        section, _, key = name.partition(".")
        found.setdefault(section, {})[key] = value
    return found


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay what a stronger source says over the rest, key by key in sections, whole entries of other tables."""
    for name, content in above.items():
        if name in SECTIONS and isinstance(content, dict) and isinstance(below.get(name), dict):
            below[name] = below[name] | content
        else:
            below[name] = content


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Mistakes([f"{path}:{line}: a byte is not UTF-8, which TOML is written in"]) from None


def _not_toml(path: Path, text: str, message: str) -> str:
    found = _PLACE.search(message)
    words = _PLACE.sub("", message)
    line = found[1] if found and found[1] else str(text.rstrip("\n").count("\n") + 1)
    where = f", column {found[2]}" if found and found[2] else ""
    return f"{path}:{line}: this is not TOML{where}: {words[:1].lower()}{words[1:]}"


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


def _settings(checked: BaseSettings, sources: Sequence[_Source]) -> Settings:
    """The settings of a document without a mistake."""
    values = defaults()
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        section = getattr(checked, setting.section)
        # A table that is not there is an empty one.
        if isinstance(section, BaseModel) and setting.key in section.model_fields_set:
            values[setting.name] = getattr(section, setting.key)
            origins[setting.name] = _origin((setting.section, setting.key), sources)
    remotes: dict[str, Mapping[str, Any]] = {
        name: _given(each) for name, each in getattr(checked, REMOTES).items()
    }
    rules = {name: tuple(map(_given, getattr(checked, name))) for name in _LISTS}
    entries: list[tuple[str, str | int, Mapping[str, Any]]]
    entries = [(REMOTES, name, each) for name, each in remotes.items()]
    entries += [(name, index, each) for name, those in rules.items() for index, each in enumerate(those)]
    for table, name, entry in entries:
        origins[f"{table}.{name}"] = _origin((table, name), sources)
        for key in entry:
            origins[f"{table}.{name}.{key}"] = _origin((table, name, key), sources)
    # Where there is a table without a rule, nobody may do anything.
    access = rules[ACCESS] if ACCESS in checked.model_fields_set else None
    return Settings(values, origins, remotes, access, rules[RETENTION])


def _given(entry: BaseModel) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in type(entry).model_fields if name in entry.model_fields_set}


def _origin(way: _Way, sources: Sequence[_Source]) -> str:
    return next((place for each in reversed(sources) if (place := each.place(way))), "")


def _said(error: ValidationError, sources: Sequence[_Source]) -> Iterator[str]:
    """A sentence for each mistake."""
    for each in error.errors(include_url=False):
        way: _Way = each["loc"]
        place = _origin(way, sources)
        kind, found = each["type"], each["input"]
        name = ".".join(map(str, way))
        if kind == "extra_forbidden":
            words = f"{name} is not known{_instead(way)}"
        elif kind == "missing":
            words = f"{name} is missing; expected {_expected(way)}"
        elif kind == "value_error" and isinstance(failure := each["ctx"]["error"], Unfit):
            words = f"{name}: found {failure.found}, expected {failure.expected}"
        else:
            words = f"{name}: found {in_words(found)}, expected {_expected(way)}"
        yield f"{place}: {words}" if place else words


def _rows_at(way: _Way) -> Sequence[Setting]:
    """The settings of the table that a value is in."""
    if way[0] == REMOTES:
        return REMOTE_SETTINGS
    return (_LISTS | _ROWS).get(str(way[0]), ())


def _expected(way: _Way) -> str:
    """What should be at a place."""
    kind: Kind | None = next((each.kind for each in _rows_at(way) if each.key == way[-1]), None)
    if kind is not None and len(way) > 1:
        return kind.expected
    if len(way) == 1 and way[0] in _LISTS:
        return f"rules, each under [[{way[0]}]]"
    if way == (REMOTES,):
        return f"remotes, each under [{REMOTES}.NAME]"
    return "a table"


def _instead(way: _Way) -> str:
    """What may have been meant by a key that is not known."""
    key = str(way[-1])
    names = [*SECTIONS, *MANY] if len(way) == 1 else [each.key for each in _rows_at(way)]
    near = get_close_matches(key.lower().replace("-", "_"), names, 1)
    if near:
        return f"; did you mean {near[0]}?"
    other = next((each.name for each in SETTINGS if each.key == key), None)
    if other is not None:
        return f"; did you mean {other}?"
    return f"; known here are {', '.join(names)}"


def _by_line(said: str) -> tuple[str, int]:
    place, _, rest = said.partition(":")
    line = rest.partition(":")[0]
    return place, int(line) if line.isdecimal() else 0
