"""When certificates are valid, beside what `cryptography` says of those that it made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.archive.watch.certificate import validity_of

KEY = ec.generate_private_key(ec.SECP256R1())
# Years from 2050 on are encoded in another form.
DATES = st.datetimes(datetime(1951, 1, 1), datetime(9998, 1, 1)).map(lambda date: date.replace(microsecond=0))


def pem(begin: datetime, end: datetime, name: str = "node.hospital.example") -> bytes:
    """A certificate that it signs itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@given(begin=DATES, days=st.integers(1, 300))
def test_the_dates_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, begin: datetime, days: int
) -> None:
    end = begin + timedelta(days)
    path = tmp_path_factory.getbasetemp() / "certificate.pem"
    path.write_bytes(pem(begin, end))
    found = validity_of(path)
    assert found.begin == begin.replace(tzinfo=UTC).timestamp()
    assert found.end == end.replace(tzinfo=UTC).timestamp()


def test_of_a_chain_the_first_that_expires_counts(tmp_path: Path) -> None:
    """With the key in the same file, as nodes may have it."""
    key = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    first = pem(datetime(2020, 1, 1), datetime(2040, 1, 1))
    second = pem(datetime(2021, 1, 1), datetime(2030, 1, 1), "Authority")
    (tmp_path / "chain.pem").write_bytes(b"Bag Attributes: \xc3\x9c\n" + key + first + second)
    found = validity_of(tmp_path / "chain.pem")
    assert datetime.fromtimestamp(found.begin, UTC).year == 2021
    assert datetime.fromtimestamp(found.end, UTC).year == 2030


@pytest.mark.parametrize("damage", ["no certificate", "no base64", "cut off", "another structure"])
def test_what_cannot_be_read_is_an_error_of_the_value(tmp_path: Path, damage: str) -> None:
    lines = pem(datetime(2020, 1, 1), datetime(2040, 1, 1)).splitlines(keepends=True)
    content = {
        "no certificate": b"",
        "no base64": b"".join([lines[0], b"%%%\n", lines[-1]]),
        "cut off": b"".join([*lines[:3], lines[-1]]),
        "another structure": b"".join([lines[0], b"MAMCAQE=\n", lines[-1]]),
    }[damage]
    (tmp_path / "certificate.pem").write_bytes(content)
    with pytest.raises(ValueError):
        validity_of(tmp_path / "certificate.pem")


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_another_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    import base64

    path = tmp_path_factory.getbasetemp() / "damaged.pem"
    text = base64.encodebytes(content)
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError):
        validity_of(path)
