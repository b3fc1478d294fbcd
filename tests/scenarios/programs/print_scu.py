from common import HOST, PORTS, say
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import (
    BasicFilmBox,
    BasicFilmSession,
    BasicGrayscaleImageBox,
    BasicGrayscalePrintManagementMeta,
    Printer,
    PrinterInstance,
)

META = BasicGrayscalePrintManagementMeta
ae = AE()
ae.add_requested_context(META)
assoc = ae.associate(HOST, PORTS[0])
status, printer = assoc.send_n_get([0x21100010, 0x21100020], Printer, PrinterInstance, meta_uid=META)
say(f"0x{status.Status:04X}", printer.PrinterStatus, printer.PrinterStatusInfo)
status, printer = assoc.send_n_get([0x21100010], Printer, "1.2.3", meta_uid=META)
say(f"0x{status.Status:04X}", printer)
session = Dataset()
session.NumberOfCopies = "1"
status, attributes = assoc.send_n_create(session, BasicFilmSession, "1.2.3.7", meta_uid=META)
say(f"0x{status.Status:04X}", attributes.NumberOfCopies)
box = Dataset()
box.ImageDisplayFormat = "STANDARD\\1,1"
status, attributes = assoc.send_n_create(box, BasicFilmBox, "1.2.3.8", meta_uid=META)
say(f"0x{status.Status:04X}", attributes.ReferencedImageBoxSequence[0].ReferencedSOPInstanceUID)
image = Dataset()
image.ImageBoxPosition = 1
status, attributes = assoc.send_n_set(image, BasicGrayscaleImageBox, "1.2.3.9", meta_uid=META)
say(f"0x{status.Status:04X}", attributes.ImageBoxPosition)
status, reply = assoc.send_n_action(None, 1, BasicFilmBox, "1.2.3.8", meta_uid=META)
say(f"0x{status.Status:04X}", reply)
say(f"0x{assoc.send_n_delete(BasicFilmBox, '1.2.3.8', meta_uid=META).Status:04X}")
say(f"0x{assoc.send_n_delete(BasicFilmSession, '1.2.3.7', meta_uid=META).Status:04X}")
try:
    assoc.send_n_get([], Printer, PrinterInstance)
except ValueError:
    say("no context without the meta SOP class")
assoc.release()
