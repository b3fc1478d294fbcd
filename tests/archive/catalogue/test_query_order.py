"""Matches in the order of their rows: whatever leads to them, it is all of them, once each, and a part is a part."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from benchmarks.studies import fill
from tests.archive.catalogue.asking import identifier

from dicomnet.archive.catalogue import query
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.options import QueryOptions
from dicomnet.archive.catalogue.query import Order, search

COUNT = 400
UNIQUE = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}
QUERIES: dict[str, dict[str, Any]] = {
    "all studies": {"QueryRetrieveLevel": "STUDY"},
    "all series": {"QueryRetrieveLevel": "SERIES"},
    "a common modality": {"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "CT"},
    "a range": {"QueryRetrieveLevel": "STUDY", "StudyTime": "10-1559"},
    "a pattern": {"QueryRetrieveLevel": "STUDY", "PatientName": "*E*"},
    "two keys": {"QueryRetrieveLevel": "STUDY", "PatientName": "*E*", "StudyTime": "10-1559"},
    "images by the name of the patient": {"QueryRetrieveLevel": "IMAGE", "PatientName": "M*"},
    "what is only in the rows": {"QueryRetrieveLevel": "STUDY", "PatientSex": "F"},
    "what is computed": {"QueryRetrieveLevel": "SERIES", "NumberOfSeriesRelatedInstances": "5"},
    "a count": {"QueryRetrieveLevel": "STUDY", "NumberOfStudyRelatedInstances": "10"},
    "nothing": {"QueryRetrieveLevel": "STUDY", "PatientName": "nobody"},
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index(tmp_path_factory.mktemp("order") / "index.sqlite") as made:
        fill(made, COUNT)
        made.complete()
        yield made


def found(index: Index, keys: dict[str, Any], order: Order | None, count: int | None = None) -> list[str]:
    name = UNIQUE[keys["QueryRetrieveLevel"]]
    answer = search(
        index, "STUDY", identifier(**keys), options=QueryOptions(relational=True, combined=True), order=order
    )
    return [match[name] for match in islice(filter(None, answer.matches), count)]


# The ways to the matches, which otherwise the number of rows decides on, by what decides.
WAYS = {
    "a few are read first": {},
    "all is walked": {"_SOON_KNOWN": 0},
    "the walk is given up, however much it finds": {
        "_SOON_KNOWN": 0,
        "_MANY": 60,
        "_SPARSE": COUNT,
    },
    "all are read": {"_SOON_KNOWN": 0, "_FAR": -1},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(query, name, value)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("newest_first", [True, False])
def test_an_order_has_all_matches_and_each_page_of_them(index: Index, name: str, newest_first: bool) -> None:
    keys = QUERIES[name]
    whole = found(index, keys, Order(newest_first))
    assert len(whole) == len(set(whole))
    assert set(whole) == set(found(index, keys, None))
    assert whole == found(index, keys, Order(not newest_first))[::-1]
    for skip in (1, 7, 60, len(whole) - 1, len(whole), len(whole) + 100):
        order = Order(newest_first, max(skip, 0), 11)
        assert found(index, keys, order) == whole[max(skip, 0) :]
        assert found(index, keys, order, 10) == whole[max(skip, 0) :][:10]
