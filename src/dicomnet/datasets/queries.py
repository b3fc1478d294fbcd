"""Identifiers of queries and retrievals, built of keywords and values (PS3.4 section C.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


# What is asked for at each level where the caller does not say, from PS3.4 section C.6.1.1.
RETURN_KEYS = {
    "PATIENT": (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "NumberOfPatientRelatedStudies",
    ),
    "STUDY": (
        "StudyInstanceUID",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}


LEVELS = {name.lower(): name for name in RETURN_KEYS} | {"instance": "IMAGE"}


def build_query(level: str, keys: dict[str, Any]) -> Dataset:
    """The Identifier of a C-FIND.

    Parameters
    ----------
    level
        ``patient``, ``study``, ``series`` or ``image``.
    keys
        Keyword to value; None or an empty value asks for the attribute without matching it, a list matches any of
        its UIDs. The usual attributes of the level are asked for besides.

    Raises
    ------
    ValueError
        For a level or keyword that does not exist, or a value that its attribute cannot have.
    """
    return build_identifier(level, dict.fromkeys(RETURN_KEYS.get(LEVELS.get(level.lower(), ""), ())) | keys)


def build_identifier(level: str, keys: Mapping[str, Any]) -> Dataset:
    """The Identifier of a C-FIND, C-GET or C-MOVE with just these keys.

    Parameters
    ----------
    level
        ``patient``, ``study``, ``series`` or ``image``.
    keys
        As of `build_query`.

    Raises
    ------
    ValueError
        As of `build_query`.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"{level!r} is not a level; use patient, study, series or image")
    if "QueryRetrieveLevel" in keys:
        raise ValueError("'QueryRetrieveLevel' is not a key of a query")
    query = build_keys(keys)
    query.QueryRetrieveLevel = LEVELS[level.lower()]
    return query


def build_keys(keys: Mapping[str, Any]) -> Dataset:
    """The keys of a query as a data set, without a level.

    Parameters
    ----------
    keys
        As of `build_query`; the value of a sequence may also be the keys of its one item.

    Raises
    ------
    ValueError
        For a keyword that does not exist, or a value that its attribute cannot have.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    query = Dataset()
    for keyword, given in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(f"{keyword!r} is not a keyword of the DICOM dictionary")
        if tag >> 16 < 8:
            raise ValueError(f"{keyword!r} is not a key of a query")
        vr = dictionary_VR(tag)
        if vr == "SQ":
            items = [] if given is None else given
            if isinstance(given, Mapping):
                items = [build_keys(given)]
                # The character set of a data set is that of its items, too.
                character_set = items[0].pop("SpecificCharacterSet", None)
                if character_set is not None:
                    query["SpecificCharacterSet"] = character_set
            query[tag] = DataElement(tag, vr, items)
            continue
        is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        values = list(given) if is_list else [given]
        # Keys may be wildcards or ranges, which are no valid values of their VR.
        value = values if is_list else given
        query[tag] = DataElement(tag, vr, "" if value is None else value, validation_mode=0)
        if any(isinstance(each, str) and not each.isascii() for each in values):
            query.SpecificCharacterSet = "ISO_IR 192"
    return query
