import warnings

from common import say, serve
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import *  # noqa: F403

warnings.simplefilter("ignore", DeprecationWarning)


def handle_requested(event):
    request = event.assoc.requestor.primitive
    say("requested", event.assoc.acceptor.ae_title, request.calling_ae_title, request.called_ae_title)


def handle_echo(event):
    say("echo", event.is_cancelled)
    return 0xFF00


def handle_store(event):
    say("store", event.request.MoveOriginatorApplicationEntityTitle)
    event.dataset.file_meta = event.file_meta
    say("group length", "FileMetaInformationGroupLength" in event.file_meta)
    event.dataset.save_as("received.dcm")
    return 0xFF01


ae = AE(b"SPELLED")
ae.require_calling_aet = [b"PYNETDICOM", "OTHER"]
ae.add_supported_context(Verification)  # noqa: F405
ae.supported_contexts = StoragePresentationContexts[:3]
ae.add_supported_context(CTImageStorage)  # noqa: F405
say_later = [len(ae.supported_contexts), ae.ae_title, ae.require_calling_aet]
handlers = [
    (evt.EVT_REQUESTED, handle_requested),
    (evt.EVT_C_ECHO, handle_echo),
    (evt.EVT_C_STORE, handle_store),
]
serve(ae, handlers, at_end=lambda: say(*say_later), ae_title=b"STORE SCP")
