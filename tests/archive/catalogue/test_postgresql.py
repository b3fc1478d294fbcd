"""The index in PostgreSQL: the same answers by its own indexes, rows of many writers, and a server that goes away."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import event, func, select
from tests.archive.catalogue.asking import ask, studies
from tests.archive.catalogue.test_semantics import (
    AT_STUDY,
    ELSEWHERE,
    check_at_another_level,
    check_at_study_level,
    filled,
)
from tests.archive.catalogue.test_sources import TYPED
from tests.grids import grid
from tests.postgresql import PostgreSQL
from tests.support import wait_until

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.recovery import Findings, Recovery
from dicomnet.archive.conflicts import Conflicts
from dicomnet.archive.database import Database, Keeping
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.ledger.ledger import Ledger
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.archive.upkeep import open_index
from dicomnet.errors import DatabaseFailure, IndexUnusable, ServiceRefusal

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL, make: Make, encode: Encode, put: Put
) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("semantics")
    with filled(folder / "store", postgresql.new_database(), make, encode, put) as index:
        yield index


@grid("keys,expected", AT_STUDY)
def test_every_query_at_study_level_has_the_answer_of_the_standard(
    asked: Index, keys: dict[str, Any], expected: Any
) -> None:
    check_at_study_level(asked, keys, expected)


@grid("model,level,keys,expected", ELSEWHERE)
def test_every_query_at_other_levels_has_the_answer_of_the_standard(
    asked: Index, model: str, level: str, keys: dict[str, Any], expected: int
) -> None:
    check_at_another_level(asked, model, level, keys, expected)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFolder]:
    with LocalFolder(tmp_path / "store", sync=False) as opened:
        yield opened


@pytest.fixture
def storage(local: LocalFolder) -> FolderStorage:
    return FolderStorage.of(local)


def _object(make: Make, number: int) -> Dataset:
    return make(
        StudyInstanceUID=f"1.{number % 4}",
        SeriesInstanceUID=f"1.{number % 4}.{number % 2}",
        SOPInstanceUID=f"1.9.{number}",
        PatientID=f"P{number % 4}",
        PatientName="MUELLER^EVA",
    )


def _counts(index: Index) -> tuple[int, ...]:
    with index.reading() as connection:
        tables = (*schema.TABLES.values(), schema.source)
        return tuple(connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def _are_counted(index: Index) -> bool:
    """Whether each study has the numbers of its series and instances, as they are counted."""
    study, series, instance = schema.study.c, schema.series.c, schema.instance.c
    below = schema.study.join(schema.series, series.parent == study.id)
    below = below.join(schema.instance, instance.parent == series.id)
    numbers = func.count(series.id.distinct()), func.count(instance.id)
    with index.reading() as connection:
        counted = connection.execute(select(study.uid, *numbers).select_from(below).group_by(study.uid)).all()
        kept = connection.execute(select(study.uid, study.series_count, study.instance_count)).all()
    return sorted(map(tuple, counted)) == sorted(map(tuple, kept))


def test_the_counts_of_a_study_are_those_of_its_series_and_instances(
    database_url: str, local: LocalFolder, storage: FolderStorage, make: Make, encode: Encode, put: Put
) -> None:
    """Whatever is added, comes again, is of another study, and is removed, alone or with others."""
    chance = random.Random(4)
    with Index(database_url) as index, Intake(local, storage, index) as intake:
        for _ in range(12):
            for number in chance.choices(range(40), k=12):
                data_set = _object(make, number)
                if not chance.randrange(6):
                    data_set.StudyInstanceUID = "1.77"
                put(intake, encode(data_set), instance=data_set.SOPInstanceUID)
            assert intake.wait_for_all()
            assert _are_counted(index)
            names = list(index.names_of([f"1.9.{number}" for number in range(40)]).values())
            for name in chance.sample(names, k=len(names) // 2):
                storage.remove(name)
                index.forget(name)
                index.forget(name)
                assert _are_counted(index)
            some = chance.choice(list(index.names_of([f"1.9.{number}" for number in range(40)]).values()))
            of_series = index.instances(some.study, some.series)
            for uid in of_series:
                storage.remove(ObjectName(some.study, some.series, uid))
            index.forget_all(some.study, some.series, of_series | {"1.2.3"})
            assert _are_counted(index)


@pytest.mark.parametrize("is_server", [False, True])
def test_several_writers_at_once_write_each_row_once(
    is_server: bool,
    tmp_path: Path,
    local: LocalFolder,
    storage: FolderStorage,
    postgresql: PostgreSQL,
    make: Make,
    encode: Encode,
    put: Put,
) -> None:
    """X16. Each has connections and memory of its own, as processes have; all store objects of the same studies."""
    url = postgresql.new_database() if is_server else str(tmp_path / "index.sqlite")
    progress = Progress(4)
    Index(url).close()

    def store(process: int) -> None:
        with Index(url) as index, Intake(local, storage, index, progress=progress, process=process) as intake:
            for number in range(process * 10, process * 10 + 25):
                data_set = _object(make, number)
                assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
            assert intake.wait_for_all()

    threads = [threading.Thread(target=store, args=(process,)) for process in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Index(url) as index:
        assert _counts(index) == (4, 4, 4, 55, 1)
        assert _are_counted(index)
        assert len(studies(index, PatientName="*UELL*")) == 4
        assert Recovery(index, storage, Conflicts(storage, None)).run()
        assert _counts(index) == (4, 4, 4, 55, 1)


def test_an_object_of_the_same_uid_and_other_content(
    local: LocalFolder, storage: FolderStorage, postgresql: PostgreSQL, make: Make, encode: Encode, put: Put
) -> None:
    """X17."""
    with Index(postgresql.new_database()) as index, Intake(local, storage, index) as intake:
        assert put(intake, encode(make())) == 0
        assert put(intake, encode(make(PatientName="Other"))) == 0xB000
        assert put(intake, encode(make(StudyInstanceUID="9.9"))) == 0xB000
        assert put(intake, encode(make())) == 0
        assert intake.wait_for_all()
        assert _counts(index)[3] == 1
    assert len(list(storage.quarantined())) == 2


def test_what_is_acknowledged_while_the_server_is_killed_is_indexed_when_it_is_back(
    local: LocalFolder, storage: FolderStorage, make: Make, encode: Encode, put: Put
) -> None:
    """X18. Objects whose UID cannot be looked up are refused; queries are, too; nothing is started anew."""
    with PostgreSQL(durable=True) as server:
        with (
            Index(server.new_database(), wait_seconds=1) as index,
            Intake(local, storage, index) as intake,
        ):
            for number in range(40):
                if number == 20:
                    server.stop(signal.SIGKILL)
                data_set = _object(make, number)
                if number < 20:
                    assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
                else:
                    with pytest.raises(ServiceRefusal, match="0xA700"):
                        put(intake, encode(data_set), instance=data_set.SOPInstanceUID)
            with pytest.raises(ServiceRefusal, match="cannot be read"):
                studies(index, PatientID="P1")
            server.start()
            wait_until(intake.wait_for_all, 20, "what was acknowledged is indexed")
            for number in range(20, 40):
                data_set = _object(make, number)
                assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
            assert intake.wait_for_all()
            assert _counts(index) == (4, 4, 4, 40, 1)
            assert len(studies(index, PatientID="P1")) == 1


def test_an_index_of_another_version_is_made_anew_from_the_files(
    local: LocalFolder, storage: FolderStorage, postgresql: PostgreSQL, make: Make, encode: Encode, put: Put
) -> None:
    """X29. Twice, as the second time nothing is to be done; the ledger in the same database is left as it is."""
    url = postgresql.new_database()
    with Ledger(url) as ledger, Index(url) as index:
        with Intake(local, storage, index, ledger=ledger) as intake:
            for number in range(8):
                data_set = _object(make, number)
                assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
            assert put(intake, encode(make(SOPInstanceUID="1.9.1")), instance="1.9.1") == 0xB000
        with index.writing() as connection:
            connection.execute(
                schema.state.update().where(schema.state.c.name == "version").values(value="2")
            )
    with pytest.raises(IndexUnusable, match="version 2"):
        Index(url)
    for added in (8, 0):
        with open_index(url) as index:
            assert index.is_complete is (added == 0)
            recovery = Recovery(index, storage, Conflicts(storage, None))
            assert recovery.run()
            assert recovery.findings == Findings(added=added)
            index.complete()
            assert _counts(index) == (4, 4, 4, 8, 1)
    with Ledger(url) as ledger:
        assert len(list(ledger.quarantine())) == 1


@pytest.mark.parametrize("tables", [["patient", "study", "instance"], ["state"], ["patient", "state"]])
def test_tables_of_another_program_are_left_alone(postgresql: PostgreSQL, tables: list[str]) -> None:
    """Tables with the names of ours were taken for those of an older version, and removed."""
    url = postgresql.new_database()
    database = Database(url, Keeping.DERIVED)
    with database.writing() as connection:
        for table in tables:
            connection.exec_driver_sql(f"CREATE TABLE {table} (name text, value text)")
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('theirs', 'precious')")
    with pytest.raises(DatabaseFailure, match="a database of its own"):
        open_index(url)
    with database.reading() as connection:
        for table in tables:
            assert connection.exec_driver_sql(f"SELECT value FROM {table}").scalar_one() == "precious"
    database.close()


def test_a_value_with_a_nul(
    local: LocalFolder, storage: FolderStorage, postgresql: PostgreSQL, make: Make, encode: Encode, put: Put
) -> None:
    """PostgreSQL keeps none in a text; the object was refused, or the whole batch."""
    data = encode(make(StudyDescription="ab cd")).replace(b"ab cd", b"ab\0cd")
    with Index(postgresql.new_database()) as index, Intake(local, storage, index) as intake:
        assert put(intake, data) == 0
        assert intake.wait_for_all()
        assert len(studies(index, StudyDescription="ab?cd")) == 1


def test_what_a_department_types_is_found_by_an_index(
    local: LocalFolder, storage: FolderStorage, postgresql: PostgreSQL, make: Make, encode: Encode, put: Put
) -> None:
    """A table is read as a whole only where PostgreSQL has no other way, as the planner is made to think."""
    with Index(postgresql.new_database()) as index, Intake(local, storage, index) as intake:
        for number in range(10):
            data_set = make(
                StudyInstanceUID=f"1.{number}",
                SeriesInstanceUID=f"1.{number}.1",
                SOPInstanceUID=f"1.{number}.1.1",
            )
            assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
        assert intake.wait_for_all()
        asked: list[tuple[str, Any]] = []
        event.listen(
            index.database._reader, "before_cursor_execute", lambda *call: asked.append((call[2], call[3]))
        )
        for level, keys, _ in TYPED:
            list(ask(index, "STUDY" if level != "PATIENT" else "PATIENT", QueryRetrieveLevel=level, **keys))
        queries = [one for one in asked if one[0].startswith("SELECT")]
        assert len(queries) >= len(TYPED)
        with index.database._writer.begin() as connection:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            for text, parameters in queries:
                plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {text}", parameters)]
                assert not [line for line in plan if "Seq Scan" in line], (text, plan)
