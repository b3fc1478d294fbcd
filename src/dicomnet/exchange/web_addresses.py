"""Addresses of DICOMweb services (PS3.18 section 8.2)."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..drivers.transport import Address
from ..values import frozen

_PORTS = {"http": 80, "https": 443}


@frozen
class WebAddress:
    """The address of a DICOMweb service, below which its studies are.

    Parameters
    ----------
    url
        It, without a slash at its end.
    address
        Its host and port.
    is_secure
        Whether it is reached by TLS.
    """

    url: str
    address: Address
    is_secure: bool
    # Over HTTP nobody has an AE title.
    ae_title: str = ""

    @classmethod
    def parse(cls, text: str) -> WebAddress:
        """From ``https://host[:port]/path`` or ``http://…``.

        Raises
        ------
        ValueError
            If it is not of that form, or has what an address must not have: a password, say.
        """
        form = "write https://host/path, for instance https://pacs.example/dicom-web"
        # What may be a secret is not repeated, as it may be in a log then: a user before the host, and a query.
        if "@" in text:
            raise ValueError(
                "an address with a user or a password is not taken, as others could see it; give them apart"
            )
        told = text.partition("?")[0].partition("#")[0]
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"the address of a DICOMweb service is not valid ({error}); {form}") from error
        if parts.scheme not in _PORTS or not parts.hostname or port == 0:
            raise ValueError(f"{told!r} is not the address of a DICOMweb service; {form}")
        if told != text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"{told!r} has what the address of a DICOMweb service does not have; {form}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
        url = f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
        address = Address(parts.hostname, port or _PORTS[parts.scheme])
        return cls(url, address, parts.scheme == "https")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that nobody on a network reads along."""
        return self.address.is_loopback

    def __str__(self) -> str:
        return self.url


def is_url(text: str) -> bool:
    """Whether a text is meant as the address of a DICOMweb service, and not of an application entity."""
    return "://" in text


def has_same_origin(url: str, other: str) -> bool:
    """Whether two addresses have the same scheme, host and port.

    The same host by TLS is another origin: whoever has the address without it would send names in the clear each time.
    """
    one, two = (
        (each.scheme, each.hostname, each.port or _PORTS.get(each.scheme))
        for each in map(urlsplit, (url, other))
    )
    return one == two


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, without whatever else is in it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}" + (f":{parts.port}" if parts.port else "")
