"""What programs import from pynetdicom's module of this name, though it is not documented."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ..dimse.datasets import OUT_OF_RESOURCES
from ..encoding.identity import is_uid
from ..exchange.logs import Lines
from ..pynetdicom.events import Event
from ..services.registry import INVALID_SOP_INSTANCE, SUCCESS
from ..services.sop_classes import SOP_CLASSES
from .identifier import set_key
from .options import level_of
from .receiving import PREFIXES, file_name, write_whole

SOP_CLASS_PREFIXES = {
    uid: (PREFIXES[row.keyword], row.keyword) for uid, row in SOP_CLASSES.items() if row.keyword in PREFIXES
}
"""SOP Class UID to the prefix of a file name, and the keyword of the SOP class."""


def setup_logging(args: Namespace, app_name: str) -> logging.Logger:
    """A logger that writes to standard error what the options ``quiet``, ``verbose``, ``debug``, ``log_level`` say."""
    given = {"quiet": False, "verbose": False, "debug": False, "log_level": None} | vars(args)
    logger = logging.getLogger(app_name)
    handler = logging.StreamHandler()
    handler.setFormatter(Lines("%(levelname).1s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level_of(Namespace(**given), logging.ERROR))
    return logger


def create_dataset(args: Namespace, logger: logging.Logger | None = None) -> Dataset:
    """The Identifier that the options ``file`` and ``keyword`` describe.

    Raises
    ------
    UsageError
        If a key cannot be parsed.
    InvalidDicomError, OSError
        If the file cannot be read.
    """
    from pydicom import dcmread

    path = getattr(args, "file", None)
    dataset: Dataset = dcmread(path, force=True) if path else Dataset()
    for key in getattr(args, "keyword", None) or ():
        set_key(dataset, key)
    return dataset


class ElementPath:
    """A key of the command line: ``KEYWORD=VALUE`` or ``SEQUENCE[0].KEYWORD=VALUE``.

    Parameters
    ----------
    path
        The key.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def update(self, ds: Dataset) -> Dataset:
        """Set the element in a data set, which is given back."""
        set_key(ds, self.path)
        return ds


def get_files(fpaths: Iterable[str], recurse: bool = False) -> tuple[list[str], list[str]]:
    """The files that paths name, those in folders too, and the paths that name nothing."""
    good, bad = [], []
    for path in map(Path, fpaths):
        if path.is_file():
            good.append(str(path))
        elif path.is_dir():
            good += [str(each) for each in (path.rglob("*") if recurse else path.iterdir()) if each.is_file()]
        else:
            bad.append(str(path))
    return sorted(good), bad


def handle_store(event: Event, args: Any, app_logger: logging.Logger) -> int:
    """Write a received object where the options ``ignore`` and ``output_directory`` say; the status to answer with."""
    uid = str(event.request.AffectedSOPInstanceUID)
    if not is_uid(uid):
        app_logger.error("refused an object: %r is not a SOP Instance UID", uid)
        return INVALID_SOP_INSTANCE
    if args.ignore:
        return SUCCESS
    name = file_name(str(event.request.AffectedSOPClassUID), uid)
    try:
        write_whole(Path(args.output_directory or "."), name, event.encoded_dataset())
    except OSError as error:
        app_logger.error("%s could not be written: %s", name, error)
        return OUT_OF_RESOURCES
    return SUCCESS
