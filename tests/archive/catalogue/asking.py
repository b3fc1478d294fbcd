"""Queries by keyword, and what they find."""

from __future__ import annotations

from typing import Any

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find


def identifier(**keys: Any) -> Dataset:
    keys_of_it = Dataset()
    for keyword, value in keys.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        vr = pydicom.datadict.dictionary_VR(tag)
        value = Sequence(value) if vr == "SQ" else value or None
        keys_of_it.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
    return keys_of_it


def ask(index: Index, model: Any, **keys: Any) -> list[Dataset]:
    return [answer for _, answer in find(index, model, identifier(**keys), retrieve_ae_title="ARCHIVE")]


def studies(index: Index, **keys: Any) -> list[str]:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""} | keys
    return sorted(answer.StudyInstanceUID for answer in ask(index, "STUDY", **keys))
