"""What is said of files whose data set has an odd length."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.faults.objects import file_of

from dicomnet.drivers.files import open_object
from dicomnet.exchange.store_requests import padded


@pytest.mark.parametrize("name", ["odd.dcm", "line\nbreak.dcm"])
def test_values_were_padded_without_a_word(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = file_of(1, 1)
    path = tmp_path / name
    path.write_bytes(content + bytes.fromhex("e17f1000") + b"OB\0\0\3\0\0\0abc")
    with caplog.at_level(logging.INFO, "dicomnet.exchange.store_requests"):
        source = padded(open_object(path))
    assert isinstance(source, bytes | bytearray | memoryview)
    assert len(source) % 2 == 0
    (line,) = caplog.messages
    assert "odd length" in line
    assert "\n" not in line
