"""What the index keeps, against PS3.4's tables of keys and pydicom's dictionary."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.schema import KEPT, KEPT_IN_ITEMS, READ, TABLES, WANTED
from dicomnet.datasets.levels import Level

# The unique and required keys of PS3.4 Tables C.6-1 to C.6-4.
REQUIRED = {
    Level.PATIENT: "PatientName PatientID",
    Level.STUDY: "StudyDate StudyTime AccessionNumber StudyID StudyInstanceUID",
    Level.SERIES: "Modality SeriesNumber SeriesInstanceUID",
    Level.IMAGE: "InstanceNumber SOPInstanceUID",
}
# The attributes of the macros that are in sequences: SOP instance reference, code (PS3.3 Tables 10-11 and 8.8-1), HL7
# hierarchic designator (Table 10-17).
MACROS = """
    ReferencedSOPClassUID ReferencedSOPInstanceUID CodeValue LongCodeValue URNCodeValue CodingSchemeDesignator
    CodingSchemeVersion CodeMeaning LocalNamespaceEntityID UniversalEntityID UniversalEntityIDType
"""
# VERSION, and what was stored when it was given. Another layout needs another VERSION, so that an older index is built
# anew from the files and not read as if it were of the new layout.
LAYOUTS = {
    1: "706f43f206d3ff74db98959fc67010c178b937e6101f13eddb3a3de169b97c8e",
    2: "78672affb21371e64e4ea320867f5f2a631c583fad6370dc9649c4ac5258023a",
    3: "af1f22dc88b08a8bd343588d95b68980aaf1afb3c9b7bbc1f5c034074920fba8",
    4: "be7d876a91ceced28a6fa21ec601029dff14c2ad85adc51a84784437621df1c3",
}


@pytest.mark.parametrize("level", Level)
def test_unique_and_required_keys_are_kept_at_their_level(level: Level) -> None:
    assert KEPT[level].keys() >= {tag_for_keyword(keyword) for keyword in REQUIRED[level].split()}


def test_an_attribute_belongs_to_one_level() -> None:
    every = [tag for kept in KEPT.values() for tag in kept]
    assert len(every) == len(set(every))


def test_what_is_kept_is_read_from_the_files_with_its_vr() -> None:
    for kept in (*READ.values(), KEPT_IN_ITEMS, WANTED):
        assert kept
        assert all(dictionary_VR(tag) == vr for tag, vr in kept.items())
    assert all(WANTED.keys() >= READ[level].keys() >= KEPT[level].keys() for level in Level)
    assert schema.SPECIFIC_CHARACTER_SET in WANTED


def test_the_macros_of_sequences_are_kept() -> None:
    assert KEPT_IN_ITEMS.keys() >= {tag_for_keyword(keyword) for keyword in MACROS.split()}


@pytest.mark.parametrize("below", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_each_level_belongs_to_the_one_above(below: Level) -> None:
    targets = {key.column.table for key in TABLES[below].foreign_keys if key.parent.name == "parent"}
    assert targets == {TABLES[Level(below - 1)]}


def test_another_layout_has_another_version() -> None:
    tables = [
        [table.name, [[column.name, str(column.type), column.nullable] for column in table.c]]
        for table in schema.metadata.sorted_tables
    ]
    content = [tables, [sorted(read) for read in READ.values()], sorted(KEPT_IN_ITEMS)]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    assert LAYOUTS[schema.VERSION] == digest
