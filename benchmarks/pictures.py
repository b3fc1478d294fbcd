"""Pictures by HTTP out of the archive node and of Orthanc with its DICOMweb plugin: rendered frames, and thumbnails.

The images are CT slices of 512 × 512 pixels with noise; each server is started anew for each run, with an empty store
that is filled first. One client asks for one picture after another on one connection; thumbnails are asked for on six.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from shutil import which
from statistics import median
from time import perf_counter

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from .archives import new_folder, store_command
from .model import OURS, Case, Group, Measure, Metric, Workspace
from .processes import HOST, Absent, Command, Failed, at_rest, cpu_of_tree, free_port, python, run, serving
from .subjects import ORTHANC, TUNED

_IMAGES, _SIDE, _CONNECTIONS = 400, 512, 6
_PLUGIN = next(iter(sorted(Path("/usr/lib/orthanc").glob("libOrthancDicomWeb.so*"))), None)
_FIRST = Metric("first", "each for the first time, median", "ms")
_AGAIN = Metric("again", "the same once more, median", "ms")
_CPU = Metric("cpu", "the server's processor time for one of the first", "ms")
_ALL = Metric("all", "all thumbnails", "s", _IMAGES)
_ALL_AGAIN = Metric("all_again", "all once more", "s", _IMAGES)


@dataclass(frozen=True, slots=True)
class _Server:
    """A filled server.

    Parameters
    ----------
    pid
        Its process.
    port
        Where it answers by HTTP.
    paths
        The resources of the instances in DICOMweb.
    """

    pid: int
    port: int
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
        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            list(threads.map(ask, [paths[part::_CONNECTIONS] for part in range(_CONNECTIONS)]))
        return perf_counter() - began


def _slices(workspace: Workspace) -> Path:
    """A series, made once: a body of soft tissue with noise, which moves from slice to slice."""
    folder = workspace.objects.empty("slices")
    if any(folder.iterdir()):
        return folder
    chance = np.random.default_rng(5)
    rows, columns = np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2
    study, series = generate_uid(), generate_uid()
    for number in range(_IMAGES):
        inside = (rows / 180) ** 2 + ((columns + number / 10) / 230) ** 2 < 1
        values = np.where(inside, 1064, 24) + chance.normal(0, 20, (_SIDE, _SIDE))
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
    dataset.Rows = dataset.Columns = _SIDE
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
    program = which(ORTHANC)
    if program is None or _PLUGIN is None:
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
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    configuration = store.with_suffix(".json")
    configuration.write_text(json.dumps(settings))
    with serving(Command((program, str(configuration)), TUNED), port, http) as process:
        yield process.pid, port, http


STARTED = {OURS: _node, ORTHANC: _orthanc}
"""Servers that have DICOMweb, by subject: process, and the ports of both."""


@contextmanager
def _filled(workspace: Workspace, subject: str) -> Iterator[_Server]:
    folder = _slices(workspace)
    names = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    paths = tuple(
        f"/dicom-web/studies/{each.StudyInstanceUID}/series/{each.SeriesInstanceUID}"
        f"/instances/{each.SOPInstanceUID}"
        for each in names
    )
    with STARTED[subject](workspace) as (pid, port, http):
        run(store_command(port, folder))
        at_rest((pid,))
        yield _Server(pid, http, paths)


def _rendered(subject: str, accept: str) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        with _filled(workspace, subject) as server:
            return _twice(server, [f"{path}/frames/1/rendered" for path in server.paths[:100]], accept)

    return measure


def _previews(accept: str) -> Measure:
    """Orthanc's own pictures, by its own identifiers."""

    def measure(workspace: Workspace) -> Mapping[str, float]:
        with _filled(workspace, ORTHANC) as server:
            connection = HTTPConnection(HOST, server.port, timeout=60)
            found = json.loads(server.get(connection, "/instances", "application/json"))
            return _twice(server, [f"/instances/{each}/preview" for each in found[:100]], accept)

    return measure


def _twice(server: _Server, paths: Sequence[str], accept: str) -> Mapping[str, float]:
    used = cpu_of_tree(server.pid)
    first = server.one_after_another(paths, accept)
    used = cpu_of_tree(server.pid) - used
    again = server.one_after_another(paths, accept)
    return {_FIRST.key: first, _AGAIN.key: again, _CPU.key: used / len(paths) * 1e3}


def _thumbnails(subject: str, path_of: Callable[[str], str]) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        with _filled(workspace, subject) as server:
            paths = [path_of(path) for path in server.paths]
            first = server.together(paths, "image/jpeg")
            return {_ALL.key: first, _ALL_AGAIN.key: server.together(paths, "image/jpeg")}

    return measure


def groups() -> tuple[Group, ...]:
    """Group n."""
    rendered = tuple(
        Group(
            f"n.{name}",
            f"a CT frame of {_SIDE} x {_SIDE} pixels as {accept}",
            (_FIRST, _AGAIN, _CPU),
            (
                Case(OURS, _rendered(OURS, accept)),
                Case(f"{ORTHANC} /rendered", _rendered(ORTHANC, accept)),
                Case(f"{ORTHANC} /preview", _previews(accept)),
            ),
        )
        for name, accept in (("jpeg", "image/jpeg"), ("png", "image/png"))
    )
    thumbnails = Group(
        "n.thumbnails",
        f"thumbnails of {_IMAGES} images, on {_CONNECTIONS} connections",
        (_ALL, _ALL_AGAIN),
        (
            Case(OURS, _thumbnails(OURS, lambda path: f"{path}/thumbnail")),
            Case(
                f"{ORTHANC} /rendered?viewport",
                _thumbnails(ORTHANC, lambda path: f"{path}/rendered?viewport=200,200"),
            ),
        ),
    )
    return (*rendered, thumbnails)
