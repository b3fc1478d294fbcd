"""When the certificates in a file are valid.

Python's own `ssl` tells that only of a peer's certificate that it has verified, which an expired one never is.
"""

from __future__ import annotations

from pathlib import Path

from ...values import frozen


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
    # A node without TLS starts without it.
    from cryptography.x509 import load_pem_x509_certificates

    found = load_pem_x509_certificates(path.read_bytes())
    return Validity(
        max(each.not_valid_before_utc.timestamp() for each in found),
        min(each.not_valid_after_utc.timestamp() for each in found),
    )
