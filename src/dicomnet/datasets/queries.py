"""Identifiers of queries and retrievals, built of keywords and values (PS3.4 section C.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..encoding.vrs import NUMBERS, VRS

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


# VRs of numbers, as which a wildcard cannot be encoded.
_NUMERIC = frozenset(("DS", "IS", *NUMBERS))

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
    name = query_level(level)
    if "QueryRetrieveLevel" in keys:
        raise ValueError("'QueryRetrieveLevel' is not a key of a query")
    query = build_keys(keys)
    query.QueryRetrieveLevel = name
    return query


def query_level(level: str) -> str:
    """The Query/Retrieve Level (0008,0052) that is meant by ``patient``, ``study``, ``series`` or ``image``.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"{level!r} is not a level; use patient, study, series or image")
    return LEVELS[level.lower()]


def build_keys(keys: Mapping[str, Any]) -> Dataset:
    """The keys of a query as a data set, without a level.

    Its Specific Character Set is what the keys say, as the standard spells it. Where they say nothing, text that is not
    ASCII makes it ISO_IR 192.

    Parameters
    ----------
    keys
        As of `build_query`; the value of a sequence may also be the keys of its one item.

    Raises
    ------
    ValueError
        For a keyword that does not exist, or a value that its attribute cannot have or its character set cannot encode.
    """
    from pydicom.datadict import keyword_for_tag

    from .character_sets import UTF_8, defined_terms, text_encoder
    from .plain import TextNotEncodable, check_text

    chosen: list[object] = []
    query = _build(keys, chosen)
    terms = [term for each in chosen for term in defined_terms(each)]
    if terms:
        query.SpecificCharacterSet = terms[0] if len(terms) == 1 else terms
    elif chosen:
        query.SpecificCharacterSet = ""
    try:
        check_text(query, text_encoder((), is_strict=True), True)
    except TextNotEncodable as error:
        if error.chosen:
            raise ValueError(f"{keyword_for_tag(error.tag)} cannot be encoded in {error.chosen}") from error
        query.SpecificCharacterSet = UTF_8
    return query


def _build(keys: Mapping[str, Any], chosen: list[object]) -> Dataset:
    """The keys as a data set, whose character set goes to `chosen`: that of a data set is that of its items, too."""
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
        if keyword == "SpecificCharacterSet":
            chosen[:] = [given]
            continue
        vr = dictionary_VR(tag)
        if vr == "SQ":
            items = [] if given is None else given
            if isinstance(given, Mapping):
                items = [_build(given, chosen)]
            query[tag] = DataElement(tag, vr, items)
            continue
        is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        values = list(given) if is_list else [given]
        is_ascii = all(not isinstance(each, str) or each.isascii() for each in values)
        if not is_ascii and vr in VRS and not VRS[vr].has_character_set:
            raise ValueError(f"{keyword} has characters that are not ASCII, which its VR, {vr}, cannot have")
        # Keys may be wildcards or ranges, which are no valid values of their VR.
        if any(isinstance(each, str) and not _is_text(each) for each in values):
            raise ValueError(f"{keyword} has bytes that are not text in the encoding of this system")
        if vr in _NUMERIC:
            # An asterisk matches everything, which a number says by being empty (PS3.4 section C.2.2.2.3).
            given = None if isinstance(given, str) and not given.strip("*") else given
        value = values if is_list else given
        try:
            query[tag] = DataElement(tag, vr, "" if value is None else value, validation_mode=0)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{value!r} is not a value that {keyword} can have (its VR is {vr})") from error
    return query


def _is_text(value: str) -> bool:
    """Whether it has no lone surrogates, which stand for bytes that Python could not decode."""
    return not any("\ud800" <= character <= "\udfff" for character in value)
