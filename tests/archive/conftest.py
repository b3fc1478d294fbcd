"""Objects to store, made by pydicom or taken from its test files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from tests.objects import CT_IMAGE_STORAGE
from tests.postgresql import PostgreSQL

from dicomnet.archive.entries import Catalogue, Entry, Source
from dicomnet.archive.intake import Intake, Session
from dicomnet.archive.storage.store import ObjectName

SENDER = Source("SENDER", "192.0.2.1", "C-STORE")


@pytest.fixture(scope="session")
def send() -> Callable[..., Session]:
    """Give an encoded data set to a new session of an intake, in fragments."""

    def to_session(
        intake: Intake,
        data: bytes,
        *,
        sop_class: str = CT_IMAGE_STORAGE,
        instance: str = "1.2.3.4.5",
        syntax: str = ExplicitVRLittleEndian,
        fragment: int = 16_384,
        source: Source = SENDER,
    ) -> Session:
        session = intake.open(sop_class, instance, syntax, source)
        for at in range(0, len(data), fragment):
            session.write(memoryview(data)[at : at + fragment])
        return session

    return to_session


@pytest.fixture(scope="session")
def put(send: Callable[..., Session]) -> Callable[..., int]:
    """Store an encoded data set by an intake, in fragments, and give the status."""

    def store(intake: Intake, data: bytes, **how: Any) -> int:
        return send(intake, data, **how).commit()

    return store


class _BrokenIndex:
    wanted: Mapping[int, str] = {}

    def names_of(self, instances: Sequence[str]) -> Mapping[str, ObjectName]:
        raise LookupError(f"a defect, met with {len(instances)} objects")

    def add(self, entries: Sequence[Entry]) -> Sequence[bool]:
        raise LookupError(f"a defect, met with {len(entries)} objects")

    def forget(self, name: ObjectName) -> None:
        raise LookupError(f"a defect, met with {name}")

    def make_durable(self) -> None:
        """Nothing of it is to be kept."""


@pytest.fixture(scope="session")
def broken_index() -> Catalogue:
    """An index with a defect, which raises what it should not."""
    return _BrokenIndex()


@pytest.fixture
def files() -> Callable[[Path], list[str]]:
    """The files below a folder, by their path from there."""

    def below(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    return below


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server for all tests of this process that want one."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new and empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'archive.sqlite'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()
