"""What an answer of the node must be, by the files that it holds: each kind of resource of PS3.18 has its judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from email import message_from_bytes
from email.policy import HTTP
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_modality_lut
from pydicom.tag import Tag
from tests.archive.web.agents.recording import PREFIX, Request

JSON = "application/dicom+json"
# What QIDO-RS has besides keys, and attributes that a match has of itself.
_PARAMETERS = frozenset(("limit", "offset", "includefield", "fuzzymatching"))
_OWN = frozenset(
    ("00080005", "00081190", "00080056", "00080061", "00201206", "00201208", "00201209", "00083002")
)
_LEVELS = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
_PIXEL_DATA = 0x7FE00010


def plain(data_set: Dataset) -> dict[str, Any]:
    """What an object says, in a form in which two are compared: all of it, with its pixels as they decode."""
    rest = Dataset({element.tag: element for element in data_set if element.tag != _PIXEL_DATA})
    found = rest.to_json_dict()
    found.pop("00080005", None)
    if "PixelData" in data_set:
        found["pixels"] = data_set.pixel_array.tobytes()
    return found


def frames_of(data_set: FileDataset) -> list[bytes]:
    """The frames as they lie in a file."""
    count = int(data_set.get("NumberOfFrames", 1))
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(data_set.PixelData, number_of_frames=count))
    length = len(data_set.PixelData) // count
    return [data_set.PixelData[length * number : length * (number + 1)] for number in range(count)]


def decoded_frames(data_set: FileDataset) -> list[bytes]:
    """The frames without compression, little endian."""
    array = data_set.pixel_array
    return [each.tobytes() for each in (array if int(data_set.get("NumberOfFrames", 1)) > 1 else array[None])]


def picture_of(
    data_set: FileDataset, frame: int = 1, window: tuple[float, float] | None = None
) -> np.ndarray:
    """A frame as it is to be seen: of grey values what PS3.3 section C.11.2.1.2.1 makes of them, from 0 to 255."""
    array = data_set.pixel_array
    shown = array[frame - 1] if int(data_set.get("NumberOfFrames", 1)) > 1 else array
    if data_set.SamplesPerPixel > 1:
        return np.asarray(shown, float)
    center, width = window or (float(data_set.WindowCenter), float(data_set.WindowWidth))
    values = np.asarray(apply_modality_lut(shown, data_set), float)
    return np.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def difference(shown: Image.Image, wanted: np.ndarray) -> float:
    """By how much a picture differs from another one, made as large as it: the mean of all pixels."""
    how = Image.Resampling.BOX if shown.width < wanted.shape[1] else Image.Resampling.BICUBIC
    resized = Image.fromarray(wanted.astype("u1")).resize(shown.size, how)
    return float(np.abs(np.asarray(shown, float) - np.asarray(resized, float)).mean())


def parts_of(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """The parts of a multipart body, each with its content type, as Python's own reader of mail reads them."""
    found = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=HTTP)
    assert found.is_multipart()
    return [
        (str(part["Content-Type"]), part.get_payload(decode=True))  # type: ignore[misc]
        for part in found.iter_parts()
    ]


class Judge:
    """Knows what is held, and says of an answer whether it is right.

    Parameters
    ----------
    held
        The objects.
    fetch
        Gets what an address is of; for bulk data.
    """

    def __init__(self, held: Iterable[FileDataset], fetch: Callable[[str], bytes]) -> None:
        self.objects = {str(each.SOPInstanceUID): each for each in held}
        self._fetch = fetch
        self._table: Sequence[tuple[re.Pattern[str], Callable[..., None]]] = [
            (re.compile(pattern), judge)
            for pattern, judge in (
                (r".*/metadata", self._metadata),
                (r".*/frames/[\d,]+", self._frames),
                (r".*/rendered", self._rendered),
                (r".*/thumbnail", self._thumbnail),
                (r".*/bulkdata/.*", self._bulk_data),
                (r"(.*/)?(studies|series|instances)", self._matches),
                (r".*/(studies|series|instances)/[\d.]+", self._files),
            )
        ]

    def judge(self, request: Request, response: Any, body: bytes) -> None:
        """Fail unless an answer is what it must be."""
        path = urlsplit(request.target).path
        assert request.method in ("GET", "POST", "DELETE")
        if request.method == "POST":
            self._stored(request, response, body)
            return
        if request.method == "DELETE":
            assert (response.status, body) == (204, b"")
            return
        if "if-none-match" in request.headers:
            assert (response.status, body) == (304, b"")
            return
        assert response.status in (200, 204, 206), (response.status, body[:300])
        (judge,) = (judge for pattern, judge in self._table if pattern.fullmatch(path))
        judge(request, response, body)

    def below(self, target: str) -> list[FileDataset]:
        """The objects that a resource has."""
        path = urlsplit(target).path
        wanted = {
            attribute: found[1]
            for word, attribute in _LEVELS.items()
            if (found := re.search(rf"/{word}/([\d.]+)", path))
        }
        return [each for each in self.objects.values() if all(each[k].value == v for k, v in wanted.items())]

    def matching(self, target: str) -> list[FileDataset]:
        """The objects that match a query, which asks for texts with wild cards, UIDs, and dates."""
        keys = {
            name
            if name in _PARAMETERS or tag_for_keyword(name)
            else keyword_for_tag(Tag(int(name, 16))): value
            for name, value in parse_qsl(urlsplit(target).query)
        }
        found = self.below(target)
        for name in keys.keys() - _PARAMETERS:
            found = [each for each in found if _matches(self._value(each, name), keys[name])]
        return found

    def _value(self, data_set: FileDataset, name: str) -> list[str]:
        """The values of a key; of a study's modalities those of all of its series."""
        if name != "ModalitiesInStudy":
            return [str(data_set.get(name, ""))]
        study = data_set.StudyInstanceUID
        return [each.Modality for each in self.objects.values() if each.StudyInstanceUID == study]

    def _matches(self, request: Request, response: Any, body: bytes) -> None:
        found = json.loads(body) if body else []
        assert response.status == (200 if found else 204)
        assert not found or response.headers.get_content_type() == JSON
        asked = dict(parse_qsl(urlsplit(request.target).query))
        rest = max(0, len(self._wanted(request.target)) - int(asked.get("offset", 0)))
        self.judge_matches(request.target, found, min(rest, int(asked.get("limit", rest))))

    def _wanted(self, target: str) -> dict[str, FileDataset]:
        """What matches a query, by the unique key of its level."""
        level = _LEVELS[urlsplit(target).path.rpartition("/")[2]]
        return {each[level].value: each for each in self.matching(target)}

    def judge_matches(
        self, target: str, found: Sequence[Mapping[str, Any]], count: int | None = None
    ) -> None:
        """Fail unless the matches of a query are those that it must find: so many of them, or all."""
        wanted = self._wanted(target)
        level = urlsplit(target).path.rpartition("/")[2]
        tag = f"{tag_for_keyword(_LEVELS[level]):08X}"
        assert len(found) == (len(wanted) if count is None else count)
        assert len({match[tag]["Value"][0] for match in found}) == len(found)
        fields = [
            field
            for name, value in parse_qsl(urlsplit(target).query)
            for field in value.split(",")
            if name == "includefield" and field != "all"
        ]
        for match in found:
            self._match(level, match, wanted[match[tag]["Value"][0]], fields)

    def _match(
        self, level: str, match: Mapping[str, Any], data_set: FileDataset, fields: Iterable[str]
    ) -> None:
        known = data_set.to_json_dict()
        for name in match.keys() - _OWN:
            assert match[name] == known.get(name, {"vr": match[name]["vr"]}), name
        for field in fields:
            tag = field if re.fullmatch("[0-9A-Fa-f]{8}", field) else f"{tag_for_keyword(field) or 0:08X}"
            # A study has no modality, which is asked for all the same.
            assert tag in match or (level, tag) == ("studies", "00080060"), field
        (address,) = match["00081190"]["Value"]
        uids = (data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)
        pairs = list(zip(_LEVELS, uids, strict=True))[: list(_LEVELS).index(level) + 1]
        assert urlsplit(address).path == PREFIX + "".join(f"/{word}/{uid}" for word, uid in pairs)

    def _metadata(self, request: Request, response: Any, body: bytes) -> None:
        models = json.loads(body)
        wanted = {str(each.SOPInstanceUID): each for each in self.below(request.target)}
        assert response.headers.get_content_type() == JSON
        assert sorted(model["00080018"]["Value"][0] for model in models) == sorted(wanted)
        for model in models:
            self.metadata(model)

    def metadata(self, model: dict[str, Any]) -> None:
        """Fail unless the metadata of an object are those of its file, with the bulk data that they name."""
        file = self.objects[model["00080018"]["Value"][0]]
        pixels = model.pop("7FE00010", None)
        assert (pixels is not None) == ("PixelData" in file)
        if pixels is not None and not file.file_meta.TransferSyntaxUID.is_encapsulated:
            assert self._fetch(pixels["BulkDataURI"]) == file.PixelData
        known = Dataset(
            {element.tag: element for element in file if element.tag != _PIXEL_DATA}
        ).to_json_dict()
        for tag, value in model.items():
            if "BulkDataURI" in value:
                assert self._fetch(value["BulkDataURI"]) == file[int(tag, 16)].value
                value = known[tag]
            if tag not in ("00080005",):
                assert value == _with_nulls(known[tag]), tag
        assert model.keys() >= known.keys() - {"00080005"}

    def _frames(self, request: Request, response: Any, body: bytes) -> None:
        (file,) = self.below(request.target)
        numbers = [int(each) for each in request.target.rpartition("/frames/")[2].split(",")]
        given = parts_of(response.headers["Content-Type"], body)
        assert len(given) == len(numbers)
        for number, (kind, content) in zip(numbers, given, strict=True):
            syntax = file.file_meta.TransferSyntaxUID
            is_stored = syntax in kind or not kind.startswith("application/octet-stream")
            wanted = (frames_of if is_stored else decoded_frames)(file)[number - 1]
            # A frame has an even length where it is a fragment.
            assert content.rstrip(b"\0") == wanted.rstrip(b"\0"), (number, kind)

    def _rendered(self, request: Request, response: Any, body: bytes) -> None:
        kind = response.headers["Content-Type"]
        if kind.startswith("multipart/"):
            parts = parts_of(kind, body)
            files = sorted(self.below(request.target), key=lambda each: int(each.InstanceNumber))
            assert len(parts) == len(files)
            for (part, content), each in zip(parts, files, strict=True):
                self._picture(request.target, each, part, content)
        else:
            self._picture(request.target, self._first(request.target), kind, body)

    def _picture(self, target: str, file: FileDataset, kind: str, body: bytes) -> None:
        if "EncapsulatedDocument" in file:
            assert kind == file.MIMETypeOfEncapsulatedDocument
            assert body.rstrip(b"\0 ") == file.EncapsulatedDocument.rstrip(b"\0 ")
            return
        frame = re.search(r"/frames/(\d+)/", target)
        shown = np.asarray(self._image(kind, body), float)
        asked = dict(parse_qsl(urlsplit(target).query))
        window = None
        if "window" in asked:
            center, width, *_ = asked["window"].split(",")
            window = float(center), float(width)
        wanted = picture_of(file, int(frame[1]) if frame else 1, window)
        if "viewport" not in asked:
            assert shown.shape == wanted.shape
            assert np.abs(shown - wanted).mean() < 3

    def _thumbnail(self, request: Request, response: Any, body: bytes) -> None:
        file = self._first(request.target)
        image = self._image(response.headers.get_content_type(), body)
        frame = re.search(r"/frames/(\d+)/", request.target)
        assert image.width / image.height == pytest.approx(file.Columns / file.Rows, rel=0.05)
        frames = [int(frame[1])] if frame else range(1, int(file.get("NumberOfFrames", 1)) + 1)
        # Any frame may stand for all.
        assert min(difference(image, picture_of(file, number)) for number in frames) < 10

    def _first(self, target: str) -> FileDataset:
        """The object of which a study or a series shows a picture."""
        return min(self.below(target), key=lambda each: int(each.InstanceNumber))

    @staticmethod
    def _image(kind: str, body: bytes) -> Image.Image:
        image = Image.open(BytesIO(body))
        assert kind == f"image/{(image.format or '').lower()}"
        return image

    def _bulk_data(self, request: Request, response: Any, body: bytes) -> None:
        (file,) = self.below(request.target)
        tag = urlsplit(request.target).path.rpartition("/")[2]
        wanted = file[int(tag, 16)].value
        kind = response.headers["Content-Type"]
        if kind.startswith("multipart/"):
            ((_, body),) = parts_of(kind, body)
        if "range" in request.headers:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            assert response.status == 206
            wanted = wanted[int(first) : int(last) + 1]
        assert body == wanted

    def _files(self, request: Request, response: Any, body: bytes) -> None:
        wanted = {str(each.SOPInstanceUID): each for each in self.below(request.target)}
        kind = response.headers["Content-Type"]
        given = parts_of(kind, body) if kind.startswith("multipart/") else [(kind, body)]
        assert len(given) == len(wanted)
        for part, content in given:
            assert part.startswith("application/dicom")
            found = dcmread(BytesIO(content))
            assert plain(found) == plain(wanted[found.SOPInstanceUID])

    def _stored(self, request: Request, response: Any, body: bytes) -> None:
        assert response.status == 200
        items = json.loads(body)["00081199"]["Value"]
        assert [item["00081155"]["Value"][0] for item in items] == [
            piece.instance for piece in request.body if piece.instance
        ]


def _with_nulls(element: dict[str, Any]) -> dict[str, Any]:
    """An element of the JSON model with null for an empty value (PS3.18 section F.2.5), where pydicom has a text."""
    values = element.get("Value")
    return (
        element if values is None else {**element, "Value": [None if each == "" else each for each in values]}
    )


def _matches(values: Iterable[str], wanted: str) -> bool:
    """Matching of PS3.4 section C.2.2.2, as far as it is asked for here."""
    if re.fullmatch(r"\d{8}-\d{8}", wanted):
        first, _, last = wanted.partition("-")
        return any(first <= value <= last for value in values)
    return any(
        fnmatchcase(value.lower(), each.lower())
        for value in values
        for each in wanted.replace("\\", ",").split(",")
    )
