"""The files that pydicom ships for its own tests, and what a storage SCP has to say to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
from tests.support import data_set_of, digest

_DATA = Path(pydicom.__file__).parent / "data"
FILES = tuple(
    path for folder in ("charset_files", "test_files") for path in sorted((_DATA / folder).rglob("*.dcm"))
)

# What cannot be sent at all.
NOT_SENT = {
    "empty_charset_LEI.dcm": "there is no SOP Class UID",
    "nested_priv_SQ.dcm": "there is no SOP Class UID",
    "meta_missing_tsyntax.dcm": "there is no SOP Class UID",
    "no_meta.dcm": "it begins in the middle of a data set",
}
# What is no composite instance, so that no storage SCP accepts a context for it.
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
NO_CONTEXT = {"DICOMDIR-empty.dcm": "a Media Storage Directory"}
# What our side finds to be damaged before anything of it is sent.
CUT_OFF = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
UNSENT = NO_CONTEXT.keys() | CUT_OFF
# A deflated data set of odd length has to be sent with a zero byte behind it (PS3.5 section A.5).
PADDED = {"image_dfl.dcm"}

NO_UIDS = "the data set has no SOP Class UID and SOP Instance UID, only the file meta information has"
NO_STUDY = "there is no Study Instance UID"
TAKEN = "an earlier file has the SOP Instance UID, and other content"
CUT = "an element is longer than the file"

REFUSED: dict[str, tuple[int, str]] = {
    "chrSQEncoding.dcm": (0xA900, NO_UIDS),
    "chrSQEncoding1.dcm": (0xA900, NO_UIDS),
    "UN_sequence.dcm": (0xA900, NO_UIDS),
    "no_meta_group_length.dcm": (0xA900, NO_UIDS),
    "priv_SQ.dcm": (0xA900, NO_UIDS),
    "JPEGLSNearLossless_08.dcm": (0xA900, NO_STUDY),
    "JPEGLSNearLossless_16.dcm": (0xA900, NO_STUDY),
    "SC_rgb_jls_lossy_line.dcm": (0xA900, NO_STUDY),
    "SC_rgb_jls_lossy_sample.dcm": (0xA900, NO_STUDY),
    "MR_truncated.dcm": (0xC000, CUT),
    "rtplan_truncated.dcm": (0xC000, CUT),
    "SC_rgb_jpeg.dcm": (0xC000, "it says Explicit VR and is in implicit VR"),
    "chrFrenMulti.dcm": (0xB000, TAKEN),
    "chrJapMultiExplicitIR6.dcm": (0xB000, TAKEN),
    "JPEG2000.dcm": (0xB000, TAKEN),
    "JPGExtended.dcm": (0xB000, TAKEN),
    "MR_small_RLE.dcm": (0xB000, TAKEN),
    "MR_small_jp2klossless.dcm": (0xB000, TAKEN),
    "MR_small_jpeg_ls_lossless.dcm": (0xB000, TAKEN),
    "MR_small_padded.dcm": (0xB000, TAKEN),
    "SC_rgb_rle.dcm": (0xB000, TAKEN),
    "SC_rgb_rle_16bit.dcm": (0xB000, TAKEN),
    "SC_rgb_rle_16bit_2frame.dcm": (0xB000, TAKEN),
    "SC_rgb_rle_2frame.dcm": (0xB000, TAKEN),
    "SC_rgb_rle_32bit.dcm": (0xB000, TAKEN),
    "SC_rgb_rle_32bit_2frame.dcm": (0xB000, TAKEN),
    "SC_ybr_full_422_uncompressed.dcm": (0xB000, TAKEN),
    "reportsi_with_empty_number_tags.dcm": (0xB000, TAKEN),
    "rtdose.dcm": (0xB000, TAKEN),
    "rtdose_1frame.dcm": (0xB000, TAKEN),
    "rtdose_expb.dcm": (0xB000, TAKEN),
    "rtdose_expb_1frame.dcm": (0xB000, TAKEN),
    "rtdose_rle.dcm": (0xB000, TAKEN),
    "rtdose_rle_1frame.dcm": (0xB000, TAKEN),
}

# What an earlier file is, too, in another form: it is answered with Success and not kept.
KEPT_ALREADY = {
    "ExplVR_LitEndNoMeta.dcm": "ExplVR_BigEndNoMeta.dcm",
    "MR_small_bigendian.dcm": "MR_small.dcm",
    "MR_small_expb.dcm": "MR_small.dcm",
    "MR_small_implicit.dcm": "MR_small.dcm",
    "SC_rgb_small_odd_big_endian.dcm": "SC_rgb_small_odd.dcm",
    "liver_expb_1frame.dcm": "liver_1frame.dcm",
}

# What can be told of each: the status that our node answers, None where it is not sent.
EXPECTED: dict[str, int | None] = {
    path.name: None if path.name in UNSENT else REFUSED.get(path.name, (0, ""))[0]
    for path in FILES
    if path.name not in NOT_SENT
}

_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
# The transfer syntaxes of those files that do not say it.
_HEADERLESS = {
    "rtstruct.dcm": _IMPLICIT,
    "ExplVR_LitEndNoMeta.dcm": _EXPLICIT,
    "ExplVR_BigEndNoMeta.dcm": _BIG_ENDIAN,
}


@dataclass(frozen=True, slots=True)
class Sendable:
    """A file that can be sent, as pydicom reads it."""

    path: Path
    sop_class: str
    transfer_syntax: str
    digest: str


@cache
def sendables() -> tuple[Sendable, ...]:
    """What our side can send, in the order of the files."""
    found = []
    for path in FILES:
        if path.name in NOT_SENT:
            continue
        if path.name == "SC_rgb_jpeg.dcm":
            # pydicom warns of it.
            sop_class, syntax = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.4.50"
        else:
            data_set = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            meta = data_set.file_meta
            sop_class = data_set.get("SOPClassUID") or meta.MediaStorageSOPClassUID
            syntax = meta.get("TransferSyntaxUID") or _HEADERLESS[path.name]
        found.append(Sendable(path, str(sop_class), str(syntax), digest(own_data_set(path))))
    return tuple(found)


def own_data_set(path: Path) -> bytes:
    """The data set of a file as it is to be sent; where there is no file meta information, that is the whole file."""
    content = path.read_bytes() if path.name in _HEADERLESS else data_set_of(path)
    return content + b"\0" if path.name in PADDED else content


def pairs() -> list[tuple[str, str]]:
    """The SOP classes and transfer syntaxes that the files need."""
    return sorted({(each.sop_class, each.transfer_syntax) for each in sendables()})
