"""The servers that have DICOMweb: the archive node, and Orthanc with its plugin, empty or filled with a CT series."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from .archives import new_folder, store_command
from .model import OURS, Workspace
from .orthanc import ORTHANC, orthanc
from .processes import HOST, Absent, Command, Failed, at_rest, free_port, python, run, serving
from .subjects import TUNED

IMAGES = 400
"""How many images the CT series has."""
SIDE = 512
"""How many rows and columns an image of it has."""
CONNECTIONS = 6
"""How many connections `WebServer.together` has."""


@dataclass(frozen=True, slots=True)
class WebServer:
    """A filled server.

    Parameters
    ----------
    pid
        Its process.
    port
        Where it answers by HTTP.
    study
        The resource of the study in DICOMweb.
    paths
        Those of its instances.
    """

    pid: int
    port: int
    study: str
    paths: tuple[str, ...]

    def get(self, connection: HTTPConnection, path: str, accept: str) -> bytes:
        """A picture; raises `Failed` if it is none."""
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200 or not (answer.getheader("content-type") or "").startswith(accept):
            raise Failed(f"{path} is answered with {answer.status}")
        return content

    def one_after_another(self, paths: Sequence[str], accept: str) -> float:
        """The median of the times of requests on one connection, in ms."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        times = []
        for path in paths:
            began = perf_counter()
            self.get(connection, path, accept)
            times.append(perf_counter() - began)
        connection.close()
        return median(times) * 1e3

    def together(self, paths: Sequence[str], accept: str) -> float:
        """How long requests on several connections take, in seconds."""

        def ask(own: Sequence[str]) -> None:
            connection = HTTPConnection(HOST, self.port, timeout=60)
            for path in own:
                self.get(connection, path, accept)
            connection.close()

        began = perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(ask, [paths[part::CONNECTIONS] for part in range(CONNECTIONS)]))
        return perf_counter() - began


def slices(workspace: Workspace) -> Path:
    """A series, made once: a body of soft tissue with noise, which moves from slice to slice."""
    folder = workspace.objects.empty("slices")
    if any(folder.iterdir()):
        return folder
    chance = np.random.default_rng(5)
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    study, series = generate_uid(), generate_uid()
    for number in range(IMAGES):
        inside = (rows / 180) ** 2 + ((columns + number / 10) / 230) ** 2 < 1
        values = np.where(inside, 1064, 24) + chance.normal(0, 20, (SIDE, SIDE))
        dataset = _slice(number, values.astype("<u2"))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def _slice(number: int, values: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P", "P", "CT"
    dataset.InstanceNumber = number + 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = values.tobytes()
    return dataset


@contextmanager
def _node(workspace: Workspace) -> Iterator[tuple[int, int, int]]:
    port, http = free_port(), free_port()
    store = new_folder(workspace, "pictures")
    where = ("--data", store, "--port", port, "--http", f"{HOST}:{http}", "--quiet")
    command = python("-m", "dicomnet", "serve", *where)
    with serving(Command(command.arguments, TUNED), port, http) as process:
        yield process.pid, port, http


@contextmanager
def _orthanc(workspace: Workspace) -> Iterator[tuple[int, int, int]]:
    installed = orthanc()
    if installed.plugin is None:
        raise Absent("not installed with its DICOMweb plugin")
    port, http = free_port(), free_port()
    store = new_folder(workspace, "pictures")
    settings = {
        "StorageDirectory": str(store),
        "IndexDirectory": str(store),
        "SyncStorageArea": True,
        "HttpPort": http,
        "DicomPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "TcpNoDelay": True,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(installed.plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration = store.with_suffix(".json")
    configuration.write_text(json.dumps(settings))
    with serving(installed.started_with(configuration), port, http) as process:
        yield process.pid, port, http


STARTED = {OURS: _node, ORTHANC: _orthanc}
"""The servers by subject, with an empty store each: process, and the ports for DIMSE and HTTP."""


@contextmanager
def filled(workspace: Workspace, subject: str) -> Iterator[WebServer]:
    """A server of a subject with the series."""
    folder = slices(workspace)
    names = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    paths = tuple(
        f"/dicom-web/studies/{each.StudyInstanceUID}/series/{each.SeriesInstanceUID}"
        f"/instances/{each.SOPInstanceUID}"
        for each in names
    )
    with STARTED[subject](workspace) as (pid, port, http):
        run(store_command(port, folder))
        at_rest((pid,))
        yield WebServer(pid, http, f"/dicom-web/studies/{names[0].StudyInstanceUID}", paths)
