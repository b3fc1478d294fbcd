"""The configuration of `qrscp`: as pynetdicom's is written, with the options before it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from dicomnet.apps import qrscp
from dicomnet.apps.configuration import Destinations, configure
from dicomnet.apps.options import build_parser
from dicomnet.cli.arguments import UsageError

WHOLE = """\
# Written as for pynetdicom
[DEFAULT]
    ae_title: ARCHIVE
    port: 104
    max_pdu: 0
    acse_timeout: 5
    dimse_timeout: 6.5
    network_timeout = 0
    bind_address:
    instance_location: /srv/dicom
    database_location: /srv/%h.sqlite
    log_identifier: False

[STATION 1]
    address: ward.example
    port: 11113
"""


def read(*words: str) -> tuple[Namespace, Destinations]:
    options = build_parser("qrscp", qrscp.TOOL).parse_args(words)
    return options, configure(options)


def test_without_a_file() -> None:
    options, destinations = read()
    assert (options.ae_title, options.port, options.max_pdu, options.acse_timeout) == (
        "QRSCP",
        11112,
        16382,
        30,
    )
    assert (options.instance_location, options.database_location) == ("instances", "instances.sqlite")
    assert (options.bind_address, options.log_identifier) == ("", True)
    assert destinations == {"STORESCP": ("127.0.0.1", 11113)}


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "node.ini").write_text(WHOLE)
    options, destinations = read("-c", str(tmp_path / "node.ini"))
    assert (options.ae_title, options.port, options.max_pdu) == ("ARCHIVE", 104, 0)
    assert (options.acse_timeout, options.dimse_timeout, options.network_timeout) == (5, 6.5, 0)
    assert (options.instance_location, options.database_location) == ("/srv/dicom", "/srv/%h.sqlite")
    assert (options.bind_address, options.log_identifier) == ("", False)
    assert destinations == {"STATION 1": ("ward.example", 11113)}


def test_options_go_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "node.ini").write_text(WHOLE)
    words = ("--port", "0", "-aet", "OTHER", "-tn", "7", "-ba", "127.0.0.1", "--instance-location", "here")
    options, _ = read("-c", str(tmp_path / "node.ini"), *words)
    assert (options.port, options.ae_title, options.network_timeout) == (0, "OTHER", 7)
    assert (options.bind_address, options.instance_location) == ("127.0.0.1", "here")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[DEFAULT]\nport: x\n", "'x' is not a port"),
        ("[DEFAULT]\nprot: 104\n", "no option 'prot'"),
        ("[DEFAULT]\nlog_identifier: perhaps\n", "neither yes nor no"),
        ("[STATION]\naddress: 127.0.0.1\n", "no 'port'"),
        ("[longer than 16 characters]\naddress: a\nport: 1\n", "16"),
        ("port: 104\n", "no section headers"),
        ("[A]\n[A]\n", "already exists"),
    ],
)
def test_a_file_that_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "node.ini").write_text(text)
    with pytest.raises(UsageError, match=said) as raised:
        read("-c", str(tmp_path / "node.ini"))
    assert str(tmp_path / "node.ini") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        read("-c", "nowhere.ini")
