"""`dicomnet fetch`: lists against DCMTK's archive and our node, by C-GET and by C-MOVE."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import TEST_FILES
from tests.fetching.corpus import Study, fill, make_object, objects_below, pixels, write_studies
from tests.interop.peers import dcmqrscp
from tests.support import data_set_of, dicomnet, digest, digests_below, free_port, serving

STUDIES = [Study(number, f"P{number // 2}", f"A{number // 3}") for number in range(1, 31)]


@dataclass(frozen=True, slots=True)
class Archive:
    """A peer with `STUDIES`, and the port where it takes HERE to be."""

    address: str
    here: int
    # Its objects as they were sent to it; our node gives them out byte for byte, DCMTK's archive encodes them anew.
    files: Path
    is_exact: bool

    @property
    def ways(self) -> dict[str, Sequence[str]]:
        """The options of C-GET and C-MOVE."""
        return {"get": (), "move": ("--move", "HERE", "--receive-port", str(self.here))}


@contextmanager
def dcmtk(folder: Path, here: int) -> Iterator[str]:
    with dcmqrscp(folder, {"HERE": here}) as port:
        yield f"NODE@127.0.0.1:{port}"


@contextmanager
def our_node(folder: Path, here: int, more: str = "") -> Iterator[str]:
    folder.mkdir()
    (folder / "node.toml").write_text(
        f'[remotes.here]\nae_title = "HERE"\nhost = "127.0.0.1"\nport = {here}\n{more}'
    )
    with serving(folder, "--config", "node.toml") as node:
        yield node.address


PEERS: dict[str, Callable[[Path, int], AbstractContextManager[str]]] = {"dcmqrscp": dcmtk, "node": our_node}


@pytest.fixture(scope="module", params=PEERS)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("archive")
    write_studies(folder / "files", STUDIES)
    here = free_port()
    with PEERS[request.param](folder / "peer", here) as address:
        fill(address, folder / "files")
        yield Archive(address, here, folder / "files", request.param == "node")


@pytest.mark.parametrize("way", ["move", "auto", "get"])
def test_a_remote_says_how_it_is_retrieved(archive: Archive, way: str, tmp_path: Path) -> None:
    """Both peers take C-GET, so that is what `auto` comes to; and --get wins over it."""
    address, _, port = archive.address.rpartition(":")
    (tmp_path / "c.toml").write_text(
        f'[remotes.pacs]\nhost = "127.0.0.1"\nport = {port}\nae_title = "{address.partition("@")[0]}"\n'
        f'retrieve = "{way}"\ndestination = "HERE"\nreceiver = "127.0.0.1:{archive.here}"\n'
    )
    study = STUDIES[3]
    key = ("-k", f"StudyInstanceUID={study.uid}", "--config", tmp_path / "c.toml", "-d")
    done = run("fetch", "pacs", *key, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    assert objects_below(tmp_path / "to").keys() == set(study.objects())
    assert ("C-MOVE-RQ" in done.stderr) is (way == "move")
    done = run("fetch", "pacs", *key, "--get", "--to", tmp_path / "got")
    assert objects_below(tmp_path / "got").keys() == set(study.objects())
    assert "C-GET-RQ" in done.stderr


def report(folder: Path) -> dict[int, str]:
    """The outcome of each line."""
    with (folder / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return {int(row["line"]): row["outcome"] for row in csv.DictReader(file)}


def mixed_list(seed: int) -> tuple[str, dict[int, str], list[Study]]:
    """A list of 300 rows of all kinds; what is to become of each line, and the studies that are to be there."""
    choice = random.Random(seed)
    lines, outcomes = ["Accession Number;mrn;Study UID"], dict[int, str]()
    wanted: dict[str, Study] = {}
    seen: set[str] = set()
    for _ in range(300):
        study = choice.choice(STUDIES)
        of_accession = {each.patient for each in STUDIES if each.accession == study.accession}
        text, outcome, meant = choice.choice(
            [
                (f";{study.patient};{study.uid}", "complete", [study]),
                (f"{study.accession};{study.patient};{study.uid}", "complete", [study]),
                (
                    f"{study.accession};{study.patient};",
                    "complete",
                    [s for s in STUDIES if (s.accession, s.patient) == (study.accession, study.patient)],
                ),
                (f";NOBODY;{study.uid}", "no match", []),
                (f"{study.accession}X;;", "no match", []),
                (
                    f"{study.accession};;",
                    "several matches" if len(of_accession) > 1 else "complete",
                    [] if len(of_accession) > 1 else [s for s in STUDIES if s.accession == study.accession],
                ),
                (f";{study.patient};", "invalid", []),
                (f"{study.accession[:1]}*;;", "invalid", []),
                (f";{study.patient};{study.uid}x", "invalid", []),
                (f"{study.accession}", "invalid", []),
            ]
        )
        lines.append(text)
        outcomes[len(lines)] = "duplicate" if text in seen and outcome != "invalid" else outcome
        seen.add(text)
        wanted |= {each.uid: each for each in meant}
    return "\r\n".join(lines) + "\r\n", outcomes, list(wanted.values())


@pytest.mark.parametrize("way", ["get", "move"])
def test_a_list_of_300_rows(archive: Archive, way: str, tmp_path: Path) -> None:
    text, outcomes, wanted = mixed_list(7)
    assert set(outcomes.values()) == {"complete", "no match", "several matches", "invalid", "duplicate"}
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig", newline="")
    command = ("fetch", archive.address, "--list", tmp_path / "list.csv", "--to", tmp_path / "in")
    first = run(*command, *archive.ways[way])
    assert first.returncode == 1, first.stderr
    assert report(tmp_path / "in") == outcomes
    assert objects_below(tmp_path / "in") == pixels(wanted)
    if archive.is_exact:
        digests = {path.name: value for path, value in digests_below(archive.files).items()}
        found = {path.name: digest(data_set_of(path)) for path in (tmp_path / "in").rglob("*.dcm")}
        assert found == {name: digests[name] for name in found}
    # Nothing is retrieved again.
    again = run(*command, *archive.ways[way])
    assert again.returncode == 1
    events = [json.loads(line)["event"] for line in again.stdout.splitlines()]
    assert set(events) == {"row", "end"}
    assert report(tmp_path / "in") == outcomes


def test_a_second_list_retrieves_what_is_new(archive: Archive, tmp_path: Path) -> None:
    one, other = STUDIES[0], STUDIES[1]
    for number, uids in enumerate(([one.uid], [one.uid, other.uid])):
        (tmp_path / "list.tsv").write_text(
            "\n".join(["StudyInstanceUID\tPatientID", *(f"{u}\t" for u in uids)])
        )
        done = run("fetch", archive.address, "--list", tmp_path / "list.tsv", "--to", tmp_path / "in")
        assert (done.returncode, done.stderr) == (0, "")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        objects = {each["object"] for each in events if each["event"] == "object"}
        assert objects == (one, other)[number].objects()
    assert objects_below(tmp_path / "in") == pixels([one, other])


def test_lines_of_json_from_another_program(archive: Archive, tmp_path: Path) -> None:
    """What `dicomnet find` says is a list, of which some columns are passed over."""
    found = run(
        "find", archive.address, "-k", "AccessionNumber=A1", "--fields", "StudyInstanceUID,AccessionNumber"
    )
    columns = ("--column", "AccessionNumber=")
    command = dicomnet("fetch", archive.address, "--list", "-", "--to", tmp_path, *columns)
    done = subprocess.run(
        command, input=found.stdout, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert objects_below(tmp_path) == pixels([each for each in STUDIES if each.accession == "A1"])


def test_other_words_for_the_same_study_retrieve_nothing(archive: Archive, tmp_path: Path) -> None:
    study = STUDIES[4]
    for keys in (
        [f"StudyInstanceUID={study.uid}"],
        [f"StudyInstanceUID={study.uid}", "PatientID=" + study.patient],
    ):
        options = [word for key in keys for word in ("-k", key)]
        done = run("fetch", archive.address, *options, "--to", tmp_path, "--layout", "{SOPInstanceUID}.dcm")
        assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["objects"] == 0
    assert len(list(tmp_path.glob("*.dcm"))) == 6


def test_series_that_are_wanted(archive: Archive, tmp_path: Path) -> None:
    study = STUDIES[2]
    ways: list[tuple[list[str], set[str]]] = [
        (["--series", "Modality=CT"], study.objects(1, 2)),
        (["--series", "Modality=CT", "--min-images", "3"], study.objects(1)),
        (["--exclude", "Modality=CT"], study.objects(3)),
        (["-k", f"SeriesInstanceUID={study.series(2)}"], study.objects(2)),
        (["-k", "Modality=MR"], study.objects(3)),
        (
            ["-k", f"SeriesInstanceUID={study.series(1)}", "-k", f"SOPInstanceUID={min(study.objects(1))}"],
            {min(study.objects(1))},
        ),
    ]
    for number, (options, objects) in enumerate(ways):
        folder = tmp_path / str(number)
        done = run("fetch", archive.address, "-k", f"StudyInstanceUID={study.uid}", "--to", folder, *options)
        assert (done.returncode, done.stderr) == (0, ""), options
        assert objects_below(folder).keys() == objects, options


def test_no_series_is_wanted(archive: Archive, tmp_path: Path) -> None:
    options = ["-k", f"StudyInstanceUID={STUDIES[2].uid}", "--series", "Modality=SR"]
    done = run("fetch", archive.address, *options, "--to", tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == {"no series": 1}


def test_all_matches_and_wild_cards(archive: Archive, tmp_path: Path) -> None:
    options = ["-k", "AccessionNumber=A1", "--to", str(tmp_path / "a"), "--all-matches"]
    assert run("fetch", archive.address, *options).returncode == 0
    assert objects_below(tmp_path / "a") == pixels([each for each in STUDIES if each.accession == "A1"])
    options = ["-k", "PatientID=P1?", "--to", str(tmp_path / "b"), "--wildcards"]
    assert run("fetch", archive.address, *options).returncode == 1
    assert run("fetch", archive.address, *options, "--all-matches").returncode == 0
    wanted = [each for each in STUDIES if each.patient.startswith("P1") and len(each.patient) == 3]
    assert objects_below(tmp_path / "b") == pixels(wanted)


def test_what_the_peer_has_got_since(tmp_path: Path) -> None:
    study = STUDIES[5]
    write_studies(tmp_path / "files", [study])
    late = tmp_path / "late" / f"{min(study.objects(1))}.dcm"
    late.parent.mkdir()
    shutil.move(tmp_path / "files" / late.name, late)
    with serving(tmp_path / "peer") as node:
        fill(node.address, tmp_path / "files")
        command = ("fetch", node.address, "-k", f"StudyInstanceUID={study.uid}", "--to", tmp_path / "in")
        assert run(*command).returncode == 0
        fill(node.address, late.parent)
        assert run(*command).returncode == 0
        assert late.stem not in objects_below(tmp_path / "in")
        assert run(*command, "--recheck").returncode == 0
        assert objects_below(tmp_path / "in") == pixels([study])
        # One that was removed is retrieved again.
        for path in (tmp_path / "in").rglob(late.name):
            path.unlink()
        assert run(*command).returncode == 0
        assert objects_below(tmp_path / "in") == pixels([study])


def test_compressed_objects_come_as_they_are(tmp_path: Path) -> None:
    """And what is no image comes, too."""
    names = ("MR_small_jp2klossless.dcm", "SC_rgb_rle.dcm", "examples_ybr_color.dcm", "test-SR.dcm")
    with serving(tmp_path / "peer") as node:
        for name in names:
            fill(node.address, TEST_FILES / name)
            study, to = str(dcmread(TEST_FILES / name).StudyInstanceUID), tmp_path / name
            options = (
                "-k",
                f"StudyInstanceUID={study}",
                "--to",
                to,
                "--layout",
                "{Modality}/{SOPInstanceUID}.dcm",
            )
            done = run("fetch", node.address, *options)
            assert (done.returncode, done.stderr) == (0, "")
            (path,) = to.rglob("*.dcm")
            assert data_set_of(path) == data_set_of(TEST_FILES / name)


def test_ctrl_c(archive: Archive, tmp_path: Path) -> None:
    """The report is written, and the next run goes on."""
    (tmp_path / "list.csv").write_text("StudyInstanceUID\n" + "".join(f"{each.uid}\n" for each in STUDIES))
    command = ("fetch", archive.address, "--list", tmp_path / "list.csv", "--to", tmp_path / "in")
    with subprocess.Popen(dicomnet(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b'"row"' not in process.stdout.readline():
            continue
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaints.decode().splitlines()[-1] == "dicomnet fetch: interrupted"
    before = report(tmp_path / "in")
    assert {*before.values()} == {"complete", "not asked"}
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert {*report(tmp_path / "in").values()} == {"complete"}
    assert objects_below(tmp_path / "in") == pixels(STUDIES)


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_on_a_terminal(archive: Archive, tmp_path: Path, rich: bool) -> None:
    (tmp_path / "list.csv").write_text(f"StudyInstanceUID\n{STUDIES[0].uid}\n1.2.3\n")
    options = ("--list", tmp_path / "list.csv", "--to", tmp_path / "in")
    screen = run_on_terminal("fetch", archive.address, *options, rich=rich)
    assert screen.returncode == 1
    assert "line 3: StudyInstanceUID=1.2.3: no match" in screen.text
    assert "2 rows: 1 complete, 1 no match; retrieved 6 objects" in screen.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "either --list FILE or -k"),
        (("--list", "list.csv", "-k", "PatientID=1"), "either --list FILE or -k"),
        (("-k", "PatientID=*"), "wild card"),
        (("-k", "PatientID"), "empty"),
        (("-k", "Rows=1"), "Rows"),
        (("--list", "list.csv"), "'note'"),
        (("--list", "list.csv", "--column", "note"), "HEADING=KEYWORD"),
        (("-k", "PatientID=1", "--layout", "../{PatientID}"), "--layout"),
        (("-k", "PatientID=1", "--series", "PatientID=1"), "not an attribute of series"),
        (("-k", "PatientID=1", "--move", "HERE", "--bind", "0.0.0.0"), "--allow-public"),
    ],
)
def test_usage(options: Sequence[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("PatientID,note\n1,x\n")
    result = run("fetch", "127.0.0.1:1", "--to", "in", *options, cwd=tmp_path)
    assert words in complaint(result, 2)
    assert not (tmp_path / "in").exists()


def test_nobody_answers(tmp_path: Path) -> None:
    """The report is there, too, and says that nothing was asked."""
    result = run("fetch", f"127.0.0.1:{free_port()}", "-k", "PatientID=1", "--to", tmp_path)
    assert result.returncode == 1
    assert "cannot connect" in result.stderr
    assert report(tmp_path) == {0: "not asked"}


@pytest.mark.parametrize("way", ["get", "move"])
def test_one_association_at_a_time(way: str, tmp_path: Path) -> None:
    """A peer that takes one, and no more, is never asked for a second."""
    write_studies(tmp_path / "files", STUDIES[:4])
    here = free_port()
    (tmp_path / "list.csv").write_text("AccessionNumber\nA1\n")
    with our_node(tmp_path / "peer", here, "[limits]\nassociations = 1\n") as address:
        fill(address, tmp_path / "files")
        options = ["--move", "HERE", "--receive-port", str(here)] if way == "move" else []
        where = (
            "--list",
            str(tmp_path / "list.csv"),
            "--to",
            str(tmp_path / "in"),
            "--all-matches",
            *options,
        )
        done = run("fetch", address, *where)
        assert (done.returncode, done.stderr) == (0, "")
    assert '"pause"' not in done.stdout
    assert objects_below(tmp_path / "in") == pixels([each for each in STUDIES[:4] if each.accession == "A1"])


def test_names_in_the_latin_1_of_a_spreadsheet(tmp_path: Path) -> None:
    """The list is in another character set than the object, and the query in a third."""
    study, other = STUDIES[:2]
    for each, name in ((study, "Müller^Jürgen"), (other, "Müller^Jörg")):
        for uid in each.objects(1):
            found = make_object(each, uid)
            found.SpecificCharacterSet, found.PatientName = "ISO_IR 100", name
            (tmp_path / "files").mkdir(exist_ok=True)
            found.save_as(tmp_path / "files" / f"{uid}.dcm", enforce_file_format=True)
    (tmp_path / "list.csv").write_bytes(
        "Patient's Name;Study date\r\nMÜLLER^Jürgen;2026-01-02\r\n".encode("cp1252")
    )
    with serving(tmp_path / "peer") as node:
        fill(node.address, tmp_path / "files")
        where = (
            "--list",
            tmp_path / "list.csv",
            "--to",
            tmp_path / "in",
            "--layout",
            "{PatientName}/{SOPInstanceUID}",
        )
        done = run("fetch", node.address, *where)
    assert done.returncode == 0, done.stderr + done.stdout
    names = sorted(
        path.relative_to(tmp_path / "in").as_posix() for path in (tmp_path / "in" / "Müller^Jürgen").iterdir()
    )
    assert names == [f"Müller^Jürgen/{uid}" for uid in sorted(study.objects(1))]
