"""When certificates are valid, read from their encoding (RFC 5280 section 4.1).

Python's own `ssl` tells that only of a peer's certificate that it has verified, which an expired one never is.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ...values import frozen

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x17, 0x18
_VERSION = 0xA0
# What lies before the validity besides the version: serial number, signature, issuer.
_BEFORE = 3


@frozen
class Validity:
    """When all certificates of a chain are valid, in seconds since 1970.

    Parameters
    ----------
    begin, end
        From when, and until when.
    """

    begin: float
    end: float


def validity_of(path: Path) -> Validity:
    """When the certificates in a file are valid, all of them.

    Parameters
    ----------
    path
        A file in PEM, which may have a key, too.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it has no certificate, or one that cannot be read.
    """
    text = path.read_text(encoding="ascii", errors="replace")
    try:
        found = [_validity(ssl.PEM_cert_to_DER_cert(each)) for each in _PEM.findall(text)]
    except (IndexError, StopIteration) as error:
        raise ValueError("a certificate in the file is cut off") from error
    if not found:
        raise ValueError("there is no certificate in the file")
    return Validity(max(each.begin for each in found), min(each.end for each in found))


def _validity(encoded: bytes) -> Validity:
    """The validity of a certificate in DER."""
    ((kind, certificate),) = _elements(encoded)
    kind, content = next(_elements(certificate))
    if kind != _SEQUENCE:
        raise ValueError("it is not a certificate")
    parts = [part for part in _elements(content) if part[0] != _VERSION]
    kind, validity = parts[_BEFORE]
    begin, end = (_time(*each) for each in _elements(validity))
    return Validity(begin, end)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that a value consists of, each with its tag."""
    at = 0
    while at < len(data):
        kind, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + length > len(data):
            raise ValueError("it is cut off")
        yield kind, data[at : at + length]
        at += length


def _time(kind: int, value: bytes) -> float:
    text = value.decode("ascii")
    if kind == _UTC_TIME:
        # Years of two digits are those from 1950 to 2049 (RFC 5280 section 4.1.2.5.1).
        text = ("20" if text[:2] < "50" else "19") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("it has a time of another kind")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
