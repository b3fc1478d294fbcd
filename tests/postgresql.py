"""A PostgreSQL server of the tests' own: in a temporary folder, reached by a Unix socket there, ended by its process.

PostgreSQL refuses to run as root, so where the tests do, the server runs as the user that its package brings.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Self

import psycopg

_SUPERUSER = "dicomnet"
_READY = "database system is ready to accept connections"
# What speeds a server up that nobody needs after a crash.
_WITHOUT_FLUSHES = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def _program(name: str) -> str:
    """The path of one of PostgreSQL's programs, of the newest version that is installed."""
    found = shutil.which(name)
    if found:
        return found
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    if newest is None:
        raise FileNotFoundError(f"PostgreSQL's {name} is not installed; see tools/ensure_postgresql.sh")
    return str(newest)


def _account() -> dict[str, Any]:
    """As whom the server runs, for `subprocess`."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _drain(log: IO[str]) -> None:
    with log:
        log.read()


class PostgreSQL:
    """A server, which runs from `start` to `stop`. Used as a context, it does so inside.

    Parameters
    ----------
    folder
        Where it is, and is left; None for a temporary folder. A socket's path must be short, and the folders above it
        open to the server's user.
    durable
        Whether it flushes what it writes, so that it can be killed and started again.
    """

    def __init__(self, folder: Path | None = None, *, durable: bool = False) -> None:
        self._settings = ("full_page_writes=on",) if durable else _WITHOUT_FLUSHES
        self._numbers = itertools.count(1)
        self._is_temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="dicomnet-pg-"))
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._is_temporary:
            shutil.rmtree(self.folder)

    @property
    def data(self) -> Path:
        """The folder of its databases."""
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and return when it accepts connections. It may have run before."""
        if not self.data.exists():
            self.folder.mkdir(exist_ok=True)
            if account := _account():
                shutil.chown(self.folder, account["user"], account["group"])
            how = ("-U", _SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
            subprocess.run(
                [_program("initdb"), "-D", str(self.data), *how],
                cwd="/",
                check=True,
                capture_output=True,
                **_account(),
            )
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", *self._settings)
        self._process = subprocess.Popen(
            [_program("postgres"), "-D", str(self.data), *(f"--{setting}" for setting in settings)],
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
            **_account(),
        )
        log = self._process.stderr
        assert log is not None
        said = []
        for line in log:
            said.append(line)
            if _READY in line:
                # It must never wait for somebody to read its log.
                self._reader = threading.Thread(
                    target=_drain, args=(log,), name="PostgreSQL's log", daemon=True
                )
                self._reader.start()
                return
        log.close()
        self._process.wait(30)
        raise RuntimeError("".join(said))

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it and what it has started by a signal: SIGINT in order, SIGQUIT at once, SIGKILL as a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            # A crash leaves its processes behind for a moment; each of them has the log open until it ends.
            if self._reader is not None:
                self._reader.join(30)
            self._process = self._reader = None

    @property
    def pid(self) -> int:
        """The process of a server that runs."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://{_SUPERUSER}@/{database}?host={self.folder}"

    def new_database(self, options: str = "") -> str:
        """Create an empty database; gives its URL."""
        name = f"archive_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}".encode())
        return self.url(name)
