"""What both drivers share of TLS: contexts, and what failures mean. Apart, since `ssl` is slow to import."""

from __future__ import annotations

import ssl
from os import PathLike, fspath
from pathlib import Path

from ..errors import TLSFailed
from ..values import field, frozen

_NOT_ACCEPTED = "the peer does not accept our certificate"
_NO_VERSION = (
    "the peer and we have no version of TLS in common, as with one that has only TLS 1.0 or 1.1: enable TLS 1.2 there,"
    " or put a TLS proxy in front of it"
)
# What a peer says by an alert (RFC 8446 section 6.2), or OpenSSL on our side, and what that comes from.
_MEANINGS = {
    "CERTIFICATE_REQUIRED": "the peer wants a certificate of ours, and got none",
    "HANDSHAKE_FAILURE": "there is no cipher in common, or the peer wants a certificate of ours",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer has shown no certificate, which we ask for",
    "INSUFFICIENT_SECURITY": "the peer asks for other ciphers than ours",
    "NO_SHARED_CIPHER": "there is no cipher in common",
    # By an alert of the peer, which may be client or server, or by OpenSSL on our side.
    "PROTOCOL_VERSION": _NO_VERSION,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
} | dict.fromkeys(
    (
        "ACCESS_DENIED",
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    ),
    _NOT_ACCEPTED,
)


def client_context(authority: str | PathLike[str] | None = None) -> ssl.SSLContext:
    """A client's context, the same with each version of Python.

    The peer's certificate is verified: its chain up to one that is trusted, its dates, and the name or address that was
    called. What RFC 5280 asks of certificates beyond that is not: those of hospitals and devices often lack its
    extensions, such as the Authority Key Identifier, and Python's default context refuses them from 3.13 on.

    Parameters
    ----------
    authority
        A file in PEM with the certificates to trust, also those that others have signed; None for those of the system.

    Raises
    ------
    ssl.SSLError, OSError
        If the file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    if authority is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(authority)
    return context


def load_certificate(
    context: ssl.SSLContext,
    certificate: str | PathLike[str],
    key: str | PathLike[str] | None = None,
    passphrase: str | None = None,
) -> None:
    """Have a context show a certificate. Nobody is asked for a passphrase.

    Parameters
    ----------
    certificate, key
        Files in PEM; None for a key that is in the file of the certificate.
    passphrase
        Of the key, None where it has none.

    Raises
    ------
    ValueError
        If the key has a passphrase and none is given, or if there is no key.
    ssl.SSLError, OSError
        If a file cannot be used.
    """
    password = _refuse_to_ask if passphrase is None else passphrase
    try:
        context.load_cert_chain(certificate, key, password=password)
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError("the key is not that of the certificate") from error
        why = _what_is_wrong_with_key(certificate, key)
        if why:
            raise ValueError(why) from error
        raise


def _what_is_wrong_with_key(certificate: str | PathLike[str], key: str | PathLike[str] | None) -> str:
    """Whether it is the key for which a certificate cannot be loaded, in words; OpenSSL does not tell."""
    try:
        if b"CERTIFICATE-----" not in Path(certificate).read_bytes():
            return ""
    except OSError:
        return ""
    try:
        content = Path(key or certificate).read_bytes()
    except OSError as error:
        return f"the key cannot be read: {error.strerror}: {fspath(key or certificate)}"
    if b"PRIVATE KEY-----" in content:
        return ""
    where = fspath(key) if key is not None else "the file of the certificate; name the file that has it"
    return f"there is no private key (PEM) in {where}"


def why_unusable(error: OSError | ValueError) -> str:
    """Why a file of a certificate, its key or its passphrase cannot be used, in words."""
    if isinstance(error, ssl.SSLError):
        return f"the file holds nothing that fits ({error.reason or 'not PEM'})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@frozen
class ServerCertificate:
    """What a server shows in TLS handshakes, and what it asks of clients.

    Parameters
    ----------
    certificate, key
        Files in PEM; None for a key that is in the file of the certificate.
    passphrase
        Of the key; None if it has none.
    client_ca
        A file in PEM with the certificates that clients' are trusted by; None for none.
    client_certificate
        Whether clients are asked for a certificate, and whether they must have one.
    """

    certificate: str
    key: str | None = None
    passphrase: str | None = field(default=None, repr=False)
    client_ca: str | None = None
    client_certificate: ssl.VerifyMode = ssl.CERT_NONE

    def context(self) -> ssl.SSLContext:
        """The context of a server, with what the files have now.

        Raises
        ------
        ValueError
            If the key has a passphrase and none is given, or if there is no key.
        ssl.SSLError, OSError
            If a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        load_certificate(context, self.certificate, self.key, self.passphrase)
        if self.client_certificate is not ssl.CERT_NONE:
            context.verify_mode = self.client_certificate
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        return context


@frozen
class ClientCertificate:
    """What a client trusts, and what it shows where a server asks.

    Parameters
    ----------
    authority
        As of `client_context`.
    certificate, key, passphrase
        As of `ServerCertificate`; None for a certificate if there is none to show.
    """

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    passphrase: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """The context of a client, with what the files have now; raises as that of `ServerCertificate`."""
        context = client_context(self.authority)
        if self.certificate is not None:
            load_certificate(context, self.certificate, self.key, self.passphrase)
        return context


def _refuse_to_ask() -> str:
    raise ValueError(
        "the key has a passphrase; write a copy without it by 'openssl pkey -in KEY -out COPY', readable only for us"
    )


def tls_error(error: ssl.SSLError | OSError) -> TLSFailed:
    """The failure of a handshake, or of what follows it, in words that help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSFailed(f"the peer's certificate is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return TLSFailed("the peer does not speak TLS on this port")
        if error.reason and not isinstance(error, ssl.SSLEOFError):
            words = error.reason.replace("_", " ").lower()
            meaning = _MEANINGS.get(error.reason.rpartition("_ALERT_")[2])
            return TLSFailed(f"{meaning} ({words})" if meaning else words)
    return TLSFailed(
        "the connection ended during the handshake; perhaps the peer does not speak TLS on this port, or has only TLS"
        " 1.0 or 1.1, or the peer wants a certificate of ours, or the peer does not accept our certificate"
    )


def refused_later(error: BaseException | None, *, is_answered: bool) -> TLSFailed | None:
    """Why a server ends the connection behind the handshake, as in TLS 1.3 it does for want of a certificate.

    Parameters
    ----------
    error
        What reading or writing led to, if that was one. Where the end was met when writing, the alert is lost.
    is_answered
        Whether there was anything from the peer behind the handshake.

    Returns
    -------
    TLSFailed or None
        None where it was not for TLS.
    """
    if isinstance(error, ssl.SSLError) and "_ALERT_" in (error.reason or ""):
        return tls_error(error)
    if is_answered:
        return None
    return TLSFailed(
        "the peer closed the connection right behind the handshake; perhaps the peer wants a certificate of ours, or"
        " the peer does not accept our certificate"
    )
