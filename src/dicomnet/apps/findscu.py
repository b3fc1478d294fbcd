"""`findscu`: query (C-FIND)."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from .. import _config
from ..cli.arguments import FAILED
from ..cli.words import printable
from ..datasets.codec import encode
from ..encoding.file_header import encode_file_header
from ..errors import UnusableObject
from ..pynetdicom.association import Association
from ..pynetdicom.dsutils import pretty_dataset
from ..pynetdicom.presentation import build_context
from ..pynetdicom.status import code_to_category
from . import models
from .identifier import build_identifier
from .options import CALLING, KEYS, PEER, Group, Tool, flag, scu_defaults
from .requestor import converse, outcome

_log = logging.getLogger(__name__)


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    identifier = build_identifier(options)
    model = models.FIND_MODELS[options.model]

    def talk(assoc: Association) -> int:
        log_identifier("the request", identifier)
        status, number, unreadable = Dataset(), 0, 0
        for status, match in assoc.send_c_find(identifier, model):
            if match is None:
                # Why it cannot be read, or is not there, was logged when it came.
                unreadable += "Status" in status and code_to_category(status.Status) == "Pending"
                continue
            number += 1
            _log.info("C-FIND: 0x%04X (Pending)", status.Status)
            _show(f"response {number}", match)
            if options.write:
                _write(Path(f"rsp{number:06d}.dcm"), match, model, _transfer_syntax(assoc, model))
        ended = outcome(status, "C-FIND")
        if unreadable:
            _log.error("matches that could not be read: %d", unreadable)
        return FAILED if unreadable else ended

    negotiation = models.negotiation(options, model)
    return converse(options, [build_context(model)], talk, negotiation=negotiation)


def log_identifier(what: str, identifier: Dataset) -> None:
    """Log an Identifier, if `_config.LOG_IDENTIFIERS` asks for them, one line for each element."""
    if _config.LOG_IDENTIFIERS:
        _show(what, identifier)


def _show(what: str, identifier: Dataset) -> None:
    _log.info("")
    _log.info("# identifier of %s", what)
    for line in pretty_dataset(identifier):
        _log.info("%s", printable(line))
    _log.info("")


def _transfer_syntax(assoc: Association, model: UID) -> UID:
    return next(each.transfer_syntax[0] for each in assoc.accepted_contexts if each.abstract_syntax == model)


def _write(path: Path, match: Dataset, model: str, syntax: UID) -> None:
    encoded = encode(match, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if encoded is None:
        raise UnusableObject(f"the match for {path} cannot be written")
    path.write_bytes(encode_file_header(str(model), generate_uid(None), str(syntax)) + encoded)


TOOL = Tool(
    "Query a peer (C-FIND) and show the matches.",
    "findscu -S -k QueryRetrieveLevel=STUDY -k 'PatientName=DOE*' -k StudyInstanceUID= 127.0.0.1 11112",
    (
        PEER,
        CALLING,
        models.FIND,
        KEYS,
        Group("output", (flag("-w", "--write", help="write matches to rsp000001.dcm, rsp000002.dcm, ..."),)),
        Group(
            "extended negotiation",
            (
                flag("--relational-query", help="ask for relational queries"),
                flag("--dt-matching", help="ask for combined matching of dates and times"),
                flag("--fuzzy-names", help="ask for fuzzy matching of names"),
                flag("--timezone-adj", help="ask for adjustment to time zones"),
                flag("--enhanced-conversion", help="ask for conversion of enhanced multi-frame images"),
            ),
        ),
    ),
    run,
    scu_defaults("FINDSCU") | models.DEFAULT,
    logging.INFO,
)
