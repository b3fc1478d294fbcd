"""What is found of each layer between us and a peer, up to the first one that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import (
    AssociationAborted,
    AssociationRejected,
    DeadlineExceeded,
    DicomnetError,
    ServiceRefusal,
    TLSFailed,
)
from ..exchange.reasons import reason
from ..values import frozen
from .associations import open_association, release, speaks_tls
from .layers import Finding, LayerFailed, Probe, connect, handshake, resolve, tls_advice

if TYPE_CHECKING:
    from ..peers.target import Target

# Advice on a rejection, by source and reason (PS3.8 Table 9-21).
ADVICE = {
    (1, 2): "the peer is not a DICOM node",
    (
        1,
        3,
    ): "the peer does not know our AE title {calling}; register it there, or choose one that it knows with --calling",
    (1, 7): "{called} is not the AE title of the peer; find out its own, and give it as AET@host:port",
    (2, 2): "the peer speaks another version of the protocol",
    (3, 1): "the peer is busy; try again later",
    (3, 2): "the peer has reached its limit of associations; try again later",
}
REJECTED_BY_USER = (
    "many peers reject AE titles or hosts that they do not know in this way; register {calling} there"
)


@frozen
class Checked:
    """What became of the check of a layer.

    Parameters
    ----------
    layer
        Its name.
    outcome
        ``ok``, ``failed``, ``not used`` or ``not tried``.
    seconds
        How long it took; None if it was not checked.
    detail
        The result in words; empty if there is none.
    values
        Its values by name, for JSON.
    """

    layer: str
    outcome: str
    seconds: float | None
    detail: str
    values: Mapping[str, Any]


def diagnosed(target: Target) -> Iterator[Checked]:
    """Check each layer between us and a peer; those behind the first one that fails are not tried.

    Parameters
    ----------
    target
        The peer.

    Yields
    ------
    Checked
        What became of each layer, in order, as soon as it is known.
    """
    probe = Probe(target, [])
    layers = LAYERS
    if target.is_web:
        from ..drivers.http import load
        from .web_layers import WEB_LAYERS

        load()
        layers = WEB_LAYERS
    for module in ("drivers.blocking.opening", "services.user"):
        # Loaded now, so that the times measured are those of the peer.
        import_module(f"dicomnet.{module}")
    has_failed = False
    try:
        for layer, check in layers.items():
            if has_failed:
                yield Checked(layer, "not tried", None, "", {})
                continue
            begin = perf_counter()
            try:
                finding = check(probe)
            except LayerFailed as error:
                has_failed = True
                yield Checked(layer, "failed", perf_counter() - begin, str(error), {})
            else:
                if finding is None:
                    yield Checked(layer, "not used", None, "", {})
                else:
                    yield Checked(layer, "ok", perf_counter() - begin, finding.detail, finding.values)
    except BaseException:
        # Ctrl-C does not wait for a peer that may never answer.
        if probe.link is not None:
            probe.link.abort()
        raise
    if probe.link is not None:
        release(probe.link)


def _associate(probe: Probe) -> Finding:
    from ..exchange.contexts import NATIVE, VERIFICATION
    from ..upper_layer.negotiation import first_of
    from ..wire.items import ImplementationClassUID, ImplementationVersionName

    try:
        probe.link = open_association(probe.target, [(VERIFICATION, NATIVE)])
    except DicomnetError as error:
        raise LayerFailed(_association_advice(probe.target, error)) from error
    agreement = probe.link.agreement
    item = first_of(agreement.user_items, ImplementationClassUID)
    version = first_of(agreement.user_items, ImplementationVersionName)
    maximum = agreement.peer_maximum_length
    values = {
        "implementation_class_uid": item.uid if item else None,
        "implementation_version_name": version.name if version else None,
        "maximum_length": maximum,
    }
    detail = (
        f"accepted by {values['implementation_version_name'] or 'an implementation without a version name'}"
        f" ({values['implementation_class_uid'] or 'no class UID'}), "
        + (f"PDUs of up to {maximum} bytes" if maximum else "PDUs of any length")
    )
    return Finding(detail, values)


def _association_advice(target: Target, error: DicomnetError) -> str:
    if isinstance(error, AssociationRejected):
        names = {"calling": target.calling, "called": target.address.ae_title}
        advice = ADVICE.get((error.source, error.reason), REJECTED_BY_USER if error.source == 1 else "")
        return f"{error}; {advice.format(**names)}" if advice else str(error)
    if isinstance(error, TLSFailed):
        return tls_advice(error.cause)
    if target.tls is None and speaks_tls(target):
        return "the peer speaks TLS on this port; use --tls"
    if isinstance(error, DeadlineExceeded):
        return f"{error}; something listens there, but it may not be a DICOM node"
    if isinstance(error, AssociationAborted) and error.source is None:
        if target.tls is not None:
            return f"{error}; it may require a certificate from us: use --tls-cert"
        return f"{error}; it may not be a DICOM node, or not accept our host or AE title {target.calling}"
    return reason(error)


def _check_context(probe: Probe) -> Finding:
    from ..encoding.transfer_syntaxes import transfer_syntax
    from ..exchange.contexts import VERIFICATION

    assert probe.link is not None
    agreement = probe.link.agreement
    for context in agreement.contexts_for(VERIFICATION):
        syntax = transfer_syntax(context.transfer_syntax)
        return Finding(f"Verification is accepted in {syntax.name}", {"transfer_syntax_uid": syntax.uid})
    (context,) = agreement.contexts.values()
    raise LayerFailed(
        f"Verification is not accepted: {REFUSALS.get(context.result, f'result {context.result}')}; --contexts"
        " shows what the peer accepts"
    )


def _echo(probe: Probe) -> Finding:
    from ..exchange.requests import echo_request
    from ..exchange.results import check_status
    from ..services import user

    assert probe.link is not None
    link = probe.link
    try:
        response = link.run(user.one_reply(echo_request(link.agreement, link.next_message_id())))
        check_status(response, "Verification")
    except ServiceRefusal as error:
        raise LayerFailed(reason(error)) from error
    except DicomnetError as error:
        raise LayerFailed(f"{error}; the peer accepted the association, but did not answer C-ECHO") from error
    return Finding("the peer answered with success", {"status": response.status})


# Explanations of the results of PS3.8 Table 9-18.
REFUSALS = {
    1: "the peer's user refuses it",
    2: "the peer's provider gives no reason",
    3: "the peer does not support the SOP class",
    4: "the peer supports none of the transfer syntaxes",
}
# The check of each layer, in order; it returns what it found, or None if the layer is not used.
LAYERS: dict[str, Callable[[Probe], Finding | None]] = {
    "name": resolve,
    "TCP": connect,
    "TLS": handshake,
    "association": _associate,
    "presentation context": _check_context,
    "C-ECHO": _echo,
}
