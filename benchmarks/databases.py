"""The databases that an index of many studies can be in: a SQLite file, or a server of PostgreSQL started for it.

A server keeps each commit, as it does when it is installed: ``fsync``, ``synchronous_commit`` and ``full_page_writes``
are on, and its buffers have their usual size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from .processes import Absent, descendants

if TYPE_CHECKING:
    from tests.postgresql import PostgreSQL

_CACHES = Path("/proc/sys/vm/drop_caches")


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """A PostgreSQL server that has its databases in a folder, and leaves them there.

    Raises
    ------
    Absent
        If it is not installed.
    """
    try:
        from tests.postgresql import PostgreSQL

        server = PostgreSQL(folder, durable=True)
        server.start()
    except (FileNotFoundError, ImportError) as error:
        raise Absent(f"PostgreSQL or psycopg is not installed: {error}") from None
    try:
        yield server
    finally:
        server.stop()


class Database(Protocol):
    """A database."""

    @property
    def url(self) -> str:
        """Its URL."""

    @property
    def processes(self) -> list[int]:
        """The processes of its server, if it has one."""

    def drop_caches(self) -> None:
        """Have nothing of it in memory but what programs have read that are running. A server is started anew."""

    def copy(self) -> AbstractContextManager[Database]:
        """A copy, removed afterwards."""

    def empty(self) -> AbstractContextManager[Database]:
        """An empty one beside it, removed afterwards."""


class File:
    """A SQLite file.

    Parameters
    ----------
    path
        The file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path.resolve()}"

    @property
    def processes(self) -> list[int]:
        return []

    def drop_caches(self) -> None:
        os.sync()
        _CACHES.write_text("3")

    @contextmanager
    def copy(self) -> Iterator[File]:
        with self.empty() as made:
            shutil.copyfile(self._path, made._path)
            yield made

    @contextmanager
    def empty(self) -> Iterator[File]:
        with TemporaryDirectory(dir=self._path.parent) as folder:
            yield File(Path(folder) / self._path.name)


class OfServer:
    """A database of a PostgreSQL server.

    Parameters
    ----------
    server
        The server, which runs.
    name
        Its name; it is made if there is none.
    template
        The name of another one, of which it is to be a copy.
    """

    def __init__(self, server: PostgreSQL, name: str, template: str = "template0") -> None:
        self._server, self._name = server, name
        self.url = server.url(name)
        if not self._do("SELECT FROM pg_database WHERE datname = '{}'", name):
            self._do("CREATE DATABASE {} TEMPLATE {}", name, template)

    @property
    def processes(self) -> list[int]:
        return [self._server.pid, *descendants(self._server.pid)]

    def drop_caches(self) -> None:
        self._server.stop()
        os.sync()
        _CACHES.write_text("3")
        self._server.start()

    @contextmanager
    def copy(self) -> Iterator[OfServer]:
        with self._temporary("copy", self._name) as made:
            yield made

    @contextmanager
    def empty(self) -> Iterator[OfServer]:
        with self._temporary("empty", "template0") as made:
            yield made

    @contextmanager
    def _temporary(self, suffix: str, template: str) -> Iterator[OfServer]:
        name = f"{self._name}_{suffix}"
        self._do("DROP DATABASE IF EXISTS {}", name)
        try:
            yield OfServer(self._server, name, template)
        finally:
            self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _do(self, statement: str, *names: str) -> bool:
        """Whether it has rows as its result."""
        import psycopg

        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            found = connection.execute(statement.format(*names).encode())
            return found.rownumber is not None and found.fetchone() is not None


@contextmanager
def database(folder: Path, name: str, *, on_postgresql: bool) -> Iterator[Database]:
    """A database that is kept in a folder.

    Parameters
    ----------
    folder
        The folder; a server's user must be able to reach it.
    name
        Its name.
    on_postgresql
        Whether it is on a server, which runs within the block.

    Raises
    ------
    Absent
        If the server is not installed.
    """
    if not on_postgresql:
        yield File(folder / f"{name}.sqlite")
        return
    with postgresql(folder / "postgresql") as server:
        yield OfServer(server, f"studies_{name}")
