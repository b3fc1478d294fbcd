"""What an export is of: the objects below what matches keys, those with UIDs, or all; and never more than was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.archive.tasks.imports import Import
from tests.archive.tasks.kept import Kept

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.locating import find_objects
from dicomnet.archive.tasks.task import TaskFailed
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN

Find = Callable[..., set[str]]


@pytest.fixture
def find(
    tmp_path: Path,
    holdings: Holdings,
    run: Import,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
) -> Find:
    """Find objects of three patients, of whom one has no ID: study 1 is CT and MR, the others are CT."""
    folder = tmp_path / "in"
    folder.mkdir()
    for study, patient in (("1", "A"), ("2", "A"), ("3", "B"), ("4", "")):
        for series in ("1", "2"):
            for instance in ("1", "2"):
                data_set = make(
                    PatientID=patient,
                    PatientName=f"Doe^{patient}",
                    StudyInstanceUID=f"1.{study}",
                    # Two studies have series of one UID.
                    SeriesInstanceUID=f"2.{series}" if study in "34" else f"2.{study}.{series}",
                    SOPInstanceUID=f"3.{study}.{series}.{instance}",
                    Modality="MR" if (study, series) == ("1", "2") else "CT",
                    StudyDate=f"2026010{study}",
                    InstanceNumber=instance,
                )
                header = encode_file_header(
                    data_set.SOPClassUID, data_set.SOPInstanceUID, EXPLICIT_VR_LITTLE_ENDIAN
                )
                (folder / f"{study}{series}{instance}").write_bytes(header + encode(data_set))
    assert run(folder).counts == {"stored": 16}

    def found(**how: Any) -> set[str]:
        kept = Kept()
        summary = find_objects(holdings, kept, **how)
        rows = [tuple(row) for each in kept.items for row in each.get("objects", ())]
        missing = {each["missing"] for each in kept.items if "missing" in each}
        assert len(rows) == len(set(rows)) == summary["objects"]
        assert len(missing) == summary["missing"]
        for study, series, instance, size in rows:
            path = next((holdings.local.root / "objects").rglob(f"{study}/{series}/{instance}.dcm"))
            assert path.stat().st_size == size
        return {row[2] for row in rows} | missing

    return found


def _of(*prefixes: str) -> set[str]:
    return {
        f"3.{study}.{series}.{instance}"
        for study in "1234"
        for series in "12"
        for instance in "12"
        if f"3.{study}.{series}.{instance}.".startswith(tuple(f"3.{each}." for each in prefixes))
    }


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "A"}, _of("1", "2")),
        ({"PatientID": "?"}, _of("1", "2", "3")),
        ({"PatientName": "doe^b"}, _of("3")),
        ({"StudyDate": "20260102-20260103"}, _of("2", "3")),
        ({"StudyInstanceUID": "1.1\\1.4"}, _of("1", "4")),
        # Of the study, all of it; of the series, only that.
        ({"ModalitiesInStudy": "MR"}, _of("1")),
        ({"Modality": "MR"}, _of("1.2")),
        ({"ModalitiesInStudy": "MR", "Modality": "CT"}, _of("1.1")),
        ({"Modality": "CT", "PatientID": "A"}, _of("1.1", "2")),
        ({"SeriesInstanceUID": "2.1"}, _of("3.1", "4.1")),
        ({"StudyInstanceUID": "1.4", "SeriesInstanceUID": "2.1"}, _of("4.1")),
        ({"SOPInstanceUID": "3.1.1.1\\3.4.2.2"}, {"3.1.1.1", "3.4.2.2"}),
        ({"InstanceNumber": "1", "Modality": "MR"}, {"3.1.2.1"}),
        ({"PatientID": "nobody"}, set()),
        ({"StudyInstanceUID": "1.9"}, set()),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "",
)
def test_keys_select_what_a_query_finds(find: Find, keys: dict[str, str], expected: set[str]) -> None:
    assert find(keys=keys) == expected


def test_a_level_says_what_has_to_match(find: Find) -> None:
    keys = {"PatientID": "A", "StudyInstanceUID": "1.1"}
    assert find(keys=keys, level="study") == find(keys=keys, level="series") == _of("1")
    assert find(keys={"Modality": "MR"}, level="image") == _of("1.2")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"keys": {"PatientID": "*"}}, "match everything"),
        ({"keys": {"PatientID": "?*", "StudyDate": "*"}}, "match everything"),
        ({"keys": {}}, "match everything"),
        ({"keys": {"KVP": "120"}}, "the index does not have KVP at any level"),
        ({"keys": {"Modality": "CT"}, "level": "study"}, "does not have Modality at the study level"),
        ({"keys": {"Bogus": "1"}}, "not a keyword"),
    ],
    ids=str,
)
def test_what_cannot_be_matched_is_not_left_out(find: Find, how: dict[str, Any], why: str) -> None:
    with pytest.raises(TaskFailed, match=why):
        find(**how)


def test_uids_are_those_of_studies_series_or_objects(find: Find) -> None:
    uids = ["1.1", "2.2.1", "3.4.1.2", "1.1", "3.1.1.1", "9.9", "2.2"]
    assert find(uids=uids) == _of("1", "2.1", "3.2", "4.2") | {"3.4.1.2", "9.9"}
    assert find(uids=["9.8", "9.9"]) == {"9.8", "9.9"}


def test_all_is_everything(find: Find) -> None:
    assert find() == _of("1", "2", "3", "4")
