from common import HOST, PORTS, say
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    RTPlanStorage,
    Verification,
)

ae = AE(ae_title="ASKER")
ae.implementation_class_uid = "1.2.3.4.5"
ae.implementation_version_name = "SCENARIO"
contexts = [
    build_context(Verification, ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]),
    build_context(CTImageStorage),
    build_context(MRImageStorage),
    build_context(RTPlanStorage),
    build_context(Verification, "1.2.840.10008.1.2"),
    build_context(PatientRootQueryRetrieveInformationModelFind),
]
window = AsynchronousOperationsWindowNegotiation()
window.maximum_number_operations_invoked = 5
window.maximum_number_operations_performed = 3
extended = SOPClassExtendedNegotiation()
extended.sop_class_uid = PatientRootQueryRetrieveInformationModelFind
extended.service_class_application_information = b"\x01\x01"
common = SOPClassCommonExtendedNegotiation()
common.sop_class_uid = CTImageStorage
common.service_class_uid = "1.2.840.10008.4.2"
common.related_general_sop_class_identification = [MRImageStorage]
roles = [build_role(CTImageStorage, scu_role=True, scp_role=True), build_role(MRImageStorage, scp_role=True)]
assoc = ae.associate(
    HOST, PORTS[0], contexts, "NEGOTIATOR", max_pdu=4096, ext_neg=[*roles, window, extended, common]
)
say(assoc.is_established)
for each in assoc.accepted_contexts:
    say(each.context_id, each.abstract_syntax.name, each.transfer_syntax[0].name, each.as_scu, each.as_scp)
for each in assoc.rejected_contexts:
    say(each.context_id, each.abstract_syntax.name, each.result, each.status)
say(assoc.acceptor.asynchronous_operations, assoc.acceptor.sop_class_extended)
say({str(uid): (item.scu_role, item.scp_role) for uid, item in assoc.acceptor.role_selection.items()})
assoc.release()
