"""Import and export on each kind of database."""

from __future__ import annotations

from pathlib import Path

from tests.archive.tasks.kept import Kept
from tests.faults.objects import uid, write_objects
from tests.support import stored

from dicomnet.archive.tasks.performing import perform


def test_objects_are_imported_and_found(tmp_path: Path, database_url: str) -> None:
    for study in range(3):
        write_objects(tmp_path / "in" / str(study), study, 100)
    expected = {"stored": 300, "already_there": 0}
    for _ in range(2):
        parameters = {"paths": [str(tmp_path / "in")]}
        summary = perform(tmp_path / "store", "import", parameters, Kept(), database=database_url)
        assert {name: summary[name] for name in expected} == expected
        expected = {"stored": 0, "already_there": 300}
    kept = Kept()
    perform(tmp_path / "store", "locate", {"keys": {"PatientID": "P1"}}, kept, database=database_url)
    found = {row[2] for each in kept.items for row in each["objects"]}
    assert found == {uid(1, number) for number in range(1, 101)}
    assert len(stored(tmp_path / "store")) == 300
