"""The stored objects that a resource consists of."""

from __future__ import annotations

from pydicom.dataset import Dataset

from ...errors import DatabaseFailure
from ..catalogue.options import QueryOptions
from ..catalogue.query import StoredInstance, locate
from ..holdings import Holdings
from .problems import Problem
from .resources import Reference

_LEVELS = ("STUDY", "SERIES", "IMAGE")
_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_OPTIONS = QueryOptions(relational=True)
_WORDS = {"STUDY": "study", "SERIES": "series", "IMAGE": "instance"}


def located(holdings: Holdings, reference: Reference) -> list[StoredInstance]:
    """The objects of a study, a series, or an instance, in the order in which they were received.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    reference
        The resource, which is not the whole archive.

    Raises
    ------
    Problem
        With status 404 if there is no such resource, and 410 if it was an instance that has been deleted.
    ServiceRefusal
        With status 0xA700, if the index cannot be read now.
    """
    uids = (reference.study, reference.series, reference.instance)
    given = [uid for uid in uids if uid is not None]
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level = _LEVELS[len(given) - 1]
    for keyword, uid in zip(_KEYWORDS, given, strict=False):
        setattr(identifier, keyword, uid)
    found = list(locate(holdings.index_to_search(), "STUDY", identifier, options=_OPTIONS).objects)
    if not found:
        if reference.instance is not None and _was_deleted(holdings, reference.instance):
            raise Problem(410, "this instance has been deleted")
        raise Problem(404, f"there is no such {_WORDS[level]} here")
    assert reference.study is not None
    holdings.uses.note(reference.study)
    return found


def _was_deleted(holdings: Holdings, instance: str) -> bool:
    try:
        return holdings.ledger is not None and holdings.ledger.was_deleted(instance, 0)
    except DatabaseFailure:
        # It is not here, whatever the ledger would say.
        return False
