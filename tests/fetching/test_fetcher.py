"""What is asked of a peer, and asked again, where it is out of resources, leaves things out, or gives other things."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.fetching.corpus import Study, make_object, objects_below, pixels

from dicomnet.errors import AssociationAborted, ConnectionFailed, DicomnetError, ServiceRefusal
from dicomnet.exchange.operations import Operation, Pause, Report
from dicomnet.exchange.pacing import Pacing, Times
from dicomnet.exchange.results import LocalFailure, RetrieveProgress
from dicomnet.fetching.fetcher import Event, Fetcher, Outcome, Rows, Terms
from dicomnet.fetching.folder import Folder
from dicomnet.fetching.lists import Row
from dicomnet.fetching.names import DEFAULT_LAYOUT, Layout
from dicomnet.fetching.reports import write_report
from dicomnet.fetching.selecting import Condition, Selection
from dicomnet.services.steps import Work

STUDY = Study(1, "P1", "A1")
OTHER = Study(2, "P2", "A1")
ROW = Row(2, {"StudyInstanceUID": STUDY.uid})
LEVELS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "image": "SOPInstanceUID"}


class Peer:
    """A peer with some studies, and the faults that a test gives it."""

    name = "PEER"

    def __init__(self, *studies: Study) -> None:
        self.objects = [make_object(each, uid) for each in studies for uid in sorted(each.objects())]
        self.incoming = Path()
        self.asked: list[tuple[str, Any]] = []
        # What it raises instead of an answer, one after the other; None for an answer.
        self.troubles: Iterator[DicomnetError | None] = iter(())
        # Whether an object is sent at an attempt, and what is sent instead.
        self.sends: Callable[[Dataset, str, Any], bool] = lambda each, level, wanted: True
        self.changes: Callable[[Dataset], None] = lambda each: None
        self.tells: Callable[[str, Dataset], None] = lambda level, match: None
        self.count_more = 0

    def find(self, level: str, keys: Mapping[str, Any]) -> Operation[None]:
        yield from map(Report, self.matches(level, keys))

    def matches(self, level: str, keys: Mapping[str, Any]) -> Iterable[Dataset]:
        trouble = next(self.troubles, None)
        if trouble is not None:
            raise trouble
        found: dict[str, Dataset] = {}
        for each in self.objects:
            if all(
                value is None or str(each.get(name, "")) in ([value] if isinstance(value, str) else value)
                for name, value in keys.items()
            ):
                match = Dataset()
                for name in {**keys, "SeriesInstanceUID": None, "SOPClassUID": None}:
                    if name in each:
                        match[name] = each[name]
                series = [one for one in self.objects if one.SeriesInstanceUID == each.SeriesInstanceUID]
                match.NumberOfSeriesRelatedInstances = str(len(series) + self.count_more)
                self.tells(level, match)
                found[str(each[LEVELS[level]].value)] = match
        return found.values()

    def retrieve(
        self, level: str, keys: Mapping[str, Any], classes: Sequence[str], attempt: int, expected: int
    ) -> Operation[None]:
        wanted = keys[LEVELS[level]]
        self.asked.append((level, wanted))
        sent = failed = 0
        for each in self.objects:
            if each[LEVELS[level]].value not in ([wanted] if isinstance(wanted, str) else wanted):
                continue
            trouble = next(self.troubles, None)
            if trouble is not None:
                raise trouble
            if not self.sends(each, level, wanted):
                failed += 1
                continue
            copy = make_object(
                Study(int(each.StudyID), each.PatientID, each.AccessionNumber), each.SOPInstanceUID
            )
            self.changes(copy)
            copy.save_as(self.incoming / f"{each.SOPInstanceUID}.dcm", enforce_file_format=True)
            sent += 1
        yield Report(RetrieveProgress(0xB000 if failed else 0, 0, sent, failed, 0, received=sent))

    def rest(self) -> Operation[None]:
        """Nothing is open."""
        yield from ()


def performed(operation: Operation[None]) -> Iterator[Event]:
    """What an operation reports, whose work is done and whose pauses are not."""
    resume: Callable[[Any], Any] = operation.send
    outcome: Any = None
    try:
        while True:
            step = resume(outcome)
            resume, outcome = operation.send, None
            if isinstance(step, Report):
                yield step.result
            elif isinstance(step, Work):
                try:
                    outcome = step.function()
                except Exception as error:  # noqa: BLE001
                    resume, outcome = operation.throw, error
            else:
                assert isinstance(step, Pause)
    except StopIteration:
        return


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., list[Event]]:
    """Retrieve rows from a peer; what was waited for is in the events."""

    def run(peer: Peer, *rows: Row, expected: Outcome | Sequence[Outcome], **terms: Any) -> list[Event]:
        with Folder(tmp_path / "in", Layout.parse(DEFAULT_LAYOUT)) as folder:
            peer.incoming = folder.incoming
            listed = Rows(rows or [ROW])
            events = list(performed(Fetcher(peer, folder, Terms(**terms)).run(listed)))
            outcomes = [each.outcome for each in listed.results]
            assert outcomes == ([expected] if isinstance(expected, Outcome) else list(expected)), (
                listed.results
            )
            write_report(tmp_path / "in" / "report.csv", listed.results)
            return events

    return run


def test_it_waits_for_its_part_of_the_day(tmp_path: Path) -> None:
    """With a clock that each pause sets on: it begins at 18:59:50, and asks at 19:00."""
    now = datetime(2026, 5, 4, 18, 30).timestamp()
    peer = Peer(STUDY)
    asked: list[float] = []
    peer.tells = lambda level, match: asked.append(now)
    pacing = Pacing(None, Times.parse("19:00-06:00"), now=lambda: now)
    with Folder(tmp_path / "in", Layout.parse(DEFAULT_LAYOUT)) as folder:
        peer.incoming = folder.incoming
        operation = Fetcher(peer, folder, Terms(pacing=pacing)).run(Rows([ROW]))
        events: list[Event] = []
        outcome: Any = None
        with contextlib.suppress(StopIteration):
            while True:
                step = operation.send(outcome)
                outcome = None
                if isinstance(step, Report):
                    events.append(step.result)
                elif isinstance(step, Work):
                    outcome = step.function()
                elif isinstance(step, Pause):
                    now += step.seconds
    assert datetime.fromtimestamp(asked[0]).strftime("%H:%M") == "19:00"
    told = [each.values["words"] for each in events if each.kind == "pause"]
    assert len(told) == 1
    assert str(told[0]).startswith("nothing is retrieved until ")
    assert events[-1].values["outcome"] == "complete"


def pauses(events: Sequence[Event]) -> list[object]:
    return [each.values["seconds"] for each in events if each.kind == "pause"]


def test_a_peer_that_is_out_of_resources_is_left_alone(fetch: Any, tmp_path: Path) -> None:
    peer = Peer(STUDY)
    peer.troubles = iter(
        [ServiceRefusal(0xA700), None, None, None, None, None, ServiceRefusal(0xA702), ServiceRefusal(0xA701)]
    )
    assert pauses(fetch(peer, expected=Outcome.COMPLETE, pause=7.0)) == [7.0, 7.0, 14.0]
    assert objects_below(tmp_path / "in") == pixels([STUDY])


def test_a_peer_that_stays_out_of_resources(fetch: Any) -> None:
    peer = Peer(STUDY, OTHER)
    peer.troubles = iter([ServiceRefusal(0xA700)] * 3)
    rows = [ROW, Row(3, {"StudyInstanceUID": OTHER.uid})]
    events = fetch(peer, *rows, expected=[Outcome.FAILED, Outcome.COMPLETE], retries=2, pause=1.0)
    assert pauses(events) == [1.0, 2.0]


def test_another_refusal_is_not_asked_again(fetch: Any) -> None:
    peer = Peer(STUDY)
    peer.troubles = iter([ServiceRefusal(0xC001)])
    assert pauses(fetch(peer, expected=Outcome.FAILED)) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_peer_that_breaks_off_at_any_moment(fetch: Any, tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    peer = Peer(STUDY, OTHER)
    faults: list[DicomnetError] = [
        ServiceRefusal(0xA701),
        AssociationAborted(0, 0),
        ConnectionFailed("host", 1, "refused"),
    ]
    # The first question is answered: an address where nobody ever was is not called again.
    peer.troubles = iter([None, *(choice.choice([*faults, None, None, None]) for _ in range(40))])
    rows = [ROW, Row(3, {"StudyInstanceUID": OTHER.uid})]
    fetch(peer, *rows, expected=[Outcome.COMPLETE] * 2, retries=50)
    assert objects_below(tmp_path / "in") == pixels([STUDY, OTHER])


def test_nobody_was_ever_there(fetch: Any) -> None:
    peer = Peer(STUDY)
    peer.troubles = iter([ConnectionFailed("host", 1, "refused")])
    with pytest.raises(ConnectionFailed):
        fetch(peer, expected=[])


def test_what_is_missing_is_asked_for_by_its_uid(fetch: Any, tmp_path: Path) -> None:
    peer = Peer(STUDY)
    last = max(STUDY.objects(1))
    peer.sends = lambda each, level, wanted: (
        each.SOPInstanceUID != last or (level == "image" and wanted == last)
    )
    fetch(peer, expected=Outcome.COMPLETE)
    assert peer.asked == [
        ("series", STUDY.series(1)),
        ("image", last),
        ("series", STUDY.series(2)),
        ("series", STUDY.series(3)),
    ]
    assert objects_below(tmp_path / "in") == pixels([STUDY])


def test_a_peer_that_takes_no_lists(fetch: Any, tmp_path: Path) -> None:
    peer = Peer(STUDY)
    peer.sends = lambda each, level, wanted: level == "image" and isinstance(wanted, str)
    fetch(peer, expected=Outcome.COMPLETE)
    assert objects_below(tmp_path / "in") == pixels([STUDY])


def test_what_never_comes(fetch: Any, tmp_path: Path) -> None:
    peer = Peer(STUDY)
    lost = min(STUDY.objects(2))
    peer.sends = lambda each, level, wanted: each.SOPInstanceUID != lost
    fetch(peer, expected=Outcome.INCOMPLETE)
    assert objects_below(tmp_path / "in").keys() == STUDY.objects() - {lost}
    # The next run asks for it alone.
    peer.asked.clear()
    peer.sends = lambda each, level, wanted: True
    fetch(peer, expected=Outcome.COMPLETE)
    assert peer.asked == [("image", lost)]


def test_a_peer_that_counts_more_than_it_names(fetch: Any) -> None:
    """Nobody knows what is missing, so it is not complete."""
    peer = Peer(STUDY)
    peer.count_more = 1
    fetch(peer, expected=Outcome.INCOMPLETE)
    # Each series is asked for once more, and not as often as there are attempts.
    assert len(peer.asked) == 6


def test_objects_that_nobody_asked_for(fetch: Any, tmp_path: Path) -> None:
    peer = Peer(STUDY)
    intruder = min(STUDY.objects(1))

    def change(each: Dataset) -> None:
        if each.SOPInstanceUID == intruder:
            each.StudyInstanceUID, each.PatientID = OTHER.uid, OTHER.patient

    peer.changes = change
    events = fetch(peer, expected=Outcome.INCOMPLETE)
    assert {each.values["object"] for each in events if each.kind == "kept_out"} == {intruder}
    assert objects_below(tmp_path / "in").keys() == STUDY.objects() - {intruder}


def test_a_peer_that_passes_over_keys(fetch: Any, tmp_path: Path) -> None:
    """Its whole archive matches; what it says of each tells what is meant."""

    class Careless(Peer):
        def find(self, level: str, keys: Mapping[str, Any]) -> Operation[None]:
            return super().find(level, {**keys, "AccessionNumber": None} if level == "study" else keys)

    peer = Careless(STUDY, Study(3, "P3", "A3"))
    fetch(peer, Row(2, {"AccessionNumber": "A3"}), expected=Outcome.COMPLETE)
    assert objects_below(tmp_path / "in") == pixels([Study(3, "P3", "A3")])

    def hide(level: str, match: Dataset) -> None:
        if level == "study":
            del match.AccessionNumber

    peer.tells = hide
    fetch(peer, Row(2, {"AccessionNumber": "A1"}), expected=Outcome.FAILED)


def test_a_peer_that_finds_other_letters(fetch: Any, tmp_path: Path) -> None:
    class Generous(Peer):
        def find(self, level: str, keys: Mapping[str, Any]) -> Operation[None]:
            return super().find(level, {**keys, "AccessionNumber": None} if level == "study" else keys)

    events = fetch(Generous(STUDY), Row(2, {"AccessionNumber": "a1"}), expected=Outcome.NO_MATCH)
    assert events[-1].values["words"] == "the peer finds 1 study, whose AccessionNumber is another one"


def test_several_patients(fetch: Any, tmp_path: Path) -> None:
    rows = [Row(2, {"AccessionNumber": "A1"})]
    fetch(Peer(STUDY, OTHER), *rows, expected=Outcome.SEVERAL)
    assert objects_below(tmp_path / "in") == {}
    fetch(Peer(STUDY, OTHER), *rows, expected=Outcome.COMPLETE, all_matches=True)
    assert objects_below(tmp_path / "in") == pixels([STUDY, OTHER])


def test_one_number_of_two_patients(fetch: Any) -> None:
    """Two hospitals have given one patient ID: the dates of birth differ."""
    peer = Peer(STUDY, Study(5, "P1", "A1"))

    def tell(level: str, match: Dataset) -> None:
        if match.StudyInstanceUID == STUDY.uid:
            match.PatientBirthDate = "20010101"

    peer.tells = tell
    fetch(peer, Row(2, {"PatientID": "P1"}), expected=Outcome.SEVERAL)


def test_the_wish_for_other_series_is_another_row(fetch: Any, tmp_path: Path) -> None:
    ct = Selection([Condition.parse("Modality=CT")])
    fetch(Peer(STUDY), expected=Outcome.COMPLETE, selection=ct)
    assert objects_below(tmp_path / "in").keys() == STUDY.objects(1, 2)
    peer = Peer(STUDY)
    fetch(peer, expected=Outcome.COMPLETE)
    assert peer.asked == [("series", STUDY.series(3))]


def test_a_full_disk_ends_it(fetch: Any) -> None:
    class Full(Peer):
        def retrieve(self, *arguments: Any) -> Operation[None]:
            error = OSError(28, "no space left on device")
            yield Report(
                RetrieveProgress(0xB000, 0, 0, 3, 0, received=0, local_failures=(LocalFailure("1.2", error),))
            )

    with pytest.raises(OSError, match="no space"):
        fetch(Full(STUDY), expected=[])
