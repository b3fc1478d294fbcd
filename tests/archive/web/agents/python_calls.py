"""The calls of dicomweb-client for Python as a table, each with what its result must be by the files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dicomweb_client import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from tests.archive.web.agents.checks import (
    ALL_FRAMES,
    COLOURS,
    DOCUMENT,
    FILM,
    PACKED,
    SLICE,
    Check,
    address,
    are,
    are_frames,
    are_pictures,
    finds,
    gives,
    is_document,
    is_metadata_of,
    is_picture,
    is_stored,
    is_value,
    leaves,
)
from tests.archive.web.agents.holding import Holding
from tests.archive.web.agents.objects import CT_STUDY, NEW_STUDY, PACKED_STUDY


class Call(NamedTuple):
    """A call with its arguments, and what its result is compared with."""

    name: str
    arguments: Sequence[Any]
    options: dict[str, Any]
    check: Check

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}{(*self.arguments,)} {options}"[:100]


def client_of(url: str) -> DICOMwebClient:
    """A client, which does not ask again what was answered."""
    client = DICOMwebClient(url)
    client.set_http_retry_params(retry=False)
    return client


_JPEG, _PNG = ("image/jpeg",), ("image/png",)
_FIELDS = ["StudyDescription", "00080090"]
# The URL of the service stands for {}.
_PIXELS = f"{{}}{address(*SLICE)}/bulkdata/7FE00010"
_DOCUMENT = f"{{}}{address(*DOCUMENT)}/bulkdata/00420011"
_OCTETS = (("application/octet-stream", str(ExplicitVRLittleEndian)),)
_J2K = (("image/jp2", str(JPEG2000Lossless)),)

CALLS: Sequence[Call] = [
    Call("lookup_keyword", ["00100010"], {}, gives("PatientName")),
    Call("lookup_tag", ["PatientName"], {}, gives("00100010")),
    Call("set_chunk_size", [65536], {}, gives(None)),
    Call("set_http_retry_params", [False], {}, gives(None)),
    Call("search_for_studies", [], {}, finds("/studies")),
    Call("search_for_studies", [], {"limit": 2, "offset": 1}, finds("/studies", 2)),
    Call("search_for_studies", [], {"limit": 2, "get_remaining": True}, finds("/studies")),
    Call("search_for_studies", [], {"fields": _FIELDS}, finds(f"/studies?includefield={','.join(_FIELDS)}")),
    *(
        Call("search_for_studies", [], {"search_filters": {name: value}}, finds(f"/studies?{name}={value}"))
        for name, value in (
            ("PatientID", "OH*"),
            ("PatientName", "*test"),
            ("StudyDate", "20240101-20240131"),
            ("ModalitiesInStudy", "US"),
            ("StudyInstanceUID", CT_STUDY),
            ("00100020", "PACKED"),
        )
    ),
    Call(
        "search_for_studies",
        [],
        {"search_filters": {"PatientName": "MULTI^FRAME"}, "fuzzymatching": True},
        finds("/studies?PatientName=MULTI^FRAME"),
    ),
    Call(
        "search_for_studies", [], {"additional_params": {"PatientID": "US"}}, finds("/studies?PatientID=US")
    ),
    Call(
        "search_for_studies",
        [],
        {"search_filters": {"PatientID": "NOBODY"}},
        finds("/studies?PatientID=NOBODY"),
    ),
    Call("search_for_series", [], {}, finds("/series")),
    Call("search_for_series", [CT_STUDY], {}, finds(f"/studies/{CT_STUDY}/series")),
    Call(
        "search_for_series",
        [CT_STUDY],
        {"search_filters": {"Modality": "SEG"}, "fields": ["SeriesDescription"]},
        finds(f"/studies/{CT_STUDY}/series?Modality=SEG&includefield=SeriesDescription"),
    ),
    Call("search_for_instances", [], {"limit": 3}, finds("/instances", 3)),
    Call("search_for_instances", [CT_STUDY], {}, finds(f"/studies/{CT_STUDY}/instances")),
    Call("search_for_instances", SLICE[:2], {}, finds(f"{address(*SLICE[:2])}/instances")),
    Call("search_for_instances", SLICE[:2], {"fields": ["all"]}, finds(f"{address(*SLICE[:2])}/instances")),
    Call("retrieve_study_metadata", [CT_STUDY], {}, is_metadata_of(CT_STUDY)),
    Call("retrieve_series_metadata", SLICE[:2], {}, is_metadata_of(*SLICE[:2])),
    Call("retrieve_instance_metadata", SLICE, {}, is_metadata_of(*SLICE)),
    Call("retrieve_instance_metadata", DOCUMENT, {}, is_metadata_of(*DOCUMENT)),
    Call("retrieve_study", [CT_STUDY], {}, are(CT_STUDY)),
    Call("iter_study", [PACKED_STUDY], {}, are(PACKED_STUDY)),
    Call("retrieve_series", SLICE[:2], {}, are(*SLICE[:2])),
    Call("iter_series", PACKED[:2], {}, are(*PACKED[:2])),
    Call("retrieve_instance", SLICE, {}, are(*SLICE)),
    Call("retrieve_instance", PACKED, {"media_types": (("application/dicom", "*"),)}, are(*PACKED)),
    Call(
        "retrieve_instance",
        PACKED,
        {"media_types": (("application/dicom", str(ExplicitVRLittleEndian)),)},
        are(*PACKED),
    ),
    Call("retrieve_instance_frames", [*FILM, ALL_FRAMES], {}, are_frames(FILM, ALL_FRAMES)),
    Call("retrieve_instance_frames", [*PACKED, [1]], {"media_types": _J2K}, are_frames(PACKED, [1])),
    Call(
        "retrieve_instance_frames",
        [*PACKED, [1]],
        {"media_types": _OCTETS},
        are_frames(PACKED, [1], decoded=True),
    ),
    Call("iter_instance_frames", [*FILM, [3, 1]], {}, are_frames(FILM, [3, 1])),
    # Of a series of one picture; of one of several, no picture stands for all of them.
    Call("retrieve_series_rendered", FILM[:2], {"media_types": _PNG}, is_picture(FILM)),
    Call("retrieve_series_rendered", SLICE[:2], {}, are_pictures),
    Call("retrieve_instance_rendered", SLICE, {"media_types": _JPEG}, is_picture(SLICE)),
    Call(
        "retrieve_instance_rendered",
        SLICE,
        {"media_types": _PNG, "params": {"window": "40,400,linear"}},
        is_picture(SLICE, window=(40, 400)),
    ),
    Call("retrieve_instance_rendered", DOCUMENT, {"media_types": ("application/pdf",)}, is_document),
    Call("retrieve_instance_frames_rendered", [*FILM, [2]], {"media_types": _PNG}, is_picture(FILM, 2)),
    Call(
        "retrieve_instance_frames_rendered", [*COLOURS, [7]], {"media_types": _JPEG}, is_picture(COLOURS, 7)
    ),
    Call("retrieve_bulkdata", [_PIXELS], {}, is_value(SLICE, "PixelData")),
    Call("retrieve_bulkdata", [_DOCUMENT], {}, is_value(DOCUMENT, "EncapsulatedDocument")),
    Call("retrieve_bulkdata", [_PIXELS], {"media_types": _OCTETS}, is_value(SLICE, "PixelData")),
    Call(
        "retrieve_bulkdata", [_PIXELS], {"byte_range": (10, 19)}, is_value(SLICE, "PixelData", slice(10, 20))
    ),
    Call("iter_bulkdata", [_PIXELS], {}, is_value(SLICE, "PixelData")),
]

# One after the other: what is deleted has been stored by a call before. At the end all is as it was.
CHANGES: Sequence[Call] = [
    Call("store_instances", ["to_be_stored"], {}, is_stored),
    Call(
        "delete_instance",
        [NEW_STUDY, f"{NEW_STUDY}.1", f"{NEW_STUDY}.1.1"],
        {},
        leaves(f"{NEW_STUDY}.1.2", f"{NEW_STUDY}.2.3"),
    ),
    Call("delete_series", [NEW_STUDY, f"{NEW_STUDY}.1"], {}, leaves(f"{NEW_STUDY}.2.3")),
    Call("delete_study", [NEW_STUDY], {}, leaves()),
    Call("store_instances", ["to_be_stored"], {"study_instance_uid": NEW_STUDY}, is_stored),
    Call("delete_study", [NEW_STUDY], {}, leaves()),
]


def called(call: Call, client: DICOMwebClient, held: Holding) -> Any:
    """Make a call; what is read bit by bit is read to its end."""
    arguments = [
        held.to_be_stored
        if each == "to_be_stored"
        else each.format(client.base_url)
        if isinstance(each, str)
        else each
        for each in call.arguments
    ]
    found = getattr(client, call.name)(*arguments, **call.options)
    return list(found) if call.name.startswith("iter_") else found
