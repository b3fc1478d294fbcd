"""`dicomnet diagnose`: finds the layer that fails between us and a peer, from the name lookup to C-ECHO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..diagnosing.diagnosis import Checked, diagnosed
from .acceptance import write_acceptance
from .arguments import FAILED, OK, Parser, UsageError
from .requestor import add_peer_options, target_of
from .words import printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..peers.target import Target


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "Find the layer that fails between us and a peer: name lookup, TCP, TLS, association, presentation context\n"
        "or C-ECHO. Each has a line with what was found and how long it took. The layers after the first one that\n"
        "fails are not tried, and the exit status is 1. Those of a DICOMweb service are name lookup, TCP, TLS, HTTP\n"
        "and a query.",
        "dicomnet diagnose PACS@127.0.0.1:11112\n"
        "dicomnet diagnose --tls --tls-ca hospital.pem PACS@pacs.example:2762\n"
        "dicomnet diagnose --contexts PACS@127.0.0.1:11112\n"
        "dicomnet diagnose https://pacs.example/dicom-web",
    )
    add_peer_options(parser, over_http=True)
    parser.add_argument(
        "--contexts",
        action="store_true",
        help="also list which of the common SOP classes the peer accepts, and in which transfer syntaxes",
    )
    parser.add_argument(
        "--json", action="store_true", help="write a line of JSON for each layer, and for each SOP class"
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    target = target_of(options)
    if target.is_web and options.contexts:
        raise UsageError("--contexts is for associations; over HTTP there are none")
    return check_layers(target, options, with_contexts=options.contexts)


def check_layers(target: Target, options: Namespace, *, with_contexts: bool = False) -> int:
    """Check each layer between us and a peer, and write what is found; returns the exit status."""
    status = OK
    has_link = False
    for checked in diagnosed(target):
        if checked.outcome == "failed":
            status = FAILED
        has_link = has_link or (checked.layer == "association" and checked.outcome == "ok")
        _write(options, checked)
    if with_contexts and has_link:
        write_acceptance(target, options)
    return status


def _write(options: Namespace, checked: Checked) -> None:
    milliseconds = None if checked.seconds is None else round(checked.seconds * 1000, 2)
    if options.json:
        import json

        line = {
            "layer": checked.layer,
            "outcome": checked.outcome,
            "milliseconds": milliseconds,
            "detail": checked.detail or None,
        }
        print(json.dumps({**line, **checked.values}))
    elif checked.outcome == "failed" or not options.quiet:
        time = "" if milliseconds is None else f"{milliseconds:.2f} ms"
        print(f"{checked.outcome:9}  {checked.layer:20}  {time:>11}  {printable(checked.detail)}".rstrip())
