"""An index of many studies, whose rows are made by the functions that intake uses, and the queries that it is asked.

There are 2 series of 5 instances in each study, with random UIDs and 1.5 % of the names MUELL*.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnet.archive.catalogue import levels
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.levels import Attributes
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.catalogue.writer import Described, Writer
from dicomnet.archive.entries import Source
from dicomnet.archive.storage.store import ObjectName

_SERIES, _INSTANCES = 2, 5
_BATCH = 50
_SENDER = Source("MODALITY", "10.0.0.7", "C-STORE")
Above = tuple[Attributes, Attributes, Attributes]
_MODALITIES = ("CT", "MR", "CR", "US", "DX", "MG", "NM", "PT", "XA", "SR")
_FAMILIES = (
    "SCHMIDT",
    "MEYER",
    "WAGNER",
    "BECKER",
    "HOFFMANN",
    "KOCH",
    "RICHTER",
    "KLEIN",
    "WOLF",
    "NEUMANN",
    "SCHWARZ",
    "BRAUN",
    "HOFMANN",
    "LANGE",
    "WERNER",
    "KRAUSE",
    "LEHMANN",
    "KOEHLER",
    "MAIER",
    "FUCHS",
    "PETERS",
    "SCHOLZ",
    "MOELLER",
    "WEISS",
    "JUNG",
    "HAHN",
    "VOGEL",
    "KELLER",
    "FRANK",
    "BERGER",
    "WINKLER",
    "ROTH",
    "BECK",
)
_GIVEN = (
    "ANNA",
    "BERND",
    "CLARA",
    "DIETER",
    "EVA",
    "FRANZ",
    "GRETA",
    "HANS",
    "INGA",
    "JAN",
    "KARLA",
    "LARS",
    "MARIA",
    "NILS",
    "OLGA",
    "PAUL",
    "RITA",
    "SVEN",
    "TINA",
    "UWE",
)
_DESCRIPTIONS = (
    "THORAX PA",
    "ABDOMEN",
    "SCHAEDEL NATIV",
    "KNIE LINKS",
    "LWS 2 EBENEN",
    "MAMMOGRAPHIE",
    "HERZ",
    "BECKEN",
)

QUERIES: dict[str, dict[str, str]] = {
    "PatientID exact": {"PatientID": "{patient}"},
    "AccessionNumber exact": {"AccessionNumber": "A0001234"},
    "PatientName MUELL*": {"PatientName": "MUELL*"},
    "PatientName *UELLER*": {"PatientName": "*UELLER*"},
    "PatientName *zzz* (none)": {"PatientName": "*zzz*"},
    "PatientName M*": {"PatientName": "M*"},
    "one day": {"StudyDate": "20230117"},
    "30 days": {"StudyDate": "20230101-20230130"},
    "ModalitiesInStudy=CT + day": {"ModalitiesInStudy": "CT", "StudyDate": "20230117"},
    "ModalitiesInStudy=CT": {"ModalitiesInStudy": "CT"},
    "Accession *0001234": {"AccessionNumber": "*0001234"},
    "PatientID *01234": {"PatientID": "*01234"},
    "StudyDescription=NONE": {"StudyDescription": "NONE"},
    "PatientBirthDate": {"PatientBirthDate": "19700101"},
    "NumberOfStudyRelatedInstances=10": {"NumberOfStudyRelatedInstances": "10"},
    "NumberOfStudyRelatedInstances=7 (none)": {"NumberOfStudyRelatedInstances": "7"},
    "StudyTime=1015": {"StudyTime": "1015"},
    "StudyTime=10-1059": {"StudyTime": "10-1059"},
    "SOPClassesInStudy": {"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.4"},
    "ReferringPhysicianName *AUER^H*": {"ReferringPhysicianName": "*AUER^H*"},
    "name prefix + year + modality": {
        "PatientName": "MUELL*",
        "StudyDate": "20230101-20231231",
        "ModalitiesInStudy": "CT",
    },
    "all studies": {},
    "series of a study": {
        "QueryRetrieveLevel": "SERIES",
        "StudyInstanceUID": "{study}",
        "SeriesInstanceUID": "",
    },
    "images of a series": {
        "QueryRetrieveLevel": "IMAGE",
        "StudyInstanceUID": "{study}",
        "SeriesInstanceUID": "{series}",
        "SOPInstanceUID": "",
    },
    "all patients, three counts": {
        "QueryRetrieveLevel": "PATIENT",
        "NumberOfPatientRelatedStudies": "",
        "NumberOfPatientRelatedSeries": "",
        "NumberOfPatientRelatedInstances": "",
    },
}


def fill(index: Index, studies: int, seed: int = 12) -> None:
    """Write the rows of many studies."""
    chance = random.Random(seed)
    writer = Writer(index.database, index.kept)
    for begin in range(0, studies, _BATCH):
        numbers = range(begin, min(begin + _BATCH, studies))
        writer.write([one for number in numbers for one in _study(chance, number, studies)])


def _study(chance: random.Random, number: int, studies: int) -> Iterator[Described]:
    """The objects of a study."""
    patient_number = chance.randrange(max(1, studies // 2))
    person = random.Random(patient_number)
    family = "MUELLER" if person.random() < 0.015 else person.choice(_FAMILIES)
    modality = chance.choice(_MODALITIES)
    sop_class = f"1.2.840.10008.5.1.4.1.1.{_MODALITIES.index(modality) + 2}"
    patient = {
        "PatientName": f"{family}{person.choice(('', 'IN', 'MANN'))}^{person.choice(_GIVEN)}",
        "PatientID": f"P{patient_number:07}",
        "PatientBirthDate": f"{person.randrange(1930, 2015)}{person.randrange(1, 13):02}{person.randrange(1, 29):02}",
        "PatientSex": person.choice("MF"),
    }
    uid = _uid(chance)
    day = f"{chance.randrange(2014, 2025)}{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}"
    clock = f"{chance.randrange(7, 19):02}{chance.randrange(60):02}{chance.randrange(60):02}"
    own = {
        "StudyDate": day,
        "StudyTime": clock,
        "AccessionNumber": f"A{number:07}",
        "StudyID": str(number),
        "StudyInstanceUID": uid,
        "ReferringPhysicianName": f"{chance.choice(_FAMILIES)}^{chance.choice(_GIVEN)}",
        "StudyDescription": chance.choice(_DESCRIPTIONS),
    }
    for of_study in range(_SERIES):
        series_uid = _uid(chance)
        of_series = {
            "Modality": modality,
            "SeriesNumber": str(of_study + 1),
            "SeriesInstanceUID": series_uid,
            "SeriesDescription": "AX 5.0",
            "StationName": "ROOM1",
        }
        above = (_by_tag(patient), _by_tag(own), _by_tag(of_series))
        for of_series_number in range(_INSTANCES):
            instance = _uid(chance)
            image = {
                "InstanceNumber": str(of_series_number + 1),
                "SOPInstanceUID": instance,
                "SOPClassUID": sop_class,
                "ImageType": "ORIGINAL\\PRIMARY",
                "Rows": "512",
                "Columns": "512",
            }
            yield Described(
                ObjectName(uid, series_uid, instance),
                sop_class,
                "1.2.840.10008.1.2.1",
                levels.to_json(_by_tag(image)),
                1,
                partial(_given, above),
                _SENDER,
                526_000,
                "0" * 64,
                1_700_000_000_000 + number,
            )


def _given(above: Above) -> Above:
    return above


def _uid(chance: random.Random) -> str:
    return f"2.25.{chance.getrandbits(122)}"


def _by_tag(attributes: dict[str, str]) -> dict[str, str]:
    return {f"{tag_for_keyword(keyword):08X}": value for keyword, value in attributes.items()}


def identifier(keys: dict[str, str]) -> Dataset:
    """A request identifier; at STUDY level if the keys do not say otherwise."""
    data_set = Dataset()
    level = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
    for keyword, value in (
        keys if "QueryRetrieveLevel" in keys else level | {"PatientName": ""} | keys
    ).items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(keyword)
        data_set.add(DataElement(tag, dictionary_VR(tag), value or None, validation_mode=config.IGNORE))
    return data_set


def requests(index: Index) -> Iterator[tuple[str, Dataset]]:
    """The queries, with the UIDs and the Patient ID of a study that is there."""
    with index.reading() as connection:
        study, series = connection.exec_driver_sql(
            "SELECT study.uid, series.uid FROM series JOIN study ON study.id = series.parent"
            " WHERE study.id = (SELECT max(id) / 2 FROM study) LIMIT 1"
        ).one()
    (one,) = find(index, "STUDY", identifier({"StudyInstanceUID": study, "PatientID": ""}))
    known = {"study": study, "series": series, "patient": str(one[1].PatientID)}
    for name, keys in QUERIES.items():
        yield name, identifier({keyword: value.format(**known) for keyword, value in keys.items()})
