"""A node that holds `objects`, for user agents of DICOMweb to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pydicom.dataset import FileDataset
from tests.archive.web.agents.judging import Judge, parts_of
from tests.archive.web.agents.objects import held, to_be_stored
from tests.archive.web.agents.recording import PREFIX
from tests.archive.web.served import Served, served

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy


class Holding(NamedTuple):
    """A node, what it holds, and the judge who knows that.

    ``to_be_stored`` are objects that it does not hold yet, and ``files`` all of them as they are in files.
    """

    node: Served
    judge: Judge
    to_be_stored: list[FileDataset]
    files: Mapping[str, bytes]


@contextmanager
def holding(folder: Path, viewer: Path | None = None) -> Iterator[Holding]:
    """A node with all objects.

    Parameters
    ----------
    folder
        Where it is; it does not exist yet.
    viewer
        Where OHIF is.
    """
    policy = WebPolicy(may_delete=True) if viewer is None else WebPolicy(may_delete=True, viewer=viewer)
    objects, others = list(held()), list(to_be_stored())
    files = {str(each.SOPInstanceUID): _content(each) for each in (*objects, *others)}
    folder.mkdir(parents=True)
    paths = []
    for each in objects:
        paths.append(folder / f"{each.SOPInstanceUID}.dcm")
        paths[-1].write_bytes(files[str(each.SOPInstanceUID)])
    with served(folder / "node", terms=Terms(web=policy)) as node:
        # Those that came last are first in searches.
        for path in paths:
            node.store([path])

        def fetch(address: str) -> bytes:
            answer = node.get(urlsplit(address).path.removeprefix(PREFIX))
            assert answer.status == 200
            kind = answer.headers["content-type"]
            return parts_of(kind, answer.body)[0][1] if kind.startswith("multipart/") else answer.body

        yield Holding(node, Judge(objects, fetch), others, files)


def _content(data_set: FileDataset) -> bytes:
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()
