"""The stored objects that a resource consists of."""

from __future__ import annotations

from collections.abc import MutableMapping

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ....datasets.levels import Level
from ....errors import DatabaseFailure
from ....plurals import counted
from ...catalogue.index import Index
from ...catalogue.options import QueryOptions
from ...catalogue.query import StoredInstance, locate
from ...holdings import Holdings
from ..http.problems import RETRY, Problem
from ..resources import Reference

UNFILED = "objects that were received lately cannot be found yet"
"""What is said where the index lacks objects that cannot be filed now."""

_OPTIONS = QueryOptions(relational=True)
_WORDS: dict[Level | None, str] = {Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}


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
        With status 404 if there is no such resource, 410 if it was an instance that has been deleted, and 503 if it was
        received and is not in the index yet.
    ServiceRefusal
        With status 0xA700, if the index cannot be read now.
    """
    index = holdings.index_to_search()
    assert reference.study is not None
    if reference.instance is not None:
        found = _one(index, reference)
        if not found and _was_deleted(holdings, reference.instance):
            raise Problem(410, "this instance has been deleted")
    else:
        found = _all(index, reference)
    if not found:
        if holdings.intake.lacks(reference.study):
            raise Problem(503, "what was received of this study cannot be given out yet; try later", RETRY)
        raise Problem(404, f"there is no such {_WORDS[reference.level]} here")
    holdings.uses.note(reference.study)
    return found


def path_of(found: StoredInstance) -> str:
    """The path of an object, relative to the service."""
    return Reference(found.name.study, found.name.series, found.name.instance).path


def may_lack(holdings: Holdings, reference: Reference) -> bool:
    """Whether a study or series may have further objects, which were received and are not in the index yet."""
    return reference.instance is None and holdings.intake.lacks(reference.study)


def said_to_lack(headers: MutableMapping[str, str], missing: int, count: int) -> int:
    """The status of a response that lacks some of so many objects, which its head says (PS3.18 Table 10.4.3-1).

    Where none is missing, it lacks what is not in the index yet, see `may_lack`.
    """
    headers["warning"] = f'299 - "{what_lacks(missing, count)}"'
    headers.pop("etag", None)
    return 206


def what_lacks(missing: int, count: int) -> str:
    """That in words."""
    return f"{missing} of {counted(count, 'instance')} cannot be given out" if missing else UNFILED


def _one(index: Index, reference: Reference) -> list[StoredInstance]:
    """An instance, in a tenth of the time that a search takes: viewers ask for its frames one by one."""
    file = index.files_of([reference.instance or ""]).get(reference.instance or "")
    if file is None or (file.name.study, file.name.series) != (reference.study, reference.series):
        return []
    return [StoredInstance(file.name, file.sop_class_uid, file.transfer_syntax_uid, file.size, file.digest)]


def _all(index: Index, reference: Reference) -> list[StoredInstance]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY" if reference.series is None else "SERIES"
    for keyword, uid in (("StudyInstanceUID", reference.study), ("SeriesInstanceUID", reference.series)):
        if uid is not None:
            # Of one with a zero in front of a component pydicom would warn, whatever a stranger asks for.
            identifier[keyword] = DataElement(keyword, "UI", uid, validation_mode=IGNORE)
    return list(locate(index, "STUDY", identifier, options=_OPTIONS).objects)


def _was_deleted(holdings: Holdings, instance: str) -> bool:
    try:
        return holdings.ledger is not None and holdings.ledger.was_deleted(instance, 0)
    except DatabaseFailure:
        # It is not here, whatever the ledger would say.
        return False
