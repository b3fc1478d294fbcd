"""The transfer syntaxes of PS3.5 Annex A: their names, and what a network node has to know of them."""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import starmap
from typing import NamedTuple

from .elements import Encoding, encoding_of

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

PREFERRED_NATIVE = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
)
"""What an object is converted to where its own transfer syntax was not accepted: the first of these that was."""


class Transcoding(StrEnum):
    """Whether an object may be decompressed where its transfer syntax was not accepted.

    Native objects are encoded anew in another native transfer syntax without being asked: that keeps each value.
    """

    NEVER = "never"
    IF_NEEDED = "if-needed"

    @classmethod
    def parse(cls, value: str) -> Transcoding:
        """From its value; raises ValueError if it is none."""
        try:
            return cls(value)
        except ValueError:
            raise ValueError(f"{value!r} is no way to transcode; use {' or '.join(cls)}") from None


class TransferSyntax(NamedTuple):
    """What can be said of a transfer syntax. The defaults fit one that is not known.

    Parameters
    ----------
    uid
        Transfer Syntax UID.
    name
        Its name in PS3.6 Table A-1.
    is_implicit
        Whether the value representations are left out of the data set.
    is_little_endian
        The byte order of the data set.
    is_deflated
        Whether the data set as a whole is compressed.
    is_encapsulated
        Whether the pixel data has a form of its own, so that a codec is needed to send the object in another
        transfer syntax.
    """

    uid: str
    name: str
    is_implicit: bool = False
    is_little_endian: bool = True
    is_deflated: bool = False
    is_encapsulated: bool = True

    @property
    def encoding(self) -> Encoding:
        """How the elements of a data set are encoded, once it is inflated."""
        return encoding_of(self.is_implicit, self.is_little_endian)

    @property
    def is_video(self) -> bool:
        """Whether one codestream has all the frames (PS3.5 sections 8.2.5 to 8.2.8, and 8.2.10)."""
        return _VIDEO.fullmatch(self.uid) is not None


_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](?:\.1)?")


TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {
    row.uid: row
    for row in starmap(
        TransferSyntax,
        (
            ("1.2.840.10008.1.2", "Implicit VR Little Endian", True, True, False, False),
            ("1.2.840.10008.1.2.1", "Explicit VR Little Endian", False, True, False, False),
            ("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", False, True, True, False),
            ("1.2.840.10008.1.2.2", "Explicit VR Big Endian", False, False, False, False),
            ("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
            ("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)"),
            ("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
            (
                "1.2.840.10008.1.2.4.70",
                "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
            ),
            ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression"),
            ("1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression"),
            ("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)"),
            ("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression"),
            ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"),
            ("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component Image Compression"),
            ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
            ("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", False, True, True),
            ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level"),
            ("1.2.840.10008.1.2.4.100.1", "Fragmentable MPEG2 Main Profile / Main Level"),
            ("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level"),
            ("1.2.840.10008.1.2.4.101.1", "Fragmentable MPEG2 Main Profile / High Level"),
            ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
            ("1.2.840.10008.1.2.4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
            ("1.2.840.10008.1.2.4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
            (
                "1.2.840.10008.1.2.4.103.1",
                "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
            ),
            ("1.2.840.10008.1.2.4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
            (
                "1.2.840.10008.1.2.4.104.1",
                "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
            ),
            ("1.2.840.10008.1.2.4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
            (
                "1.2.840.10008.1.2.4.105.1",
                "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
            ),
            ("1.2.840.10008.1.2.4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
            ("1.2.840.10008.1.2.4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
            ("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1"),
            ("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1"),
            ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
            ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
            ("1.2.840.10008.1.2.4.112", "JPEG XL"),
            ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"),
            (
                "1.2.840.10008.1.2.4.202",
                "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
            ),
            ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression"),
            ("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced"),
            ("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", False, True, True),
            ("1.2.840.10008.1.2.5", "RLE Lossless"),
            ("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
            ("1.2.840.10008.1.2.7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
            ("1.2.840.10008.1.2.7.3", "SMPTE ST 2110-30 PCM Digital Audio"),
            ("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
        ),
    )
}

ALL_TRANSFER_SYNTAXES: list[str] = list(TRANSFER_SYNTAXES)
"""The UIDs of all of them."""

DEFAULT_TRANSFER_SYNTAXES: list[str] = ALL_TRANSFER_SYNTAXES[:4]
"""The UIDs of those without encapsulated pixel data: what is proposed and accepted where nothing is said."""


def transfer_syntax(uid: str) -> TransferSyntax:
    """What is known of a transfer syntax.

    Parameters
    ----------
    uid
        Transfer Syntax UID. One that is not known, which may be private and so anything, is taken for an
        encapsulated one.
    """
    return TRANSFER_SYNTAXES.get(uid) or TransferSyntax(uid, uid)
