"""`storescu`: sends files (C-STORE)."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..cli.arguments import FAILED, OK
from ..dimse.datasets import name_of
from ..drivers.files import StoredObject, open_object
from ..drivers.reading import NotDICOM
from ..errors import DicomnetError, UnusableObject
from ..exchange.reasons import reason
from ..exchange.requests import check_uids
from ..pynetdicom.association import Association
from ..pynetdicom.presentation import (
    PresentationContext,
    StoragePresentationContexts,
    build_context,
)
from .options import CALLING, PEER, PROPOSED_SYNTAX, Group, Tool, flag, proposed, row, scu_defaults
from .requestor import converse, outcome

_log = logging.getLogger(__name__)


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    objects, failed = _open_all(options.paths, recurses=options.recurse)
    if not objects:
        _log.warning("there is no DICOM file to send")
        return FAILED
    contexts = _contexts(options, objects)
    left = deque(enumerate(objects))

    def talk(assoc: Association) -> int:
        status = OK
        while left and assoc.is_established:
            number, each = left.popleft()
            _log.info("sending %s", each.file)
            status |= _send(assoc, each, number % 0xFFFF + 1)
        return status

    status, before = failed, len(left) + 1
    # An object that costs its association costs no other one; a peer that takes none at all is left alone.
    while 0 < len(left) < before:
        before = len(left)
        status |= converse(options, contexts, talk)
    for _, each in left:
        _log.error("%s was not sent", each.file)
    return status


def _contexts(options: Namespace, objects: Sequence[StoredObject]) -> list[PresentationContext]:
    if options.required_contexts:
        pairs = {(each.header.sop_class_uid, each.header.transfer_syntax_uid) for each in objects}
        return [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]
    syntaxes = proposed(options)
    return [build_context(each.abstract_syntax or "", syntaxes) for each in StoragePresentationContexts]


def _send(assoc: Association, each: StoredObject, message_id: int) -> int:
    try:
        status = outcome(assoc.send_c_store(name_of(each.file), message_id), "C-STORE")
    except (DicomnetError, OSError, ValueError) as error:
        _log.error("%s was not sent: %s", each.file, _words(error))
        return FAILED
    if status != OK:
        _log.error("%s was not stored", each.file)
    return status


def _words(error: Exception) -> str:
    return reason(error) if isinstance(error, DicomnetError | OSError) else str(error)


def _open_all(paths: Sequence[str], *, recurses: bool) -> tuple[list[StoredObject], int]:
    """The objects to send, and an exit status: a file that is not DICOM is a failure unless it was in a folder."""
    objects, status = [], OK
    for path in paths:
        is_folder = os.path.isdir(path)
        for each in _files(Path(path), recurses) if is_folder else (Path(path),):
            try:
                stored = open_object(each)
                header = stored.header
                check_uids(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)
                objects.append(stored)
            except (UnusableObject, OSError) as error:
                _log.error("%s is not sent: %s", each, reason(error))
                if not (is_folder and isinstance(error, NotDICOM)):
                    status = FAILED
    return objects, status


def _files(folder: Path, recurses: bool) -> Iterator[Path]:
    """What a folder has to send; the folder itself where it cannot be read, for that to be told."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for each in entries:
        if os.path.isdir(each):
            if recurses and not each.is_symlink():
                yield from _files(each, recurses)
        elif os.path.isfile(each) or not os.path.exists(each):
            yield each


TOOL = Tool(
    "Send DICOM files (C-STORE).",
    "storescu -cx -r 127.0.0.1 11112 study/ image.dcm",
    (
        PEER,
        Group(
            "input",
            (
                row("paths", help="a DICOM file, or a folder", nargs="+", metavar="path"),
                flag("-r", "--recurse", help="send what is in folders inside of folders, too"),
            ),
        ),
        CALLING,
        PROPOSED_SYNTAX,
        Group(
            "more",
            (
                flag(
                    "-cx",
                    "--required-contexts",
                    help="propose only the presentation contexts that the files need",
                ),
            ),
        ),
    ),
    run,
    scu_defaults("STORESCU"),
)
