"""A client that queries an archive on one association, and prints the median time of each kind of query.

Arguments: ``PORT FILE``. The file is JSON: a list of queries, each a list of its kind, its keyword, its value and the
number of studies that match. What is printed is JSON: seconds by kind, from the request to the last response.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from dicomnet import Peer

from .processes import HOST

_ASKED = ("PatientID", "PatientName", "StudyDate", "AccessionNumber", "StudyInstanceUID", "StudyDescription")


def main() -> None:
    """Query, and check the number of matches."""
    port, path = sys.argv[1:]
    times: dict[str, list[float]] = {}
    with Peer(f"{HOST}:{port}") as peer:
        for kind, keyword, value, expected in json.loads(Path(path).read_text()):
            keys = {**dict.fromkeys(_ASKED, ""), keyword: value}
            begin = perf_counter()
            found = sum(1 for _ in peer.find("study", **keys))
            times.setdefault(kind, []).append(perf_counter() - begin)
            if found != expected:
                raise SystemExit(f"{keyword}={value} was answered with {found} studies instead of {expected}")
    print(json.dumps({kind: median(seconds) for kind, seconds in times.items()}))


if __name__ == "__main__":
    main()
