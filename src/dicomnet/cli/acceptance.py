"""The report of `diagnose --contexts`: which SOP classes a peer accepts, and in which transfer syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..diagnosing.associations import open_association, release
from ..exchange.syntaxes import SYNTAXES
from .words import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from ..exchange.contexts import Context, Pair
    from ..peers.target import Target


def write_acceptance(target: Target, options: Namespace) -> None:
    """Write a line for each SOP class that the peer accepts; with ``--json`` also for those that it does not.

    Raises
    ------
    NetworkError, AssociationError
        If an association cannot be established.
    """
    from ..services.service_names import ServiceName
    from ..services.sop_classes import COMMON_STORAGE, SOP_CLASSES

    classes = [
        row.uid
        for row in SOP_CLASSES.values()
        if row.uid in COMMON_STORAGE or (row.is_listed and row.service is not ServiceName.STORAGE)
    ]
    # First ask which classes are accepted in any transfer syntax at all: most peers do not support most of them.
    accepted = {uid for uid, _ in _accepted(target, [(uid, tuple(SYNTAXES)) for uid in classes])}
    each = [(uid, (syntax,)) for uid in classes if uid in accepted for syntax in SYNTAXES]
    syntaxes: dict[str, list[str]] = {uid: [] for uid in classes}
    for uid, syntax in _accepted(target, each):
        syntaxes[uid].append(syntax)
    width = max((len(SOP_CLASSES[uid].keyword) for uid in accepted), default=0)
    for uid, found in syntaxes.items():
        keyword = SOP_CLASSES[uid].keyword
        if options.json:
            import json

            print(json.dumps({"sop_class": keyword, "sop_class_uid": uid, "transfer_syntax_uids": found}))
        elif found:
            print(printable(f"{keyword:{width}}  {', '.join(map(SYNTAXES.__getitem__, found))}"))
    if not options.json and not options.quiet:
        print(f"the peer accepts {len(accepted)} of {len(classes)} common SOP classes")


def _accepted(target: Target, contexts: Sequence[Context]) -> list[Pair]:
    """SOP class and transfer syntax of each context that the peer accepts."""
    from ..wire.pdu import MAXIMUM_CONTEXTS

    found: list[Pair] = []
    for begin in range(0, len(contexts), MAXIMUM_CONTEXTS):
        link = open_association(target, contexts[begin : begin + MAXIMUM_CONTEXTS])
        found += ((each.abstract_syntax, each.transfer_syntax) for each in link.agreement.accepted)
        release(link)
    return found
