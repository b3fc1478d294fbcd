"""Makes the stores of old versions beside this file: ``python -m tests.archive.old_stores.make CHECKOUT``.

The checkout is of the version; its commit gives the names. Its `dicomnet serve` is sent six objects, and one that has
the SOP Instance UID of the first and other content, which goes to quarantine.

``COMMIT-clean.zip``
    The node was then ended by SIGTERM: the lock file says ``at rest``.
``COMMIT-killed.zip``
    The node was sent all but the last object, and killed: the lock file says ``in use``, and the last transactions of
    the index are in its write-ahead log. Then `dicomnet receive`, which has no index, was sent the last object and
    killed as well: the index has no row of it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from tests.support import dicomnet, free_port, is_listening, run_tool, running_process, wait_until

HERE = Path(__file__).parent
_ROOT = "2.25.20261128"
# Study, and what the objects of a study have in common.
_STUDIES = {
    "1": {
        "PatientID": "P1",
        "PatientName": "Müller^Jörg=山田^太郎",
        "StudyDate": "20240131",
        "Modality": "CT",
    },
    "2": {
        "PatientID": "P1",
        "PatientName": "Müller^Jörg=山田^太郎",
        "StudyDate": "20250228",
        "Modality": "MR",
    },
    "3": {"PatientID": "P2", "PatientName": "Doe^Jane", "StudyDate": "20250228", "Modality": "CT"},
}
_SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}


def objects() -> list[Dataset]:
    """The six objects, two of each study."""
    return [_object(study, number) for study in _STUDIES for number in (1, 2)]


def conflicting() -> Dataset:
    """Another object that has the SOP Instance UID of the first."""
    found = _object("1", 1)
    found.SeriesDescription = "the second of its UID"
    return found


def _object(study: str, number: int) -> Dataset:
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in _STUDIES[study].items():
        setattr(found, keyword, value)
    found.SOPClassUID = _SOP_CLASSES[found.Modality]
    found.AccessionNumber = f"A{study}"
    found.StudyInstanceUID = f"{_ROOT}.{study}"
    found.SeriesInstanceUID = f"{_ROOT}.{study}.1"
    found.SOPInstanceUID = f"{_ROOT}.{study}.1.{number}"
    found.InstanceNumber = number
    found.BitsAllocated = 16
    found.add_new("PixelData", "OW", bytes((number, int(study))) * 16)
    return found


def _write(data_set: Dataset, path: Path) -> Path:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.save_as(path, enforce_file_format=True)
    return path


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of the old version, which is killed with the block if it has not ended."""
    port = free_port()
    arguments = dicomnet(*command, "--port", str(port))
    with running_process(arguments, folder, environment=environment) as process:
        wait_until(lambda: is_listening(port), 20, "the server listens")
        yield process, port


def _make(folder: Path, environment: dict[str, str], *, is_killed: bool) -> Path:
    sent = folder / "sent"
    sent.mkdir()
    files = [_write(each, sent / f"{number}.dcm") for number, each in enumerate(objects())]
    other = _write(conflicting(), sent / "other.dcm")
    store = folder / "store"

    def send(port: int, *paths: Path) -> int:
        command = dicomnet("store", f"127.0.0.1:{port}", *paths)
        return run_tool(command, environment=environment).returncode

    with _running(["serve", "--data", str(store)], folder, environment) as (process, port):
        assert send(port, *(files[:-1] if is_killed else files)) == 0
        # Versions differ in the status of this one.
        send(port, other)
        if not is_killed:
            process.terminate()
            assert process.wait(20) == 0
    if is_killed:
        with _running(["receive", str(store)], folder, environment) as (process, port):
            assert send(port, files[-1]) == 0
    return store


def _pack(store: Path, target: Path) -> None:
    """Pack all files and folders, in an order and with times that are always the same."""
    with ZipFile(target, "w", ZIP_DEFLATED) as packed:
        for path in sorted(store.rglob("*")):
            name = path.relative_to(store).as_posix()
            if path.is_dir():
                packed.writestr(ZipInfo(f"{name}/"), b"")
            else:
                packed.writestr(ZipInfo(name), path.read_bytes(), ZIP_DEFLATED)


def main() -> None:
    """Make both stores of a checkout."""
    checkout = Path(sys.argv[1]).resolve()
    commit = run_tool(["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]).stdout.strip()
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    for name, is_killed in (("clean", False), ("killed", True)):
        with tempfile.TemporaryDirectory() as folder:
            store = _make(Path(folder), environment, is_killed=is_killed)
            assert len(list((store / "objects").rglob("*.dcm"))) == len(objects())
            assert len(list((store / "quarantine").rglob("*.dcm"))) == 1
            _pack(store, HERE / f"{commit}-{name}.zip")


if __name__ == "__main__":
    main()
