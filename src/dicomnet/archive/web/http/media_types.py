"""The media types of compressed pixel data (PS3.18 Table 8.7.3-5), which are given out and stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _all_of(endings: str) -> tuple[str, ...]:
    return tuple(f"1.2.840.10008.1.2.{ending}" for ending in endings.split())


COMPRESSED: Final[Mapping[str, tuple[str, ...]]] = {
    "image/jpeg": _all_of("4.70 4.50 4.51 4.57"),
    "image/dicom-rle": _all_of("5"),
    "image/jls": _all_of("4.80 4.81"),
    "image/jp2": _all_of("4.90 4.91"),
    "image/jpx": _all_of("4.92 4.93"),
    "image/jphc": _all_of("4.201 4.202 4.203"),
    "image/jxl": _all_of("4.110 4.111 4.112"),
    # Videos have several names: those of the standard's tables, and those of IANA.
    "video/mpeg2": _all_of("4.100 4.100.1 4.101 4.101.1"),
    "video/mpeg": _all_of("4.100 4.100.1 4.101 4.101.1"),
    "video/h265": _all_of("4.107 4.108"),
    "video/mp4": _all_of("4.102 4.102.1 4.103 4.103.1 4.104 4.104.1 4.105 4.105.1 4.106 4.106.1 4.107 4.108"),
}
"""Of each media type, in lower case, the UIDs of the transfer syntaxes that its data may have, the default first."""


def kinds_of(transfer_syntax_uid: str) -> list[str]:
    """The media types of pixel data in a transfer syntax, the best first; none where it is not compressed."""
    return [kind for kind, syntaxes in COMPRESSED.items() if transfer_syntax_uid in syntaxes]
