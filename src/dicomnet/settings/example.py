"""What the table of settings looks like to people: an example file, the manual's tables, and the settings that hold."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..values import frozen
from .entries import REMOTE_SETTINGS, RETENTION_SETTINGS, RULE_SETTINGS
from .kinds import as_toml
from .table import ACCESS, MANY, REMOTES, RETENTION, SECTIONS, SETTINGS, Setting
from .values import Settings

HIDDEN = "(hidden)"
_BEGINNING = (
    "Settings of dicomnet. Each key is behind its explanation, with its default in parentheses. Take away the #"
    " before those that are to have another value. Paths are relative to the folder of this file."
)
_WIDTH = 100
_PASSWORD = re.compile(r"(?<=//)([^:/@]*):.*@")
# What an example gives where there is no default.
_EXAMPLES: dict[str, Any] = {
    "storage.database": "postgresql://dicomnet@localhost/dicomnet",
    "queries.max_matches": 10_000,
    "queries.always": ["relational", "empty"],
    "queries.never": ["fuzzy"],
    "queries.keep_keys": ["KVP,SliceThickness@image", "ReferringPhysicianName@study"],
    "retrieval.destinations": ["WORKSTATION@10.0.0.8:11112"],
    "tls.certificate": "node.pem",
    "tls.key": "node.key",
    "tls.passphrase": "secret",
    "tls.passphrase_file": "node.passphrase",
    "tls.client_ca": "clients.pem",
    "web.origins": ["https://viewer.hospital.example"],
    "web.hosts": ["pacs.hospital.example"],
    "web.users": "users.toml",
    "web.proxies": ["10.0.0.5"],
    "web.user_header": "X-Forwarded-User",
    "web.viewer": "ohif",
    "watch.port": 9104,
}
_REMOTE = {
    "host": "10.0.0.7",
    "port": 104,
    "url": "https://pacs.hospital.example/dicom-web",
    "ae_title": "PACS",
    "tls": True,
    "ca": "hospital.pem",
    "token_file": "pacs.token",
    "token_variable": "PACS_TOKEN",
    "token_command": "pass show pacs-token",
    "check_host": True,
    "certificate": "workstation.pem",
    "key": "workstation.key",
    "calling": "WORKSTATION",
    "user": "radiology",
    "passcode": "secret",
    "passcode_file": "pacs.passcode",
    "passcode_variable": "PACS_PASSCODE",
    "passcode_command": "pass show pacs",
    "connect_timeout": 10,
    "association_timeout": 30,
    "message_timeout": 30,
    "retrieve": "auto",
    "destination": "WORKSTATION",
    "receiver": "10.0.0.9:11112",
    "character_set": "ISO_IR 100",
    "window": 16,
    "max_pdu": 786_432,
    "jobs": 2,
    "rate": "50/s",
    "between": "19:00-06:00",
}
_RULE = {
    "title": "CT1",
    "address": "10.0.0.0/24",
    "certificate": "ct1.hospital.example",
    "allow": ["echo", "store"],
}
_RETENTION = {
    "name": "old CT of the emergency room",
    "after": "10 years",
    "since": "study-date",
    "free": "10 %",
    "titles": ["CT1"],
    "modalities": ["CT", "SR"],
    "institutions": ["City Hospital"],
    "require": ["forwarded"],
    "keep": "0 s",
}


def example() -> str:
    """A complete file, in which all is said that holds without it, or is a comment."""
    parts = [
        "\n".join(_comment(_BEGINNING)),
    ]
    for section, about in SECTIONS.items():
        parts.append("\n".join([*_comment(about), f"[{section}]", *_entries(_rows(section), _EXAMPLES)]))
    for table, (rows, values, heading) in _MANY.items():
        named = {f"{table}.{key}": value for key, value in values.items()}
        lines = [*_comment(MANY[table]), f"# {heading}", *_entries(rows, named)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


_MANY: dict[str, tuple[Sequence[Setting], Mapping[str, Any], str]] = {
    REMOTES: (REMOTE_SETTINGS, _REMOTE, f"[{REMOTES}.PACS]"),
    ACCESS: (RULE_SETTINGS, _RULE, f"[[{ACCESS}]]"),
    RETENTION: (RETENTION_SETTINGS, _RETENTION, f"[[{RETENTION}]]"),
}


def manual() -> str:
    """The tables of the manual, in Markdown."""
    parts = []
    for section, about in SECTIONS.items():
        parts.append(_chapter(f"[{section}]", about, _rows(section), has_options=True))
    for table, (rows, _, heading) in _MANY.items():
        parts.append(_chapter(heading.replace("PACS", "NAME"), MANY[table], rows, has_options=False))
    return "\n".join(parts)


@frozen
class Shown:
    """A setting as it is shown.

    Parameters
    ----------
    name, value, origin
        Its name, its value as in a file or in words where it has none, and where it comes from.
    """

    name: str
    value: str
    origin: str


def shown(settings: Settings) -> Iterator[Shown]:
    """The settings that hold, without secrets."""
    for each in SETTINGS:
        yield Shown(each.name, _value(each, settings[each.name]), settings.origin(each.name))
    tables: list[tuple[str, str | int, Sequence[Setting], Mapping[str, Any]]]
    tables = [(REMOTES, name, REMOTE_SETTINGS, entry) for name, entry in settings.remotes.items()]
    tables += [(ACCESS, at, RULE_SETTINGS, entry) for at, entry in enumerate(settings.access or ())]
    tables += [(RETENTION, at, RETENTION_SETTINGS, entry) for at, entry in enumerate(settings.retention)]
    for table, which, rows, entry in tables:
        for each in rows:
            if each.key in entry:
                name = f"{table}.{which}.{each.key}"
                yield Shown(name, _value(each, entry[each.key]), settings.origin(name))


def _rows(section: str) -> Sequence[Setting]:
    return [each for each in SETTINGS if each.section == section]


def _value(setting: Setting, value: Any) -> str:
    if value is None:
        return f"({setting.shown_default})"
    if setting.kind.is_secret:
        return HIDDEN
    return _PASSWORD.sub(r"\1:***@", as_toml(value)) if setting.name == "storage.database" else as_toml(value)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _entries(rows: Sequence[Setting], examples: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a table, each behind its help."""
    for row in rows:
        default = "required" if row.is_required else row.shown_default
        has_example = row.name in examples
        value = examples[row.name] if has_example else row.default
        yield from _comment(f"{_sentence(row)} ({default})")
        yield f"# {row.key} = {as_toml(value)}"


def _sentence(row: Setting) -> str:
    words = f"{row.help[:1].upper()}{row.help[1:]}"
    expected = "" if row.kind.words == () else f": {' | '.join(row.kind.words)}"
    return f"{words}{expected}"


def _chapter(heading: str, about: str, rows: Sequence[Setting], *, has_options: bool) -> str:
    lines = [f"## `{heading}`", "", about, ""]
    titles = ["key", "what", "value", "default"]
    titles += ["option", "while it runs"] if has_options else []
    lines += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        default = "required" if row.is_required else row.shown_default
        cells = [f"`{row.key}`", row.help, row.kind.expected, default]
        if has_options:
            option = f"`{row.options[-1]}`" if row.options else ""
            cells += [option, "yes" if row.may_change else "next start"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
