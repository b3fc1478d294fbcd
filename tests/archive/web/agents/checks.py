"""What the results of calls of DICOMweb clients must be, by the files of the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.archive.web.agents.holding import Holding
from tests.archive.web.agents.judging import (
    decoded_frames,
    difference,
    frames_of,
    parts_of,
    picture_of,
    plain,
)
from tests.archive.web.agents.objects import (
    COLOUR_STUDY,
    CT_SERIES,
    CT_STUDY,
    FRAMES,
    NEW_STUDY,
    PACKED_STUDY,
    PDF_STUDY,
    SLICES,
    US_STUDY,
)

Check = Callable[[Holding, Any], None]
SLICE = (CT_STUDY, CT_SERIES, f"{CT_SERIES}.3")
FILM = (US_STUDY, f"{US_STUDY}.1", f"{US_STUDY}.1.1")
COLOURS = (COLOUR_STUDY, f"{COLOUR_STUDY}.1", f"{COLOUR_STUDY}.1.1")
PACKED = (PACKED_STUDY, f"{PACKED_STUDY}.1", f"{PACKED_STUDY}.1.2")
DOCUMENT = (PDF_STUDY, f"{PDF_STUDY}.1", f"{PDF_STUDY}.1.1")
ALL_FRAMES = list(range(1, FRAMES + 1))


def address(*uids: str) -> str:
    """Where a study, series or instance is, below the root of DICOMweb."""
    return "".join(
        f"/{word}/{uid}" for word, uid in zip(("studies", "series", "instances"), uids, strict=False)
    )


def finds(target: str, count: int | None = None) -> Check:
    """The result is what a query finds."""

    def check(held: Holding, found: list[dict[str, Any]]) -> None:
        held.judge.judge_matches(target, found, count)

    return check


def is_metadata_of(*uids: str) -> Check:
    """The result is the metadata of a resource."""

    def check(held: Holding, found: Any) -> None:
        models = [found] if isinstance(found, dict) else found
        assert len(models) == len(held.judge.below(address(*uids)))
        for model in models:
            held.judge.metadata(model)

    return check


def are(*uids: str) -> Check:
    """The result is the objects of a resource."""

    def check(held: Holding, found: Any) -> None:
        given = [found] if isinstance(found, Dataset) else list(found)
        wanted = {each.SOPInstanceUID: plain(each) for each in held.judge.below(address(*uids))}
        assert {each.SOPInstanceUID: plain(each) for each in given} == wanted
        assert len(given) == len(wanted)

    return check


def are_frames(instance: tuple[str, str, str], numbers: Sequence[int], *, decoded: bool = False) -> Check:
    """The result is frames, as they lie in the file or decoded."""

    def check(held: Holding, found: Any) -> None:
        (file,) = held.judge.below(address(*instance))
        frames = (decoded_frames if decoded else frames_of)(file)
        assert [each.rstrip(b"\0") for each in found] == [
            frames[number - 1].rstrip(b"\0") for number in numbers
        ]

    return check


def is_picture(
    instance: tuple[str, str, str], frame: int = 1, window: tuple[float, float] | None = None
) -> Check:
    """The result is a picture of a frame."""

    def check(held: Holding, found: bytes) -> None:
        (file,) = held.judge.below(address(*instance))
        shown = np.asarray(Image.open(BytesIO(found)), float)
        assert np.abs(shown - picture_of(file, frame, window)).mean() < 3

    return check


def is_thumbnail(instance: tuple[str, str, str], frames: Sequence[int]) -> Check:
    """The result is a small picture of one of some frames."""

    def check(held: Holding, found: bytes) -> None:
        (file,) = held.judge.below(address(*instance))
        shown = Image.open(BytesIO(found))
        assert min(difference(shown, picture_of(file, frame)) for frame in frames) < 10

    return check


def are_pictures(held: Holding, found: bytes) -> None:
    """The result is the pictures of a series."""
    boundary = found.removeprefix(b"\r\n--").partition(b"\r\n")[0].decode()
    parts = parts_of(f'multipart/related; boundary="{boundary}"', found)
    for number, (kind, content) in enumerate(parts, 1):
        assert kind == "image/jpeg"
        is_picture((*SLICE[:2], f"{CT_SERIES}.{number}"))(held, content)
    assert len(parts) == SLICES


def is_document(held: Holding, found: bytes) -> None:
    """The result is the document."""
    (file,) = held.judge.below(address(*DOCUMENT))
    assert found.rstrip(b"\0 ") == file.EncapsulatedDocument.rstrip(b"\0 ")


def is_value(instance: tuple[str, str, str], keyword: str, part: slice = slice(None)) -> Check:
    def check(held: Holding, found: Any) -> None:
        (file,) = held.judge.below(address(*instance))
        assert list(found) == [file[keyword].value[part]]

    return check


def is_stored(held: Holding, found: Dataset) -> None:
    """The result says that all that was sent is stored, and so it is."""
    wanted = [each.SOPInstanceUID for each in held.to_be_stored]
    assert [item.ReferencedSOPInstanceUID for item in found.ReferencedSOPSequence] == wanted
    assert "FailedSOPSequence" not in found
    for each in held.to_be_stored:
        path = address(each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
        assert plain(dcmread(BytesIO(held.node.get(path, "application/dicom").body))) == plain(each)


def leaves(*instances: str) -> Check:
    """The call deletes what it names, and leaves these objects of the study."""

    def check(held: Holding, found: Any) -> None:
        assert found is None
        answer = held.node.get(f"/studies/{NEW_STUDY}/instances")
        left = answer.json if answer.status == 200 else []
        assert [each["00080018"]["Value"][0] for each in left] == list(instances)

    return check


def gives(wanted: object) -> Check:
    """The result is just this."""

    def check(held: Holding, found: object) -> None:
        assert found == wanted

    return check
