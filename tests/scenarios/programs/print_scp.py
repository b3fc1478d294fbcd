from common import say, serve
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicFilmBox,
    BasicFilmSession,
    BasicGrayscalePrintManagementMeta,
    Printer,
    PrinterInstance,
)


def handle_get(event):
    say("get", event.request.RequestedSOPInstanceUID, [f"{tag:08X}" for tag in event.attribute_identifiers])
    if event.request.RequestedSOPInstanceUID != PrinterInstance:
        return 0x0112, None
    printer = Dataset()
    printer.PrinterStatus = "NORMAL"
    printer.PrinterStatusInfo = "NORMAL"
    return 0x0000, printer


def handle_create(event):
    say("create", event.request.AffectedSOPClassUID.name, event.context.abstract_syntax.name)
    if event.request.AffectedSOPClassUID == BasicFilmBox:
        box = Dataset()
        item = Dataset()
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.1.4"
        item.ReferencedSOPInstanceUID = "1.2.3.9"
        box.ReferencedImageBoxSequence = [item]
        return 0x0000, box
    return 0x0000, event.attribute_list


def handle_set(event):
    say("set", event.request.RequestedSOPInstanceUID, event.modification_list.ImageBoxPosition)
    return 0xB604, event.modification_list


def handle_action(event):
    say("action", event.action_type, event.request.RequestedSOPClassUID.name)
    return 0x0000, None


def handle_delete(event):
    say("delete", event.request.RequestedSOPClassUID.name)
    if event.request.RequestedSOPClassUID == BasicFilmSession:
        raise ValueError("a mistake")
    return 0x0000


ae = AE()
ae.add_supported_context(BasicGrayscalePrintManagementMeta)
ae.add_supported_context(Printer)
handlers = [
    (evt.EVT_N_GET, handle_get),
    (evt.EVT_N_CREATE, handle_create),
    (evt.EVT_N_SET, handle_set),
    (evt.EVT_N_ACTION, handle_action),
    (evt.EVT_N_DELETE, handle_delete),
]
serve(ae, handlers)
