"""Sending what the peer can take: the files of pydicom, to peers that take one native transfer syntax only."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate_extended, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import evt as foreign_evt
from tests.interop.corpus import CUT_OFF, FILES, NO_CONTEXT, Sendable, pairs, sendables
from tests.interop.peers import contexts_of
from tests.rendering.test_pixels import COMPRESSIONS, STRIPES, UNUSED, in_jpeg, jpeg_of_adobe, unused_bits
from tests.support import (
    TOOL_ENVIRONMENT,
    dicomnet,
    digest,
    free_port,
    is_listening,
    run_tool,
    running_process,
    tool,
    wait_until,
)

from dicomnet import AE, Peer, aio, build_context, evt
from dicomnet.datasets.apart import Process
from dicomnet.datasets.codec import create_file_meta, decode
from dicomnet.datasets.decoding import DECODERS
from dicomnet.datasets.transcode import IN_MEMORY, transcode_dataset, transcode_file
from dicomnet.drivers.files import open_object, read_object
from dicomnet.encoding.transfer_syntaxes import PREFERRED_NATIVE, Transcoding, transfer_syntax
from dicomnet.errors import NoAcceptedContext, UnusableObject
from dicomnet.exchange.contexts import propose
from dicomnet.exchange.results import StoreResult
from dicomnet.wire.pdu import MAXIMUM_CONTEXTS

EXPLICIT, IMPLICIT, DEFLATED, BIG = PREFERRED_NATIVE
# What ends before its last element does.

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _values_as_they_lie_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydicom takes UN for big endian in a big endian data set, which PS3.5 section 6.2.2 says it is not."""
    # Read once for all tests, the others of which want pydicom as it is.
    sendables()
    monkeypatch.setattr(pydicom.config, "replace_un_with_known_vr", False)


def decoded(data: bytes, syntax: str) -> Dataset:
    row = transfer_syntax(syntax)
    dataset = decode(data, row.is_implicit, row.is_little_endian, row.is_deflated)
    dataset.file_meta = create_file_meta(sop_class_uid="1.2", sop_instance_uid="1.2", transfer_syntax=syntax)
    return dataset


def source_of(path: Path) -> Dataset:
    stored = open_object(path)
    return decoded(path.read_bytes()[stored.header.offset :], stored.header.transfer_syntax_uid)


WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def values(dataset: Dataset) -> list[Any]:
    """What a data set says, whatever its encoding: values without value representations, words as numbers."""
    found: list[Any] = []
    order = ">" if dataset.original_encoding[1] is False else "<"
    for element in dataset:
        if element.tag.element == 0:
            continue
        if element.VR == "SQ":
            found.append((element.tag, [values(item) for item in element.value]))
        elif element.VR in WORDS and isinstance(element.value, bytes):
            numbers = np.frombuffer(element.value, f"{order}u{WORDS[element.VR]}")
            found.append((element.tag, numbers.astype(f"<u{WORDS[element.VR]}").tobytes()))
        else:
            found.append((element.tag, element.value))
    return found


def public(dataset: Dataset) -> Dataset:
    """Without private elements, whose value representations implicit VR does not keep, and LUT data, a US or OW."""
    dataset.remove_private_tags()

    def remove(level: Dataset, element: DataElement) -> None:
        if element.keyword == "LUTData":
            del level[element.tag]

    dataset.walk(remove)
    return dataset


Store = Callable[[int, list[Path], str], list[StoreResult]]


def store_blocking(port: int, files: list[Path], transcode: str) -> list[StoreResult]:
    with Peer(f"NODE@127.0.0.1:{port}", transcode=transcode) as peer:
        return list(peer.store(files))


def store_in_loop(port: int, files: list[Path], transcode: str) -> list[StoreResult]:
    async def store() -> list[StoreResult]:
        async with aio.Peer(f"NODE@127.0.0.1:{port}", transcode=transcode) as peer:
            return [result async for result in peer.store(files)]

    return asyncio.run(store())


STORES: list[Store] = [store_blocking, store_in_loop]


@contextmanager
def receiver(syntax: str) -> Iterator[tuple[int, list[tuple[str, str, bytes]]]]:
    """pynetdicom's SCP that takes one transfer syntax; the UID, transfer syntax and data set of each object."""
    received: list[tuple[str, str, bytes]] = []

    def store(event: Any) -> int:
        encoded = event.encoded_dataset(False)
        received.append((event.request.AffectedSOPInstanceUID, event.context.transfer_syntax, encoded))
        return 0x0000

    ae = ForeignAE()
    ae.maximum_pdu_size = 0
    for sop_class in contexts_of(pairs()):
        ae.add_supported_context(sop_class, [syntax])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(foreign_evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


def is_native(each: Sendable) -> bool:
    return not transfer_syntax(each.transfer_syntax).is_encapsulated


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("syntax", PREFERRED_NATIVE)
def test_native_files_arrive_equal_and_others_are_refused_by_name(store: Store, syntax: str) -> None:
    files = [each for each in sendables() if each.path.name not in NO_CONTEXT]
    with receiver(syntax) as (port, received):
        results = {Path(each.path): each for each in store(port, [each.path for each in files], "never")}
    arrived = iter(received)
    for path, result in results.items():
        each = next(each for each in files if each.path == path)
        if not is_native(each):
            assert not result.is_stored
            assert f"object {result.sop_instance_uid}" in result.comment
            assert transfer_syntax(each.transfer_syntax).name in result.comment
            assert "if-needed" in result.comment
        elif each.path.name in CUT_OFF:
            assert "cut off" in result.comment
        else:
            assert result.is_stored, result.comment
            instance, used, encoded = next(arrived)
            assert (instance, used) == (result.sop_instance_uid, syntax)
            if each.transfer_syntax == syntax:
                assert digest(encoded) == each.digest
            else:
                assert values(public(decoded(encoded, syntax))) == values(public(source_of(path))), path
    assert next(arrived, None) is None


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_compressed_files_arrive_decompressed_where_that_is_wanted(store: Store, syntax: str) -> None:
    """The pixels are those that pydicom decodes, and the attributes say so."""
    files = [each.path for each in sendables() if not is_native(each)]
    with receiver(syntax) as (port, received):
        results = {Path(each.path): each for each in store(port, files, "if-needed")}
    arrived = iter(received)
    count = 0
    for path, result in results.items():
        source = source_of(path)
        if not result.is_stored:
            assert "cannot be converted from" in result.comment
            with pytest.raises(Exception):  # noqa: B017
                source.decompress(as_rgb=False)
            continue
        instance, _, encoded = next(arrived)
        found = decoded(encoded, syntax)
        assert instance == result.sop_instance_uid
        count += 1
        if "PixelData" not in source:
            assert values(found) == values(source)
            continue
        if syntax == BIG and found.BitsAllocated == 32:
            # pydicom reads OW as words of 32 bits then.
            continue
        assert found.PhotometricInterpretation != "YBR_FULL_422"
        assert np.array_equal(pixel_array(found, raw=True), pixel_array(source, raw=True)), path
        if source.file_meta.TransferSyntaxUID in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"):
            assert found.LossyImageCompression == "01"
    assert count > 30


@pytest.mark.parametrize(("option", "syntax"), [("+xi", IMPLICIT), ("+xe", EXPLICIT), ("+xb", BIG)])
def test_dcmtk_reads_what_was_converted_as_it_converts_itself(
    option: str, syntax: str, tmp_path: Path
) -> None:
    """dcmconv is the oracle, also of words of pixels of 32 bits in big endian."""
    files = [
        p
        for p in FILES
        if p.name in ("rtdose.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "rtdose_expb.dcm")
    ]
    received = tmp_path / "received"
    received.mkdir()
    port = free_port()
    command = [
        tool("storescp"),
        option,
        "--bit-preserving",
        "--unique-filenames",
        "-od",
        str(received),
        str(port),
    ]
    for path in files:
        with running_process(command, tmp_path):
            wait_until(lambda: is_listening(port), what="storescp listens")
            [result] = store_blocking(port, [path], "never")
            assert result.is_stored, result.comment
        [arrived] = received.iterdir()
        stored = open_object(path)
        found = dcmread(arrived)
        # storescp -xb and the like prefer, but take all.
        target = {IMPLICIT: "+ti", EXPLICIT: "+te", BIG: "+tb"}[str(found.file_meta.TransferSyntaxUID)]
        done = run_tool([tool("dcmconv"), target, str(path), str(tmp_path / "oracle.dcm")])
        assert done.returncode == 0, done.stderr
        assert found.PixelData == dcmread(tmp_path / "oracle.dcm").PixelData, stored
        arrived.unlink()


def image(**attributes: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(range(8))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = create_file_meta(
        sop_class_uid=dataset.SOPClassUID, sop_instance_uid="1.2.3", transfer_syntax=EXPLICIT
    )
    return dataset


def test_data_sets_in_memory() -> None:
    """Words are swapped, also in sequences, and the caller's data set stays as it was."""
    item = image()
    dataset = image(IconImageSequence=Sequence([item]), SmallestImagePixelValue=-2)
    dataset["SmallestImagePixelValue"].VR = "SS"
    found = decoded(bytes(transcode_dataset(dataset, EXPLICIT, BIG)), BIG)
    swapped = bytes((1, 0, 3, 2, 5, 4, 7, 6))
    assert (found.PixelData, found.IconImageSequence[0].PixelData) == (swapped, swapped)
    assert (found.SmallestImagePixelValue, found["SmallestImagePixelValue"].VR) == (-2, "SS")
    assert dataset.PixelData == bytes(range(8))
    back = decoded(bytes(transcode_dataset(found, BIG, IMPLICIT)), IMPLICIT)
    assert back.IconImageSequence[0].PixelData == bytes(range(8))


def test_unknown_private_elements_stay_what_they_are(tmp_path: Path) -> None:
    dataset = image()
    block = dataset.private_block(0x0009, "NOBODY KNOWS", create=True)
    block.add_new(1, "OB", b"\x01\x02\x03\x04")
    del dataset.file_meta
    path = tmp_path / "private.dcm"
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    # Without file meta information: the encoding is found out.
    found = decoded(bytes(transcode_file(open_object(path), BIG)), BIG)
    assert found[0x0009, 0x1001].VR == "UN"
    assert found[0x0009, 0x1001].value == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("name", sorted(CUT_OFF))
def test_damaged_objects_are_refused(name: str) -> None:
    """It may have become shorter since it was looked at."""
    stored, _ = read_object(file_named(name), is_whole=True)
    with pytest.raises(UnusableObject, match="cut off") as caught:
        transcode_file(stored, BIG)
    assert name in str(caught.value)
    assert transfer_syntax(BIG).name in str(caught.value)


def file_named(name: str) -> Path:
    [path] = [each for each in FILES if each.name == name]
    return path


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
@pytest.mark.parametrize("missing", [1, 8, 20, 1000])
def test_a_compressed_file_that_is_cut_off_is_refused(name: str, missing: int, tmp_path: Path) -> None:
    """pydicom reads it, without its pixels or without anything at all, and raises nothing."""
    path = tmp_path / name
    path.write_bytes(file_named(name).read_bytes()[:-missing])
    stored, _ = read_object(path, is_whole=True)
    with pytest.raises(UnusableObject, match="cut off or damaged"):
        transcode_file(stored, EXPLICIT)


def test_a_frame_that_ends_the_decoder_costs_its_own_object() -> None:
    """It ended the process that wanted it: `store`, or a node with all its associations."""
    fatal = Path(__file__).with_name("ends_the_decoder.dcm")
    for path, is_fatal in ((fatal, True), (file_named("SC_rgb_jpeg_dcmtk.dcm"), False), (fatal, True)):
        if is_fatal:
            with pytest.raises(UnusableObject, match="the decoder ended its process over it"):
                transcode_file(open_object(path), EXPLICIT)
        else:
            assert transcode_file(open_object(path), EXPLICIT)


def test_a_decoder_that_ends_just_when_it_is_wanted_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when it was idle for a while, and may have been taken for one that waits."""
    path = file_named("SC_rgb_jpeg_dcmtk.dcm")
    expected = transcode_file(open_object(path), EXPLICIT)
    process = DECODERS.processes._idle[-1]._process
    assert process.stdin is not None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, process.stdin.fileno())
    os.close(nowhere)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(Process, "is_running", True)
    assert transcode_file(open_object(path), EXPLICIT) == expected
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "keyword", "value"),
    [
        ("MR_small_RLE.dcm", "NumberOfFrames", 2),
        ("SC_rgb_rle_2frame.dcm", "NumberOfFrames", 1),
        ("SC_rgb_rle_2frame.dcm", "NumberOfFrames", 3),
        ("JPEGLSNearLossless_08.dcm", "BitsAllocated", 16),
    ],
)
def test_pixels_that_do_not_fit_their_description_are_refused(
    name: str, keyword: str, value: int, tmp_path: Path
) -> None:
    """pydicom would count the frames anew, or leave 8 bits of each sample where 16 are announced."""
    told = "its attributes ask for|frames are in . fragments, and nothing tells"
    dataset = dcmread(file_named(name))
    dataset[keyword] = DataElement(keyword, "IS" if keyword == "NumberOfFrames" else "US", value)
    dataset.save_as(tmp_path / name)
    with pytest.raises(UnusableObject, match=told):
        transcode_file(open_object(tmp_path / name), EXPLICIT)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda command: command[0])
@pytest.mark.parametrize(("is_signed", "high", "dirty"), UNUSED)
def test_bits_that_are_not_used_come_out_as_they_went_in(
    compression: tuple[str, ...], is_signed: bool, high: int, dirty: bool, tmp_path: Path
) -> None:
    """pydicom moved them out: of an image whose highest bit is not the 12th, four bits of each pixel were lost."""
    program, *options = compression
    native = unused_bits(is_signed=is_signed, high=high, dirty=dirty)
    native.save_as(tmp_path / "native.dcm", enforce_file_format=True)
    command = [tool(program), *options, str(tmp_path / "native.dcm"), str(tmp_path / "small.dcm")]
    assert run_tool(command).returncode == 0
    found = decoded(bytes(transcode_file(open_object(tmp_path / "small.dcm"), EXPLICIT)), EXPLICIT)
    assert (found.HighBit, found.BitsStored, found.PixelData) == (high, 12, native.PixelData)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_what_adobe_says_of_colors_holds_for_what_is_decompressed(photometric: str, tmp_path: Path) -> None:
    """Luminance and differences were called red, green and blue where the attributes said RGB."""
    in_jpeg(jpeg_of_adobe(STRIPES, 1), photometric).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    found = decoded(bytes(transcode_file(open_object(tmp_path / "a.dcm"), EXPLICIT)), EXPLICIT)
    assert found.PhotometricInterpretation == ("RGB" if photometric == "RGB" else "YBR_FULL")
    colors = pixel_array(found, raw=True)
    if photometric != "RGB":
        colors = convert_color_space(colors, "YBR_FULL", "RGB")
    assert np.abs(colors.astype(int) - STRIPES).max() < 20


def test_samples_are_what_the_attributes_call_them_which_a_frame_by_itself_does_not_have(
    tmp_path: Path,
) -> None:
    """A frame of JFIF is in YCbCr: given out by itself, its samples were taken for RGB, as the metadata said."""
    file = BytesIO()
    Pictures.fromarray(STRIPES).save(file, "JPEG", quality=95, subsampling=0)
    in_jpeg(file.getvalue(), "RGB").save_as(tmp_path / "a.dcm", enforce_file_format=True)
    found = decoded(bytes(transcode_file(open_object(tmp_path / "a.dcm"), EXPLICIT)), EXPLICIT)
    assert found.PhotometricInterpretation == "RGB"
    assert np.abs(pixel_array(found, raw=True).astype(int) - STRIPES).max() < 20


def test_a_wrong_offset_table_does_not_matter_where_each_frame_is_a_fragment(tmp_path: Path) -> None:
    dataset = dcmread(file_named("SC_rgb_rle_2frame.dcm"))
    before = pixel_array(dataset, raw=True)
    content = bytearray(dataset.PixelData)
    content[8:16] = content[12:16] + content[8:12]
    dataset["PixelData"].value = bytes(content)
    dataset.save_as(tmp_path / "a.dcm")
    found = decoded(bytes(transcode_file(open_object(tmp_path / "a.dcm"), EXPLICIT)), EXPLICIT)
    assert np.array_equal(pixel_array(found, raw=True), before)


def test_offsets_of_fragments_go_with_the_fragments(tmp_path: Path) -> None:
    """PS3.3 section C.7.6.3.1.8: the Extended Offset Table is of encapsulated pixel data."""
    dataset = dcmread(file_named("SC_rgb_rle_2frame.dcm"))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=2))
    encapsulated = encapsulate_extended(frames)
    dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulated
    dataset.save_as(tmp_path / "table.dcm")
    found = decoded(bytes(transcode_file(open_object(tmp_path / "table.dcm"), EXPLICIT)), EXPLICIT)
    assert len(found.PixelData) == 2 * found.Rows * found.Columns * 3
    assert not [element for element in found if element.keyword.startswith("ExtendedOffset")]


def test_a_pixel_representation_at_the_end_counts(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66", "1.2.3"
    dataset.add_new("ZeroVelocityPixelValue", "SS", -5)
    dataset.add_new("PixelRepresentation", "US", 1)
    dataset.save_as(tmp_path / "signed.dcm", implicit_vr=True, little_endian=True)
    found = decoded(bytes(transcode_file(open_object(tmp_path / "signed.dcm"), EXPLICIT)), EXPLICIT)
    assert (found["ZeroVelocityPixelValue"].VR, found.ZeroVelocityPixelValue) == ("SS", -5)


def test_a_large_object_goes_through_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    content = os.urandom(IN_MEMORY + 2)
    path = tmp_path / "large.dcm"
    image(PixelData=content).save_as(path, enforce_file_format=True)
    converted = transcode_file(open_object(path), BIG)
    assert isinstance(converted, memoryview)
    assert np.array_equal(
        np.frombuffer(converted[-len(content) :], ">u2"), np.frombuffer(content, "<u2").astype(">u2")
    )
    assert not list((tmp_path / "scratch").iterdir())


def test_no_codec(tmp_path: Path) -> None:
    """Without a plugin the object is refused, and what to install is told."""
    [path] = [each for each in FILES if each.name == "JPEG2000.dcm"]
    missing = ("gdcm", "PIL", "openjpeg", "pylibjpeg")
    code = (
        f"import sys\nfor each in {missing}: sys.modules[each] = None\n"
        "from dicomnet.drivers.files import open_object\nfrom dicomnet.datasets.transcode import transcode_file\n"
        f"transcode_file(open_object({str(path)!r}), {EXPLICIT!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "no decoder is installed, try dicomnet[transcode]" in done.stderr.splitlines()[-1]


def test_associations_convert_and_refuse() -> None:
    [native] = [each for each in FILES if each.name == "MR_small_bigendian.dcm"]
    [compressed] = [each for each in FILES if each.name == "MR_small_RLE.dcm"]
    sop_class = "1.2.840.10008.5.1.4.1.1.4"
    contexts = [build_context(sop_class, [syntax]) for syntax in ("1.2.840.10008.1.2.5", EXPLICIT, BIG)]
    with receiver(EXPLICIT) as (port, received):
        ae = AE()
        assoc = ae.associate("127.0.0.1", port, contexts)
        for what in (native, dcmread(native)):
            assert assoc.send_c_store(what).Status == 0
            assert values(decoded(received.pop()[2], EXPLICIT)) == values(source_of(native))
        for what in (compressed, dcmread(compressed)):
            with pytest.raises(NoAcceptedContext, match=r"RLE Lossless.*if-needed") as caught:
                assoc.send_c_store(what)
            assert caught.value.accepted == (EXPLICIT,)
            assert assoc.send_c_store(what, transcode="if-needed").Status == 0
        ae.transcode = "if-needed"
        assert assoc.send_c_store(compressed).Status == 0
        for _, _, encoded in received:
            assert np.array_equal(pixel_array(decoded(encoded, EXPLICIT)), pixel_array(dcmread(compressed)))
        assoc.release()
    for make in (lambda: Peer("A@127.0.0.1:1", transcode="always"), lambda: setattr(ae, "transcode", "yes")):
        with pytest.raises(ValueError, match="never or if-needed"):
            make()


def test_an_association_of_asyncio_converts() -> None:
    [path] = [each for each in FILES if each.name == "MR_small_RLE.dcm"]

    async def send(port: int) -> int:
        contexts = {"1.2.840.10008.5.1.4.1.1.4": [IMPLICIT]}
        async with await aio.connect(f"NODE@127.0.0.1:{port}", contexts) as assoc:
            with pytest.raises(NoAcceptedContext):
                await assoc.send_c_store(path)
            return int((await assoc.send_c_store(path, transcode="if-needed")).Status)

    with receiver(IMPLICIT) as (port, received):
        assert asyncio.run(send(port)) == 0
    assert len(received) == 1


def test_what_is_proposed() -> None:
    rle, jpeg = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
    assert propose([("1", rle)], Transcoding.NEVER) == (("1", (rle,)),)
    assert propose([("1", rle), ("1", jpeg)], Transcoding.IF_NEEDED) == (
        ("1", (rle,)),
        ("1", (jpeg,)),
        ("1", (EXPLICIT,)),
        ("1", (IMPLICIT, DEFLATED, BIG)),
    )
    assert propose([("1", EXPLICIT)], Transcoding.NEVER) == (
        ("1", (EXPLICIT,)),
        ("1", (IMPLICIT, DEFLATED, BIG)),
    )
    many = [(str(n), UID(EXPLICIT)) for n in range(MAXIMUM_CONTEXTS // 2)]
    assert len(propose(many, Transcoding.NEVER)) == MAXIMUM_CONTEXTS


def test_the_command() -> None:
    # The command decodes with numpy.
    with_numpy = {name: value for name, value in TOOL_ENVIRONMENT.items() if name != "PYTHONPATH"}
    [path] = [each for each in FILES if each.name == "MR_small_RLE.dcm"]
    with receiver(IMPLICIT) as (port, received):
        address = f"NODE@127.0.0.1:{port}"
        done = run_tool(dicomnet("store", address, str(path)))
        assert done.returncode == 1
        assert "RLE Lossless" in done.stdout + done.stderr
        done = run_tool(
            dicomnet("store", "--transcode", "if-needed", address, str(path)), environment=with_numpy
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(received) == 1


def test_nothing_is_imported_for_files_that_go_as_they_are() -> None:
    [path] = [each for each in FILES if each.name == "MR_small.dcm"]
    with receiver(EXPLICIT) as (port, _):
        code = (
            "import sys\nfrom dicomnet import Peer\n"
            f"with Peer('NODE@127.0.0.1:{port}') as peer: [result] = peer.store({str(path)!r})\n"
            "assert result.is_stored and 'pydicom' not in sys.modules"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr


# -- pixel data that is encapsulated inside of a sequence

RLE = "1.2.840.10008.1.2.5"


def compressed(dataset: Dataset) -> Dataset:
    dataset.SamplesPerPixel, dataset.HighBit = 1, dataset.BitsStored - 1
    dataset.compress(UID(RLE), generate_instance_uid=False)
    return dataset


def with_icon(dataset: Dataset, icon: Dataset, keyword: str, path: Path) -> Path:
    del icon.file_meta
    setattr(dataset, keyword, Sequence([icon]))
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_compressed_icon_is_decompressed_with_its_image(tmp_path: Path) -> None:
    path = with_icon(compressed(image()), compressed(image()), "IconImageSequence", tmp_path / "icon.dcm")
    for target in (EXPLICIT, IMPLICIT, DEFLATED):
        found = decoded(bytes(transcode_file(open_object(path), target)), target)
        assert found.PixelData == bytes(range(8))
        assert found.IconImageSequence[0].PixelData == bytes(range(8))


@pytest.mark.parametrize("keyword", ["IconImageSequence", "ReferencedImageSequence"])
def test_a_damaged_icon_was_not_told_from_its_image(keyword: str, tmp_path: Path) -> None:
    """The object is not sent with a part of it missing."""
    icon = compressed(image())
    icon.PixelData = encapsulate_extended(
        [b"no RLE data, but some text, of more than 64 bytes, as headers are" * 2]
    )[0]
    path = with_icon(compressed(image()), icon, keyword, tmp_path / "icon.dcm")
    tag = {"IconImageSequence": "(0088,0200)", "ReferencedImageSequence": "(0008,1140)"}[keyword]
    with pytest.raises(
        UnusableObject, match=re.escape(f": in an item of {keyword} {tag}: pydicom cannot decode it")
    ) as raised:
        transcode_file(open_object(path), EXPLICIT)
    assert "pydicom: " in raised.value.cause, "the decoders' reasons are told"


@pytest.mark.parametrize("keyword", ["IconImageSequence", "ReferencedImageSequence"])
@pytest.mark.parametrize(("own", "target"), [(EXPLICIT, IMPLICIT), (EXPLICIT, BIG), (IMPLICIT, EXPLICIT)])
def test_a_compressed_icon_of_a_native_image_is_named_and_nothing_is_lost(
    keyword: str, own: str, target: str, tmp_path: Path
) -> None:
    """Some decompressors leave it; no reader knows its codec any more."""
    dataset = image()
    dataset.file_meta.TransferSyntaxUID = UID(own)
    dataset.set_original_encoding(own == IMPLICIT, True)
    path = with_icon(dataset, compressed(image()), keyword, tmp_path / "icon.dcm")
    before = path.read_bytes()
    told = rf"PixelData \(7FE0,0010\) in an item of {keyword} .* is encapsulated, which its transfer syntax does not"
    with pytest.raises(UnusableObject, match=told):
        transcode_file(open_object(path), target)
    arrived = []

    def on_store(event: Any) -> int:
        arrived.append(event.encoded_dataset(include_meta=False))
        return 0

    ae = AE()
    ae.add_supported_context(str(dataset.SOPClassUID), own)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    try:
        with Peer(f"127.0.0.1:{server.server_address[1]}", transcode="if-needed") as peer:
            (result,) = peer.store([path])
    finally:
        ae.shutdown()
    assert (result.status, arrived) == (0, [before[open_object(path).header.offset :]])


def test_an_rle_image_that_is_said_to_be_huge_ended_the_process(tmp_path: Path) -> None:
    """Its decoder may be a library, too, and asks for the memory of all the pixels that the attributes tell of."""
    path = tmp_path / "huge.dcm"
    dataset = compressed(image())
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path, enforce_file_format=True)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from dicomnet.datasets.transcode import transcode_file\n"
        "from dicomnet.drivers.files import open_object\n"
        "from dicomnet.errors import UnusableObject\n"
        "try:\n"
        "    transcode_file(open_object(sys.argv[1]), sys.argv[2])\n"
        "except UnusableObject as error:\n"
        "    print(error.cause)\n"
    )
    done = run_tool([sys.executable, "-c", code, str(path), EXPLICIT])
    assert done.returncode == 0, done.stderr
    assert "huge.dcm cannot be converted from RLE Lossless to Explicit VR Little Endian: " in done.stdout
