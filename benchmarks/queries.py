"""Queries of an archive of many studies, as files for `findscu`, and a client that checks what is found.

Arguments of the client: ``PORT FOLDER``. It sends all queries of the folder on one association, and fails where the
number of studies that are found is not that of the studies that match.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnet import Peer

from .processes import HOST

# Kind of query to the keyword of its key, and the value of the key for a study.
KINDS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "id": ("PatientID", str),
    "name": ("PatientName", lambda name: f"{name[:4]}*"),
    "date": ("StudyDate", str),
    "accession": ("AccessionNumber", str),
}
_ASKED = ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyInstanceUID", "StudyDescription")
_EXPECTED = "expected.json"


def write_queries(folder: Path, rows: Sequence[Mapping[str, str]], count: int) -> None:
    """Write ``count`` queries of each kind.

    Parameters
    ----------
    rows
        Values of each study by keyword.
    """
    chance = random.Random(12)
    expected = []
    for number, row in enumerate(chance.choices(rows, k=count)):
        for kind, (keyword, value_for) in KINDS.items():
            value = value_for(row[keyword])
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            for asked in _ASKED:
                setattr(query, asked, value if asked == keyword else "")
            query.save_as(folder / f"{kind}-{number:03}.dcm", implicit_vr=True, little_endian=True)
            matches = sum(value_for(other[keyword]) == value for other in rows)
            expected.append((keyword, value, matches))
    (folder / _EXPECTED).write_text(json.dumps(expected))


def query_files(folder: Path, kind: str) -> list[Path]:
    """The files of the queries of one kind."""
    return sorted(folder.glob(f"{kind}-*.dcm"))


def main() -> None:
    """Query, and check the number of matches."""
    port, folder = sys.argv[1:]
    with Peer(f"{HOST}:{port}") as peer:
        for keyword, value, expected in json.loads(Path(folder, _EXPECTED).read_text()):
            found = sum(1 for _ in peer.find("study", **{**dict.fromkeys(_ASKED, ""), keyword: value}))
            if found != expected:
                raise SystemExit(f"{keyword}={value} was answered with {found} studies instead of {expected}")


if __name__ == "__main__":
    main()
