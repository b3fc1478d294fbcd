"""Changes to the remotes in a configuration file: all else that is in it stays, comments too.

The file is written anew beside the old one, read back and checked, and takes its place; else the old one stays.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .mistakes import Mistakes
from .table import REMOTES
from .users import read_checked

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_MARK = b"\xef\xbb\xbf"
_SECRETS = ("passcode",)


def add_remote(file: str, name: str, entry: Mapping[str, Any]) -> None:
    """Add a remote to a file, which is made if it is not there.

    Parameters
    ----------
    entry
        Its keys, with values that TOML has.

    Raises
    ------
    Mistakes
        If there is something wrong with the file, or with what it would be; it is as it was then.
    OSError
        If it cannot be read or written.
    """
    import tomlkit
    from tomlkit.items import InlineTable

    def change(document: TOMLDocument) -> None:
        if REMOTES not in document:
            document.add(REMOTES, tomlkit.table(is_super_table=True))
        # One of several forms of a table.
        remotes: Any = document[REMOTES]
        table = (tomlkit.inline_table if isinstance(remotes, InlineTable) else tomlkit.table)()
        table.update(entry)
        if not isinstance(remotes, InlineTable):
            table.add(tomlkit.nl())
        remotes[name] = table

    _change(file, change, lambda content: content.setdefault(REMOTES, {}).update({name: dict(entry)}))


def remove_remote(file: str, name: str) -> None:
    """Take a remote out of a file; raises as `add_remote`."""

    def change(document: TOMLDocument) -> None:
        remotes: Any = document[REMOTES]
        del remotes[name]

    def expect(content: dict[str, Any]) -> None:
        del content[REMOTES][name]

    _change(file, change, expect)


def _change(
    file: str, change: Callable[[TOMLDocument], None], expect: Callable[[dict[str, Any]], None]
) -> None:
    """Change a file.

    Parameters
    ----------
    change
        Changes it.
    expect
        Changes what is in it, as it is to be read back.
    """
    import tomlkit

    # Of a link, what it leads to is changed.
    file = os.path.realpath(file)
    try:
        with open(file, "rb") as there:
            content = there.read()
            mode = stat.S_IMODE(os.fstat(there.fileno()).st_mode)
    except FileNotFoundError:
        content, mode = b"", 0o600
    else:
        read_checked(file)
    mark = _MARK if content.startswith(_MARK) else b""
    text = content[len(mark) :].decode()
    wanted = tomllib.loads(text.replace("\r\n", "\n"))
    expect(wanted)
    document = tomlkit.parse(text)
    try:
        change(document)
        written = tomlkit.dumps(document)
    except (tomlkit.exceptions.TOMLKitError, ValueError, TypeError):
        # It has to do with forms of tables that it does not change.
        written = ""
    if not _is(written, wanted):
        raise Mistakes([f"{file}: its tables are written in a way that is not changed here; edit it by hand"])
    if any(key in remote for remote in wanted.get(REMOTES, {}).values() for key in _SECRETS):
        mode &= 0o700
    _replace(file, mark + written.encode(), mode)


def _is(text: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a text says what is wanted. A table without a key is the same as none."""
    try:
        found = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError:
        return False
    return _without_empty(found) == _without_empty(wanted)


def _without_empty(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != REMOTES or value}


def _replace(file: str, content: bytes, mode: int) -> None:
    folder = os.path.dirname(file)
    os.makedirs(folder, 0o700, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(".toml", ".dicomnet-", folder)
    try:
        with open(descriptor, "wb") as new:
            os.fchmod(descriptor, mode)
            new.write(content)
            new.flush()
            os.fsync(descriptor)
        try:
            read_checked(beside)
        except Mistakes as error:
            # What the lines were before is right: it is what was to be added, and stands in no line yet.
            raise Mistakes(re.sub(rf"^{re.escape(beside)}:\d+: ", "", each) for each in error.lines) from None
        os.replace(beside, file)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise
    with suppress(OSError):
        # Some file systems cannot flush a folder; the file is whole in any case.
        at = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(at)
        finally:
            os.close(at)
