"""Fixtures of the tests that compare with pynetdicom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pynetdicom import sop_class
from pynetdicom.service_class import QueryRetrieveServiceClass


@pytest.fixture
def unregistered() -> Iterator[None]:
    """Undoes what the test registers with pynetdicom: later tests compare the names of its modules."""
    tables = [vars(sop_class), *sop_class._SERVICE_TO_UID_GROUP.values()]
    kept = [dict(table) for table in tables]
    queries = {name: list(uids) for name, uids in QueryRetrieveServiceClass._SUPPORTED_UIDS.items()}
    yield
    for table, before in zip(tables, kept, strict=True):
        for name in table.keys() - before.keys():
            del table[name]
        table.update(before)
    QueryRetrieveServiceClass._SUPPORTED_UIDS.update(queries)
