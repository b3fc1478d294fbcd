"""The search of an import: through folders, zip and tar files, and the files to which a DICOMDIR refers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR

from ...exchange.candidate import Finding, Found, Outcome, Place, cannot_read
from ...exchange.files import find_files
from ...exchange.searching import look_into


def search(paths: Iterable[str], archive: Path) -> Iterator[Found]:
    """What lies at paths that may be objects, always in the same order, and what is in the way.

    Parameters
    ----------
    paths
        Files and folders.
    archive
        The folder of the archive, in which nothing is searched for.
    """
    own = os.stat(archive)
    for path in paths:
        try:
            is_folder = S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            yield Finding(Place(path), Outcome.UNREADABLE, cannot_read(error))
            continue
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(archive)):
            yield Finding(Place(path), Outcome.REFUSED, "it lies in the folder of the archive itself")
        elif is_folder:
            for file in find_files([path], {(own.st_dev, own.st_ino)}):
                yield from look_into(file)
        else:
            yield from look_into(path, is_named=True)
