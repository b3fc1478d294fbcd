"""Generates src/dicomnet/services/sop_classes.py from pydicom's UID dictionary and the rules below.

Run it after an update of pydicom. With ``--check`` it writes nothing; the exit status is 1 if the file is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from dicomnet.services.service_names import ServiceName, SOPClassRow

TARGET = Path(__file__).parents[1] / "src" / "dicomnet" / "services" / "sop_classes.py"

# The first pattern that matches a whole keyword names the service class; None leaves the SOP class out.
RULES: tuple[tuple[str, ServiceName | None], ...] = (
    ("Verification", ServiceName.VERIFICATION),
    (".*RealTimeCommunication", None),  # streamed over RTP, not over DIMSE
    ("MediaStorageDirectoryStorage", ServiceName.MEDIA_STORAGE),
    (
        "(HangingProtocol|ColorPalette|ProtocolApproval|Inventory)Storage",
        ServiceName.NON_PATIENT_OBJECT_STORAGE,
    ),
    ("(GenericImplant|ImplantAssembly)TemplateStorage", ServiceName.NON_PATIENT_OBJECT_STORAGE),
    ("ImplantTemplateGroupStorage", ServiceName.NON_PATIENT_OBJECT_STORAGE),
    ("(CT|XA)DefinedProcedureProtocolStorage", ServiceName.NON_PATIENT_OBJECT_STORAGE),
    (".*Storage(ForPresentation|ForProcessing|Trial|Retired)?", ServiceName.STORAGE),
    ("HangingProtocolInformationModel.*", ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE),
    ("ColorPaletteQueryRetrieve.*", ServiceName.COLOR_PALETTE_QUERY_RETRIEVE),
    (
        "(GenericImplant|ImplantAssembly)TemplateInformationModel.*",
        ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE,
    ),
    ("ImplantTemplateGroupInformationModel.*", ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE),
    ("DefinedProcedureProtocolInformation.*", ServiceName.DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE),
    ("ProtocolApprovalInformationModel.*", ServiceName.PROTOCOL_APPROVAL_QUERY_RETRIEVE),
    ("Inventory(Find|Move|Get)", ServiceName.INVENTORY_QUERY_RETRIEVE),
    ("InventoryCreation", ServiceName.STORAGE_MANAGEMENT),
    (".*RelevantPatientInformationQuery", ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY),
    ("ProductCharacteristicsQuery|SubstanceApprovalQuery", ServiceName.SUBSTANCE_ADMINISTRATION_QUERY),
    ("ModalityWorklistInformationModelFind", ServiceName.BASIC_WORKLIST_MANAGEMENT),
    ("RepositoryQuery|CompositeInstance.*(Move|Get)", ServiceName.QUERY_RETRIEVE),
    (".*QueryRetrieveInformationModel(Find|Move|Get)", ServiceName.QUERY_RETRIEVE),
    ("ModalityPerformedProcedureStep.*", ServiceName.PROCEDURE_STEP),
    ("UnifiedProcedureStep.*", ServiceName.UNIFIED_PROCEDURE_STEP),
    ("RT(Conventional|Ion)MachineVerification", ServiceName.RT_MACHINE_VERIFICATION),
    ("StorageCommitmentPushModel", ServiceName.STORAGE_COMMITMENT),
    ("ProceduralEventLogging|SubstanceAdministrationLogging", ServiceName.APPLICATION_EVENT_LOGGING),
    ("InstanceAvailabilityNotification", ServiceName.INSTANCE_AVAILABILITY_NOTIFICATION),
    ("MediaCreationManagement", ServiceName.MEDIA_CREATION_MANAGEMENT),
    ("DisplaySystem", ServiceName.DISPLAY_SYSTEM_MANAGEMENT),
    ("Basic.*(FilmSession|FilmBox|ImageBox|AnnotationBox|PrintManagementMeta)", ServiceName.PRINT_MANAGEMENT),
    (
        "PrintJob|Printer|PrinterConfigurationRetrieval|PresentationLUT|VOILUTBox",
        ServiceName.PRINT_MANAGEMENT,
    ),
)

# SOP classes of the standard that the oldest supported versions of pydicom do not know.
NEWER: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.66.7": "LabelMapSegmentationStorage",
    "1.2.840.10008.5.1.4.1.1.66.8": "HeightMapSegmentationStorage",
    "1.2.840.10008.5.1.4.1.1.9.100.1": "WaveformPresentationStateStorage",
    "1.2.840.10008.5.1.4.1.1.9.100.2": "WaveformAcquisitionPresentationStateStorage",
}

# The retired SOP classes of these services are kept: archives still hold their objects, or old peers still use them.
RETIRED_BUT_KNOWN = (ServiceName.STORAGE, ServiceName.QUERY_RETRIEVE)

# The ready-made lists follow the standard's retirements, with these exceptions.
UNLISTED = frozenset({"VOILUTBox"})
LISTED = re.compile("PatientStudyOnlyQueryRetrieveInformationModel.*")

OPERATIONS = {"Find": "C-FIND", "Move": "C-MOVE", "Get": "C-GET", "Query": "C-FIND"}
WITH_OPERATION = re.compile(r".*(Find|Move|Get|(?:Patient\w*|Repository|Characteristics|Approval)Query)")

# Other keywords in use for some SOP classes, with the keywords of PS3.6.
ALIASES: Mapping[str, str] = {
    "ColorPaletteInformationModelFind": "ColorPaletteQueryRetrieveInformationModelFind",
    "ColorPaletteInformationModelGet": "ColorPaletteQueryRetrieveInformationModelGet",
    "ColorPaletteInformationModelMove": "ColorPaletteQueryRetrieveInformationModelMove",
    "ModalityWorklistInformationFind": "ModalityWorklistInformationModelFind",
    "OphthlamicOpticalCoherenceTomographyBscanVolumeAnalysisStorage": (
        "OphthalmicOpticalCoherenceTomographyBscanVolumeAnalysisStorage"
    ),
    "PseudoColorSoftcopyPresentationStageStorage": "PseudoColorSoftcopyPresentationStateStorage",
    "RTBrachyApplicationSetupDeliveryInstructionsStorage": "RTBrachyApplicationSetupDeliveryInstructionStorage",
    "RoboticArmRadiationRecordStorage": "RoboticRadiationRecordStorage",
    "VariableModalityLUTSoftcopyPresentationStageStorage": "VariableModalityLUTSoftcopyPresentationStateStorage",
}

# The SOP classes that a storage SCU proposes when it does not know its objects beforehand (the set that DCMTK's tools
# propose), as the UIDs without COMMON_STORAGE_ROOT.
COMMON_STORAGE_ROOT = "1.2.840.10008.5.1."
COMMON_STORAGE = """
1.27 1.29 1.30 4.1.1.1 4.1.1.1.1 4.1.1.1.1.1 4.1.1.1.2 4.1.1.1.2.1 4.1.1.1.3 4.1.1.1.3.1 4.1.1.10
4.1.1.104.1 4.1.1.104.2 4.1.1.11 4.1.1.11.1 4.1.1.11.2 4.1.1.11.3 4.1.1.11.4 4.1.1.11.5 4.1.1.12.1
4.1.1.12.1.1 4.1.1.12.2 4.1.1.12.2.1 4.1.1.12.3 4.1.1.128 4.1.1.128.1 4.1.1.129 4.1.1.13.1.1 4.1.1.13.1.2
4.1.1.13.1.3 4.1.1.130 4.1.1.131 4.1.1.14.1 4.1.1.14.2 4.1.1.2 4.1.1.2.1 4.1.1.2.2 4.1.1.20 4.1.1.3
4.1.1.3.1 4.1.1.4 4.1.1.4.1 4.1.1.4.2 4.1.1.4.3 4.1.1.4.4 4.1.1.481.1 4.1.1.481.2 4.1.1.481.3 4.1.1.481.4
4.1.1.481.5 4.1.1.481.6 4.1.1.481.7 4.1.1.481.8 4.1.1.481.9 4.1.1.5 4.1.1.6 4.1.1.6.1 4.1.1.6.2 4.1.1.66
4.1.1.66.1 4.1.1.66.2 4.1.1.66.3 4.1.1.66.4 4.1.1.66.5 4.1.1.67 4.1.1.68.1 4.1.1.68.2 4.1.1.7 4.1.1.7.1
4.1.1.7.2 4.1.1.7.3 4.1.1.7.4 4.1.1.77.1 4.1.1.77.1.1 4.1.1.77.1.1.1 4.1.1.77.1.2 4.1.1.77.1.2.1
4.1.1.77.1.3 4.1.1.77.1.4 4.1.1.77.1.4.1 4.1.1.77.1.5.1 4.1.1.77.1.5.2 4.1.1.77.1.5.3 4.1.1.77.1.5.4
4.1.1.77.1.6 4.1.1.77.2 4.1.1.78.1 4.1.1.78.2 4.1.1.78.3 4.1.1.78.4 4.1.1.78.5 4.1.1.78.6 4.1.1.78.7
4.1.1.78.8 4.1.1.79.1 4.1.1.8 4.1.1.80.1 4.1.1.81.1 4.1.1.88.11 4.1.1.88.22 4.1.1.88.33 4.1.1.88.34
4.1.1.88.40 4.1.1.88.50 4.1.1.88.59 4.1.1.88.65 4.1.1.88.67 4.1.1.88.69 4.1.1.88.70 4.1.1.9 4.1.1.9.1.1
4.1.1.9.1.2 4.1.1.9.1.3 4.1.1.9.2.1 4.1.1.9.3.1 4.1.1.9.4.1 4.1.1.9.4.2 4.1.1.9.5.1 4.1.1.9.6.1 4.34.7
"""

HEADER = '''"""The table of the standard's SOP classes. Generated by tools/generate_sop_classes.py: do not edit."""

# ruff: noqa: E501
# fmt: off
from __future__ import annotations

from itertools import starmap

from .service_names import ServiceName, SOPClassRow
'''


def rows(dictionary: Mapping[str, tuple[str, str, str, str, str]] = UID_dictionary) -> list[SOPClassRow]:
    """The SOP classes of a UID dictionary that have a network service, in order of their UIDs.

    Parameters
    ----------
    dictionary
        UID to (name, type, info, "Retired" or empty, keyword).

    Raises
    ------
    LookupError
        If no rule covers a current SOP class.
    """
    found = {}
    for uid, (_, kind, info, retired, keyword) in dictionary.items():
        if kind not in ("SOP Class", "Meta SOP Class") or not keyword:
            continue
        if retired and service_of(keyword) not in RETIRED_BUT_KNOWN:
            continue
        is_current = not (retired or info or keyword in UNLISTED)
        found[uid] = (keyword, is_current or LISTED.fullmatch(keyword) is not None)
    found.update({uid: (keyword, True) for uid, keyword in NEWER.items()})
    made = (_row(uid, keyword, is_listed) for uid, (keyword, is_listed) in sorted(found.items()))
    return [row for row in made if row]


def service_of(keyword: str) -> ServiceName | None:
    """The service class of the first rule that matches, or None."""
    return next((service for pattern, service in RULES if re.fullmatch(pattern, keyword)), None)


def _row(uid: str, keyword: str, is_listed: bool) -> SOPClassRow | None:
    if not any(re.fullmatch(pattern, keyword) for pattern, _ in RULES):
        raise LookupError(f"no rule covers {keyword}")
    service = service_of(keyword)
    if service is None:
        return None
    operation = ""
    if match := WITH_OPERATION.fullmatch(keyword):
        operation = next(value for end, value in OPERATIONS.items() if match[1].endswith(end))
    return SOPClassRow(uid, keyword, service, operation, is_listed)


def generate(sop_classes: Sequence[SOPClassRow]) -> str:
    """The source text of the generated module."""
    uids = {row.keyword: row.uid for row in sop_classes}
    lines = [HEADER, "SOP_CLASSES: dict[str, SOPClassRow] = {", "    row.uid: row", "    for row in starmap("]
    lines += ["        SOPClassRow,", "        ("]
    lines += [
        f'            ("{uid}", "{keyword}", ServiceName.{service.name}, "{operation}", {is_listed}),'
        for uid, keyword, service, operation, is_listed in sop_classes
    ]
    lines += ["        ),", "    )", "}", ""]
    lines += ["ALIASES: dict[str, str] = {"]
    lines += [f'    "{alias}": "{uids[keyword]}",' for alias, keyword in sorted(ALIASES.items())]
    lines += ["}", '"""Other keywords in use for some SOP classes, with the UIDs of those classes."""', ""]
    lines += ["COMMON_STORAGE: tuple[str, ...] = ("]
    lines += [f'    "{uid}",' for uid in sorted(COMMON_STORAGE_ROOT + end for end in COMMON_STORAGE.split())]
    lines += [")", '"""The storage SOP classes to propose if the objects are not known beforehand."""', ""]
    return "\n".join(lines)


def main() -> int:
    text = generate(rows())
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text() != text)
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
