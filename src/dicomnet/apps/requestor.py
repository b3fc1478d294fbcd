"""The common part of the SCUs: the association, and the report of statuses."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset

from ..cli.arguments import FAILED, OK
from ..cli.words import printable
from ..exchange.messages import uids_of
from ..exchange.results import Receipt, RetrieveProgress
from ..plurals import counted
from ..pynetdicom.ae import AE
from ..pynetdicom.association import Association
from ..pynetdicom.events import EventHandlerType
from ..pynetdicom.presentation import PresentationContext
from ..pynetdicom.status import code_to_category
from ..services.registry import PENDING

_log = logging.getLogger(__name__)

# What the responses of C-GET and C-MOVE count (PS3.7 section 9.1.3).
_COUNTS = {
    name.lower(): f"NumberOf{name}Suboperations" for name in ("Remaining", "Completed", "Failed", "Warning")
}


def application_entity(aet: str, options: Namespace) -> AE:
    """An AE with the time-outs of the options."""
    ae = AE(aet)
    ae.acse_timeout = options.acse_timeout or None
    ae.dimse_timeout = options.dimse_timeout or None
    ae.network_timeout = options.network_timeout or None
    ae.maximum_pdu_size = options.max_pdu
    return ae


def converse(
    options: Namespace,
    contexts: Sequence[PresentationContext],
    talk: Callable[[Association], int],
    *,
    negotiation: Sequence[Any] = (),
    handlers: Iterable[EventHandlerType] = (),
) -> int:
    """Talk with the peer over an association, which is released at the end.

    Parameters
    ----------
    options
        Those of `PEER` and `CALLING`.
    contexts
        What to propose.
    talk
        What to do; gives the exit status.
    negotiation
        User information items.
    handlers
        Handlers for events.

    Returns
    -------
    int
        The exit status; the reason for a missing association has been logged.
    """
    ae = application_entity(options.calling_aet, options)
    assoc = ae.associate(
        options.addr,
        options.port,
        contexts=list(contexts),
        ae_title=options.called_aet,
        max_pdu=options.max_pdu,
        ext_neg=list(negotiation),
        evt_handlers=list(handlers),
    )
    if not assoc.is_established:
        return FAILED
    _log.info("association with %s at %s:%d", options.called_aet, options.addr, options.port)
    try:
        status = talk(assoc)
    except BaseException:
        assoc.abort()
        raise
    assoc.release()
    return status


def outcome(status: Dataset, what: str) -> int:
    """Log a final status; returns the exit status.

    Parameters
    ----------
    status
        As `Association.send_c_echo` gives it, empty where no response came.
    what
        The operation.
    """
    if "Status" not in status:
        _log.error("%s: no valid response came", what)
        return FAILED
    category = code_to_category(status.Status)
    comment = f": {printable(str(status.ErrorComment))}" if status.get("ErrorComment") else ""
    is_good = category in ("Success", "Warning", "Cancel")
    _log.log(
        logging.INFO if is_good else logging.ERROR,
        "%s: 0x%04X (%s)%s",
        what,
        status.Status,
        category,
        comment,
    )
    return OK if is_good else FAILED


class Arrived:
    """What has arrived here of a retrieval.

    Parameters
    ----------
    receipt
        The objects.
    """

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt

    def settle(self, progress: RetrieveProgress) -> RetrieveProgress:
        """The progress after the final response with what is here."""
        return progress.with_receipt(self.receipt)


def follow(
    responses: Iterator[tuple[Dataset, Dataset | None]], what: str, arrived: Arrived | None = None
) -> int:
    """Log the responses of a C-GET or C-MOVE to the end; returns the exit status.

    Parameters
    ----------
    responses
        As `Association.send_c_get` and `send_c_move` give them.
    what
        The operation.
    arrived
        What has arrived here, None where nothing is to.
    """
    progress, final = RetrieveProgress(PENDING), Dataset()
    for final, identifier in responses:
        if "Status" in final and code_to_category(final.Status) == "Pending":
            _log.info("%s: 0x%04X (Pending)", what, final.Status)
        progress = _next(progress, final, identifier)
        _log.info("sub-operations: %s", _counts(final))
    status = outcome(final, what)
    if arrived is not None:
        progress = arrived.settle(progress)
    for uid in progress.failed_uids:
        _log.error("failed: %s", printable(uid))
    if progress.missing:
        _log.error(
            "%d of %s that the peer says it has sent did not arrive",
            progress.missing,
            counted(progress.sent or 0, "object"),
        )
    return status if progress.is_complete else FAILED


def _next(progress: RetrieveProgress, response: Dataset, identifier: Dataset | None) -> RetrieveProgress:
    """The progress after a response; a count that it leaves out has not changed."""
    remaining, completed, failed, warnings = (response.get(keyword) for keyword in _COUNTS.values())
    return RetrieveProgress(
        response.get("Status", PENDING),
        remaining,
        progress.completed if completed is None else completed,
        progress.failed if failed is None else failed,
        progress.warnings if warnings is None else warnings,
        uids_of(identifier),
    )


def _counts(response: Dataset) -> str:
    """The counts that a response has, in words."""
    given = {name: response.get(keyword) for name, keyword in _COUNTS.items()}
    words = ", ".join(f"{name} {count}" for name, count in given.items() if count is not None)
    return words or "the peer gives no counts"
