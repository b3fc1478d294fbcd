"""The constants that programs know from pynetdicom, with this package's own values."""

from __future__ import annotations

import uuid

import pynetdicom

import dicomnet.pynetdicom
from dicomnet import AE


def test_the_constants_identify_this_package() -> None:
    ours, theirs = dicomnet.pynetdicom, pynetdicom
    uid, version = ours.PYNETDICOM_IMPLEMENTATION_UID, ours.PYNETDICOM_IMPLEMENTATION_VERSION
    assert type(uid) is type(theirs.PYNETDICOM_IMPLEMENTATION_UID)
    assert uid.is_valid
    assert uid != theirs.PYNETDICOM_IMPLEMENTATION_UID
    assert 1 <= len(version) <= 16
    assert version.startswith("DICOMNET")
    assert (uid, version) == (AE().implementation_class_uid, AE().implementation_version_name)


def test_the_prefix_can_begin_uids_of_a_program() -> None:
    """It is one of a UUID (PS3.5 section B.2), as long as any other can be."""
    prefix = dicomnet.pynetdicom.PYNETDICOM_UID_PREFIX
    assert prefix.startswith("2.25.")
    assert prefix.endswith(".")
    assert uuid.UUID(int=int(prefix.split(".")[2])).int > 0
    assert len(prefix) < 64 - 10
