"""All that watches one node: its counts, its checks and their pages."""

from __future__ import annotations

import logging
from pathlib import Path

from ..holdings import Holdings
from ..terms import Terms
from .association import Tally
from .certificate import Validity, validity_of
from .checks import Checks, Circumstances
from .counts import Counts
from .web import Pages, Web

_log = logging.getLogger(__name__)


class Watch:
    """The watch over a node. It must have been made before worker processes are forked.

    Parameters
    ----------
    holdings
        What the node has.
    address
        Host and port of the pages; port 0 chooses a free one.
    terms
        Those of the node; see also `adopt`.
    processes
        How many processes the node will have: this one, and the workers.

    Attributes
    ----------
    counts
        What is counted.

    Raises
    ------
    OSError
        If the address cannot be bound; it is named as a file would be.
    """

    def __init__(self, holdings: Holdings, address: tuple[str, int], terms: Terms, processes: int) -> None:
        self.counts = Counts(processes)
        self._now = Circumstances(terms.watch)
        self.adopt(terms)
        self._pages = Pages(self.counts, Checks(holdings, self.counts, self._now).probes())
        self._web = Web(address, self._pages)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the pages."""
        return self._web.address

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on, whose files for TLS have been read."""
        self._now.policy = terms.watch
        if terms.tls is not None:
            self._now.certificate = _validity(Path(terms.tls.certificate))
        rules = terms.access.rules or ()
        titles = {rule.title for rule in rules if rule.title is not None}
        left = self.counts.peers.adopt(titles | terms.retrieval.destinations.keys())
        if left:
            _log.warning("metrics: there are too many peers to tell them apart; %d count as other", left)

    def tally(self) -> Tally:
        """What counts a new association."""
        return Tally(self.counts)

    def start(self) -> None:
        """Begin to answer, in the process that has no workers, or forked them."""
        self._web.start()

    def be_process(self, number: int) -> None:
        """Count in another process, after a fork."""
        self._web.forget()
        self.counts.be_process(number)

    def stopping(self) -> None:
        """The node accepts no associations any more, and goes on with those that are open."""
        self._now.is_stopping = True

    def close(self) -> None:
        """End the pages."""
        self._web.close()
        self._pages.probes.close()


def _validity(path: Path) -> Validity | None:
    try:
        return validity_of(path)
    except (OSError, ValueError) as error:
        _log.warning("health: when the certificate expires cannot be found out: %s", error)
        return None
