"""The calls of dicomweb-client of npm as a table, each with what its result must be by the files."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import dcmread
from pydicom.dataset import Dataset
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
    finds,
    gives,
    is_document,
    is_metadata_of,
    is_picture,
    is_stored,
    is_thumbnail,
    is_value,
)
from tests.archive.web.agents.holding import Holding
from tests.archive.web.agents.objects import CT_STUDY, NEW_STUDY, PACKED_STUDY
from tests.archive.web.agents.recording import PREFIX

PACKAGES = ("dicomweb-client@0.11.3", "xhr2@0.2.1")
_SCRIPT = Path(__file__).with_name("npm_calls.js")
_NAMES = ("studyInstanceUID", "seriesInstanceUID", "sopInstanceUID")


class Call(NamedTuple):
    """A call with its options, and what its result is compared with."""

    name: str
    options: Mapping[str, Any]
    check: Check


def _of(*uids: str, **options: Any) -> dict[str, Any]:
    return {**dict(zip(_NAMES, uids, strict=False)), **options}


def _types(kind: str, syntax: str = "") -> list[dict[str, str]]:
    return [{"mediaType": kind, **({"transferSyntaxUID": syntax} if syntax else {})}]


def _files(check: Check) -> Check:
    """The result is files, of which a check looks at the objects."""

    def check_files(held: Holding, found: Any) -> None:
        contents = found if isinstance(found, list) else [found]
        check(held, [dcmread(BytesIO(each)) for each in contents])

    return check_files


def _only(check: Check) -> Check:
    """The result is a list of one."""

    def check_only(held: Holding, found: Any) -> None:
        (only,) = found
        check(held, only)

    return check_only


def _leads_to(*uids: str) -> Check:
    """The result is the URL of an object."""

    def check(held: Holding, found: str) -> None:
        answer = held.node.get(found.partition(PREFIX)[2])
        assert answer.status == 200
        are(*uids)(held, dcmread(BytesIO(answer.body)))

    return check


def _report(held: Holding, found: str) -> None:
    is_stored(held, Dataset.from_json(found))


_OCTETS = _types("application/octet-stream", str(ExplicitVRLittleEndian))
_J2K = _types("image/jp2", str(JPEG2000Lossless))
_PIXELS = f"{{}}{address(*SLICE)}/bulkdata/7FE00010"
_DOCUMENT = f"{{}}{address(*DOCUMENT)}/bulkdata/00420011"
_QUERY = {"PatientID": "OH*", "limit": "5", "includefield": "StudyDescription"}

CALLS: Sequence[Call] = [
    Call("setDebug", {"words": False}, gives(None)),
    Call("getDebug", {}, gives(False)),
    Call("setVerbose", {"words": False}, gives(None)),
    Call("getVerbose", {}, gives(True)),
    Call("searchForStudies", {}, finds("/studies")),
    Call(
        "searchForStudies",
        {"queryParams": _QUERY},
        finds("/studies?PatientID=OH*&includefield=StudyDescription"),
    ),
    Call("searchForStudies", {"queryParams": {"PatientID": "NOBODY"}}, finds("/studies?PatientID=NOBODY")),
    Call("searchForSeries", {}, finds("/series")),
    Call("searchForSeries", _of(CT_STUDY), finds(f"/studies/{CT_STUDY}/series")),
    Call(
        "searchForSeries",
        _of(CT_STUDY, queryParams={"Modality": "RTSTRUCT"}),
        finds(f"/studies/{CT_STUDY}/series?Modality=RTSTRUCT"),
    ),
    Call("searchForInstances", {"queryParams": {"limit": "3"}}, finds("/instances", 3)),
    Call("searchForInstances", _of(CT_STUDY), finds(f"/studies/{CT_STUDY}/instances")),
    Call("searchForInstances", _of(*SLICE[:2]), finds(f"{address(*SLICE[:2])}/instances")),
    Call("retrieveStudyMetadata", _of(CT_STUDY), is_metadata_of(CT_STUDY)),
    Call("retrieveSeriesMetadata", _of(*SLICE[:2]), is_metadata_of(*SLICE[:2])),
    Call("retrieveInstanceMetadata", _of(*SLICE), is_metadata_of(*SLICE)),
    Call("buildInstanceWadoURIUrl", _of(*SLICE), _leads_to(*SLICE)),
    Call("retrieveStudy", _of(CT_STUDY), _files(are(CT_STUDY))),
    Call("retrieveStudy", _of(PACKED_STUDY), _files(are(PACKED_STUDY))),
    Call("retrieveSeries", _of(*SLICE[:2]), _files(are(*SLICE[:2]))),
    Call("retrieveInstance", _of(*PACKED), _files(are(*PACKED))),
    Call("retrieveInstanceFrames", _of(*FILM, frameNumbers=ALL_FRAMES), are_frames(FILM, ALL_FRAMES)),
    Call(
        "retrieveInstanceFrames",
        _of(*PACKED, frameNumbers=[1], mediaTypes=_OCTETS),
        are_frames(PACKED, [1], decoded=True),
    ),
    Call("retrieveInstanceFrames", _of(*PACKED, frameNumbers=[1], mediaTypes=_J2K), are_frames(PACKED, [1])),
    Call("retrieveInstanceRendered", _of(*SLICE), _only(is_picture(SLICE))),
    Call("retrieveInstanceRendered", _of(*SLICE, mediaTypes=_types("image/png")), _only(is_picture(SLICE))),
    Call("retrieveInstanceRendered", _of(*DOCUMENT), _only(is_document)),
    Call(
        "retrieveInstanceThumbnail",
        _of(*FILM, mediaTypes=_types("image/jpeg")),
        _only(is_thumbnail(FILM, ALL_FRAMES)),
    ),
    Call(
        "retrieveInstanceFramesRendered",
        _of(*FILM, frameNumbers=[2], mediaTypes=_types("image/png")),
        _only(is_picture(FILM, 2)),
    ),
    Call(
        "retrieveInstanceFramesRendered",
        _of(*COLOURS, frameNumbers=[7], mediaTypes=_types("image/jpeg"), queryParams={"quality": "95"}),
        _only(is_picture(COLOURS, 7)),
    ),
    Call("retrieveInstanceFramesThumbnail", _of(*FILM, frameNumbers=[2]), _only(is_thumbnail(FILM, [2]))),
    Call("retrieveBulkData", {"BulkDataURI": _PIXELS}, is_value(SLICE, "PixelData")),
    Call("retrieveBulkData", {"BulkDataURI": _PIXELS, "mediaTypes": _OCTETS}, is_value(SLICE, "PixelData")),
    Call(
        "retrieveBulkData",
        {"BulkDataURI": _PIXELS, "byteRange": [10, 19]},
        is_value(SLICE, "PixelData", slice(10, 20)),
    ),
    Call(
        "retrieveBulkData",
        {"BulkDataURI": _DOCUMENT, "singlepart": "bulkdata"},
        is_value(DOCUMENT, "EncapsulatedDocument"),
    ),
    Call("storeInstances", {"datasets": ()}, _report),
    Call("storeInstances", {"datasets": (), **_of(NEW_STUDY)}, _report),
]


def installed(folder: Path) -> Path:
    """Have npm install the client in a folder; gives where its modules are."""
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder / "node_modules"


def called(modules: Path, url: str, held: Holding, folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Make all calls; gives the names of the methods that there are, and what each call gave."""
    files = []
    for each in held.to_be_stored:
        files.append(folder / f"{each.SOPInstanceUID}.dcm")
        files[-1].write_bytes(held.files[each.SOPInstanceUID])
    calls = []
    for call in CALLS:
        options = dict(call.options)
        if "datasets" in options:
            options["datasets"] = [str(path) for path in files]
        if "BulkDataURI" in options:
            options["BulkDataURI"] = options["BulkDataURI"].format(url)
        calls.append([call.name, options])
    done = subprocess.run(
        ["node", str(_SCRIPT)],
        input=json.dumps({"modules": str(modules), "url": url, "calls": calls}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(done.stdout, object_hook=_decoded)
    return said["methods"], said["results"]


def _decoded(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
