"""The page of the manual that leads to TLS, two remotes and PostgreSQL: all that it has one type is typed here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from tests.postgresql import PostgreSQL
from tests.support import free_port

from dicomnet.archive.applied import is_guarded
from dicomnet.settings.reading import read

from .reader import Reader
from .written import all_blocks

PAGE = "docs/department.md"
APART = "# in a terminal of its own\n"
# What has been sent where, when all is done.
RECEIVED: Mapping[str, Sequence[str]] = {
    "workstation": ["CT.1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"],
    "reports": ["MR.1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457"],
    "viewed": ["1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457.dcm"],
}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    study = tmp_path / "study"
    study.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
        shutil.copy(str(get_testdata_file(name)), study)
    with PostgreSQL() as server:
        words = {port: str(free_port()) for port in ("2762", "2763", "11113", "9104")} | {
            "@localhost/archive": f"@/archive?host={server.folder}",
            # The server trusts whoever reaches it, and what is installed is not installed again.
            "--pwprompt ": "",
            "pip install 'psycopg[binary]>=3.2'": "dicomnet --version",
        }
        variables = {"PGHOST": str(server.folder), "PGUSER": "dicomnet"}
        with Reader(tmp_path, words, variables) as found:
            # Where README.md has led to.
            found.type("dicomnet import --data data study")
            yield found


def _write(reader: Reader, text: str) -> None:
    """Do what the page says of its configuration: the first time all of it, then its first lines."""
    path = reader.folder / "dicomnet.toml"
    if not path.exists():
        path.write_text(reader.here(text))
    else:
        # The node is stopped before.
        reader.stop()
        old = path.read_text()
        path.write_text(reader.here(text) + old[old.index("\n[server]") :])
    assert is_guarded(read(path, {}))


def test_all_that_the_page_has_one_type(reader: Reader) -> None:
    listening = iter(("2762", "11113", "2763", "2762"))
    done: list[str] = []
    for language, block in all_blocks(PAGE):
        if language == "toml":
            _write(reader, block)
        elif block.startswith(APART):
            reader.start(block, int(reader.here(next(listening))))
        elif language == "sh":
            done.append(reader.type(block))
        else:
            # What concerns passwords.
            assert ".pgpass" in block
    assert list(listening) == []
    certificates, check, diagnosis = done[2], done[3], done[4]
    assert certificates.count(": OK\n") == 4
    assert check == "dicomnet.toml: nothing is wrong\n"
    assert diagnosis.count("\nok ") == 5
    assert "failed" not in diagnosis
    assert reader.said.count("refused\n") == 2
    # Before and after PostgreSQL.
    assert reader.said.count("[CompressedSamples^CT1 ]") == 2
    assert {
        folder: [path.name for path in (reader.folder / folder).iterdir()] for folder in RECEIVED
    } == RECEIVED
    assert "3 objects checked" in reader.said
    assert reader.said.count("nothing found") == 3
    assert (reader.folder / "archive" / "objects").is_dir()
    assert not (reader.folder / "archive" / "index.sqlite").exists()
