"""What failures of TLS handshakes mean. Apart from `transport`, since `ssl` is slow to import."""

from __future__ import annotations

import ssl

from ..errors import TLSFailed


def tls_error(error: ssl.SSLError | OSError) -> TLSFailed:
    """The handshake's failure in words that help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSFailed(f"the peer's certificate is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return TLSFailed("the peer does not speak TLS on this port")
        if error.reason and not isinstance(error, ssl.SSLEOFError):
            return TLSFailed(error.reason.replace("_", " ").lower())
    return TLSFailed(
        "the connection ended during the handshake; perhaps the peer does not speak TLS on this port"
    )
