"""Processes apart: what they can reach, what they may use, and what it costs when one ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from tests.grids import grid
from tests.rendering.test_pixels import FILES
from tests.rendering.test_views import image
from tests.support import wait_until

from dicomnet.datasets import apart
from dicomnet.datasets.apart import Ended, Kind, Processes
from dicomnet.datasets.confinement import Limits
from dicomnet.encoding.file_header import PREFIX_LENGTH, decode_file_header
from dicomnet.rendering.picture import render
from dicomnet.rendering.renderers import Renderers
from dicomnet.rendering.view import PNG, NotRendered, Reason, View, Viewport

_LIMITS = Limits(memory=2 << 30, processor_seconds=20)
_MISBEHAVING = "tests.rendering.misbehaving:answer"


def misbehaving(seconds: float = 30.0, limits: Limits = _LIMITS) -> Processes:
    return Processes(Kind(_MISBEHAVING, 30.0, seconds, limits, largest=1 << 16), 1)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    made = misbehaving()
    yield made
    made.close()


@pytest.fixture(scope="module")
def renderers() -> Iterator[Renderers]:
    made = Renderers(2)
    yield made
    made.close()


def tried(processes: Processes, what: str) -> dict[str, Any]:
    with TemporaryFile() as file:
        file.write(b"what is in the file")
        file.seek(0)
        answer = processes.ask({"try": what}, file, BytesIO())
    assert answer.pop("is_confined")
    return answer


@grid(
    "what, found",
    [
        ("read the file", {"found": "what is in the file", "length": 7}),
        ("run a thread", {"found": "a thread ran", "length": 7}),
        ("print", {"found": "printed", "length": 7}),
        ("open a file", {"refused": "PermissionError", "length": 0}),
        ("open a file for writing", {"refused": "PermissionError", "length": 0}),
        ("make a socket", {"refused": "PermissionError", "length": 0}),
        ("make a pair of sockets", {"refused": "PermissionError", "length": 0}),
        # Which call of the system it begins with differs.
        (
            "run a program",
            {"refused": "PermissionError" if sys.version_info >= (3, 13) else "OSError", "length": 0},
        ),
        ("fork", {"refused": "PermissionError", "length": 0}),
        ("signal its parent", {"refused": "PermissionError", "length": 0}),
        ("remove a file", {"refused": "PermissionError", "length": 0}),
        ("limit its parent", {"refused": "PermissionError", "length": 0}),
        ("take another descriptor", {"refused": "OSError", "length": 0}),
        ("take much memory", {"error": "there is not enough memory to decompress it", "length": 0}),
    ],
)
def test_a_process_reaches_nothing_but_the_file_that_it_is_given(
    what: str, found: dict[str, Any], processes: Processes
) -> None:
    assert sys.platform == "linux"
    assert tried(processes, what) == found


def test_a_process_that_misbehaves_is_replaced() -> None:
    processes = misbehaving()
    for what, status in (("abort", -signal.SIGABRT), ("exit", 3), ("answer at length", -signal.SIGKILL)):
        assert "found" in tried(processes, "read the file")
        with pytest.raises(Ended) as caught:
            tried(processes, what)
        assert caught.value.status == status
    assert "found" in tried(processes, "read the file")
    processes.close()


def test_a_process_that_has_nothing_to_do_ends_and_one_at_work_does_not() -> None:
    processes = Processes(Kind(_MISBEHAVING, 0.2, 30.0, _LIMITS, largest=1 << 16), 1)
    assert "found" in tried(processes, "take longer")
    [process] = processes._idle
    wait_until(lambda: not process.is_running)
    assert process.end() == 0
    assert "found" in tried(processes, "read the file")
    processes.close()


@pytest.mark.parametrize(("patience", "most"), [(60.0, 1), (0.05, 2)])
def test_another_process_is_started_when_requests_have_waited_long_enough(
    patience: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many requests for little, one waited for the start of another process, while the first one did the others."""
    monkeypatch.setattr("dicomnet.datasets.apart._PATIENCE", patience)
    processes = Processes(Kind(_MISBEHAVING, 30.0, 30.0, _LIMITS, largest=1 << 16), 2)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: tried(processes, "take longer"), range(8)))
    assert [each["found"] for each in answers] == ["done"] * 8
    wait_until(lambda: len(processes._idle) == most)
    assert "found" in tried(processes, "read the file")
    processes.close()


def test_where_no_other_process_can_be_started_one_answers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnet.datasets.apart._PATIENCE", 0.05)
    processes = Processes(Kind(_MISBEHAVING, 30.0, 30.0, _LIMITS, largest=1 << 16), 2)
    assert "found" in tried(processes, "read the file")
    monkeypatch.setattr("dicomnet.datasets.apart.get_executable", lambda: "/there/is/no/such/program")
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: tried(processes, "take longer"), range(3)))
    assert [each["found"] for each in answers] == ["done"] * 3
    [process] = processes._idle
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.is_running)
    with pytest.raises(FileNotFoundError):
        tried(processes, "read the file")
    monkeypatch.undo()
    assert "found" in tried(processes, "read the file")
    processes.close()


@pytest.mark.parametrize("ask", ["start", "ask"])
def test_a_process_that_is_busy_when_all_are_ended_ends_behind_that(
    ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was left to the garbage collector: a node that ended while it made its first process lost that."""
    processes = misbehaving()
    made: list[apart.Process] = []

    class Late(apart.Process):
        def __init__(self, kind: Kind) -> None:
            super().__init__(kind)
            made.append(self)
            processes.close()

    monkeypatch.setattr(apart, "Process", Late)
    if ask == "start":
        processes.start()
    else:
        assert "found" in tried(processes, "read the file")
    (process,) = made
    assert not process.is_running
    assert processes._idle == []


def test_an_answer_of_a_length_that_is_none_is_not_read() -> None:
    """What had the process was read from without an end, until its time was over."""
    processes = misbehaving()
    began = monotonic()
    with pytest.raises(Ended):
        tried(processes, "answer below nothing")
    assert monotonic() - began < 20
    processes.close()


def test_a_process_has_so_much_time_for_a_request() -> None:
    processes = misbehaving(seconds=0.5)
    began = monotonic()
    with pytest.raises(Ended) as caught:
        tried(processes, "sleep")
    assert caught.value.was_too_much
    assert monotonic() - began < 10


def test_a_process_has_so_much_processor_time_for_a_request() -> None:
    processes = misbehaving(limits=Limits(memory=2 << 30, processor_seconds=0))
    with pytest.raises(Ended) as caught:
        tried(processes, "loop")
    assert caught.value.status == -signal.SIGXCPU
    assert caught.value.was_too_much


def shown(renderers: Renderers, source: Path | Dataset, view: View | None = None) -> bytes:
    with TemporaryFile() as file:
        if isinstance(source, Dataset):
            source.save_as(file, enforce_file_format=True)
        else:
            file.write(source.read_bytes())
        file.flush()
        return renderers.render(file, view or View()).content


def test_a_picture_is_the_same_in_a_process_apart(renderers: Renderers) -> None:
    """Whatever the transfer syntax: all that is needed was loaded before files could no longer be opened."""
    for name in (
        *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        *("JPEG-LL.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_palette.dcm", "image_dfl.dcm", "liver.dcm"),
        *("MR_small_bigendian.dcm", "eCT_Supplemental.dcm", "mlut_18.dcm", "rtdose.dcm"),
    ):
        for media_type in ("image/png", "image/jpeg"):
            view = View(media_types=[media_type])
            assert shown(renderers, FILES[name], view) == render(BytesIO(FILES[name].read_bytes()), view)[1]


def test_what_has_no_descriptor_is_rendered_too(renderers: Renderers) -> None:
    stream = BytesIO(FILES["CT_small.dcm"].read_bytes())
    stream.seek(7)
    assert renderers.render(stream, View()).content == shown(renderers, FILES["CT_small.dcm"])


def test_a_decoder_that_ends_its_process_costs_one_picture(renderers: Renderers) -> None:
    fatal = Path(__file__).parents[1] / "datasets" / "ends_the_decoder.dcm"
    for _ in range(2):
        with pytest.raises(NotRendered, match="the decoder ended its process over it") as caught:
            shown(renderers, fatal)
        assert caught.value.reason is Reason.DAMAGED
        assert shown(renderers, FILES["CT_small.dcm"])


def test_a_process_that_is_killed_while_it_is_idle_costs_nothing(renderers: Renderers) -> None:
    expected = shown(renderers, FILES["CT_small.dcm"])
    for process in renderers._processes._idle:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(each.is_running for each in renderers._processes._idle))
    assert shown(renderers, FILES["CT_small.dcm"]) == expected


def test_a_process_that_is_killed_over_a_picture_is_told(renderers: Renderers) -> None:
    """It waits for a frame that comes out of a pipe, and so is at work for sure when it is killed."""
    own = Renderers(1)
    own.start()
    [process] = own._processes._idle
    reading, writing = os.pipe()
    failures: list[NotRendered] = []

    def ask() -> None:
        with open(reading, "rb") as file:
            try:
                own.render(file, View())
            except NotRendered as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: not own._processes._idle)
    os.kill(process.pid, signal.SIGKILL)
    asking.join(20)
    os.close(writing)
    assert [each.reason for each in failures] == [Reason.TOO_MUCH]
    assert shown(own, FILES["CT_small.dcm"])
    own.close()


def _of(name: str, **values: Any) -> Dataset:
    dataset = dcmread(FILES[name])
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _huge_jpeg() -> Dataset:
    """A frame that says of itself that it has 65,500 × 65,500 pixels, in 700 bytes."""
    dataset = dcmread(FILES["SC_rgb_jpeg_dcmtk.dcm"])
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = (65_500).to_bytes(2, "big") * 2
    dataset.PixelData = encapsulate([bytes(frame)])
    return dataset


def _deflated() -> bytes:
    """2 GiB of zeros as a value, in 2 MB."""
    start = FILES["image_dfl.dcm"].read_bytes()
    squeeze = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head = squeeze.compress(b"\x28\x00\x10\x00US\x02\x00\x01\x00\xe0\x7f\x10\x00OW\0\0\0\0\0\x80")
    head += squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # What stands behind a full flush does not depend on what was before.
    zeros = squeeze.compress(bytes(1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return start[: decode_file_header(start[:PREFIX_LENGTH]).offset] + head + zeros * 2047 + squeeze.flush()


def _saved(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], View, Reason]] = {
    "rows and columns": (
        lambda: _saved(_of("CT_small.dcm", Rows=65535, Columns=65535)),
        View(),
        Reason.TOO_MUCH,
    ),
    "rows and columns within the limit": (
        lambda: _saved(_of("CT_small.dcm", Rows=10000, Columns=10000)),
        View(),
        Reason.DAMAGED,
    ),
    "frames": (
        lambda: _saved(_of("CT_small.dcm", NumberOfFrames=2**31 - 1)),
        View(frame=2**31 - 1),
        Reason.DAMAGED,
    ),
    "frames of a compressed one": (
        lambda: _saved(_of("MR_small_RLE.dcm", NumberOfFrames=2**31 - 1)),
        View(frame=2**30),
        Reason.DAMAGED,
    ),
    "a frame of its own size": (lambda: _saved(_huge_jpeg()), View(), Reason.DAMAGED),
    "a deflated value": (_deflated, View(), Reason.DAMAGED),
    "no such frame": (lambda: _saved(_of("CT_small.dcm")), View(frame=2), Reason.NO_SUCH_FRAME),
}


@grid("what", BOMBS)
@pytest.mark.filterwarnings("ignore")
def test_what_lies_about_its_size_is_refused_soon(what: str, renderers: Renderers) -> None:
    make, view, reason = BOMBS[what]
    began = monotonic()
    with pytest.raises(NotRendered) as caught:
        renderers.render(BytesIO(make()), view)
    assert caught.value.reason is reason, caught.value.cause
    assert monotonic() - began < 20
    assert shown(renderers, FILES["CT_small.dcm"])


def test_a_palette_of_segments_without_end_is_refused_soon(renderers: Renderers) -> None:
    dataset = _of("examples_palette.dcm")
    for color in ("Red", "Green", "Blue"):
        delattr(dataset, f"{color}PaletteColorLookupTableData")
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [0, 0, 16])
        words = [2, 65535, 0, 0]
        setattr(
            dataset,
            f"Segmented{color}PaletteColorLookupTableData",
            b"".join(word.to_bytes(2, "little") for word in words),
        )
    with pytest.raises(NotRendered, match="segment"):
        shown(renderers, dataset)


def test_many_at_once_get_each_its_own(renderers: Renderers) -> None:
    names = ["CT_small.dcm", "MR_small.dcm", "liver.dcm", "SC_rgb_rle.dcm", "MR_small_jpeg_ls_lossless.dcm"]
    expected = {name: render(BytesIO(FILES[name].read_bytes()), View(media_types=[PNG]))[1] for name in names}

    def ask(name: str) -> bool:
        return shown(renderers, FILES[name], View(media_types=[PNG])) == expected[name]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, names * 20))
    assert len(renderers._processes._idle) <= 2


def test_frames_of_large_files_by_turns_are_each_its_own(renderers: Renderers, tmp_path: Path) -> None:
    """One that was open is known again, by what the system says of its file, and a file that takes its place is not."""
    frames = np.arange(4, dtype=np.uint8).repeat(1 << 21).reshape(4, 1024, 2048) * 50
    paths = [tmp_path / "one.dcm", tmp_path / "other.dcm"]
    for path, added in zip(paths, (0, 7), strict=True):
        image(frames[0], NumberOfFrames=4, PixelData=(frames + np.uint8(added)).tobytes()).save_as(
            path, enforce_file_format=True
        )
    own = Renderers(1)

    def shade(path: Path, number: int) -> int:
        with path.open("rb") as file:
            picture = own.render(file, View(frame=number, media_types=[PNG], viewport=Viewport(1, 1)))
        return int(np.asarray(Pictures.open(BytesIO(picture.content)))[0, 0])

    asked = [(0, 1), (0, 4), (1, 2), (1, 3), (0, 2), (1, 1), (1, 4)]
    assert [shade(paths[which], number) for which, number in asked] == [
        (number - 1) * 50 + 7 * which for which, number in asked
    ]
    paths[0].replace(paths[1])
    assert [shade(paths[1], number) for number in (1, 4)] == [0, 150]
    own.close()


def test_it_is_said_if_processes_are_not_out_of_reach(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is so where the kernel has no filters, as in processes that were told of a machine that is not known."""
    monkeypatch.setattr(
        "dicomnet.rendering.renderers._ANSWERS", "tests.rendering.on_an_unknown_machine:answer"
    )
    own = Renderers(1)
    with caplog.at_level("WARNING", "dicomnet"):
        for _ in range(2):
            assert shown(own, FILES["CT_small.dcm"])
    own.close()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the processes that make pictures have limits, but files and the network are not out of their reach"
    ]


def test_a_file_is_left_open(renderers: Renderers) -> None:
    file: BinaryIO
    with open(FILES["CT_small.dcm"], "rb") as file:
        renderers.render(file, View())
        renderers.render(file, View())
        assert not file.closed
