"""What programs import from pynetdicom.apps.common does what it does there."""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnet.apps import common
from dicomnet.cli.arguments import UsageError

reference: Any = import_module("pynetdicom.apps.common")

KEYS = [
    "PatientID=P1",
    "QueryRetrieveLevel=STUDY",
    "BeamSequence[0].BeamNumber=5",
    "(0010,0010)=Test^Name",
    "Rows=7",
]


@pytest.mark.parametrize("keys", [KEYS[:1], KEYS[1:3], KEYS])
def test_a_data_set_is_made_of_keys(keys: list[str]) -> None:
    options = Namespace(file=None, keyword=keys)
    assert common.create_dataset(options) == reference.create_dataset(options)


@pytest.mark.parametrize("key", KEYS)
def test_a_path_sets_its_element(key: str) -> None:
    assert common.ElementPath(key).update(Dataset()) == reference.ElementPath(key).update(Dataset())


def test_a_path_that_names_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        common.ElementPath("NoSuchThing=1").update(Dataset())


@pytest.mark.parametrize("recurse", [False, True])
def test_files_are_found(tmp_path: Path, recurse: bool) -> None:
    for name in ("b.dcm", "a.dcm", "sub/c.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = [str(tmp_path), str(tmp_path / "missing")]
    found: Any = reference.get_files(paths, recurse)
    assert common.get_files(paths, recurse) == (sorted(found[0]), found[1])


def test_prefixes_are_those_of_pynetdicom() -> None:
    theirs = {uid: prefix for uid, (prefix, _) in reference.SOP_CLASS_PREFIXES.items()}
    assert {uid: prefix for uid, (prefix, _) in common.SOP_CLASS_PREFIXES.items()} == theirs


@pytest.mark.parametrize(
    "given", [{"quiet": True}, {"verbose": True}, {"debug": True}, {"log_level": "warn"}]
)
def test_options_say_how_much_is_logged(given: dict[str, Any]) -> None:
    options = Namespace(**({"quiet": False, "verbose": False, "debug": False, "log_level": None} | given))
    logger = common.setup_logging(options, f"test-{given}")
    expected = {"quiet": 51, "verbose": 20, "debug": 10, "log_level": 30}
    assert logger.level == expected[next(iter(given))]
