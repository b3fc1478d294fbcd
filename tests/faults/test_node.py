"""Faults that a running node has to survive: what it answers, what it keeps, and that it goes on."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from tests.support import (
    PROMPT,
    ServedNode,
    data_set_of,
    dicomnet,
    digest,
    quarantined,
    run_tool,
    serving,
    staged,
    stored,
    tool,
    wait_until,
)

from dicomnet import AE, Peer
from dicomnet.archive.node import Node
from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.messages import C_STORE_RQ
from dicomnet.errors import AssociationError, NetworkError, StoreInUse

from .objects import (
    CT_IMAGE_STORAGE,
    EXPLICIT,
    data_set_bytes,
    file_of,
    study_uid,
    uid,
    write_objects,
)
from .raw import ABORT, answer_to, established, raw_scu

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedNode]:
    """A node for the tests that leave it as it is; that it still answers is checked by each."""
    with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served


def echo(port: int) -> None:
    """C-ECHO is answered at once."""
    begin = monotonic()
    with Peer(f"127.0.0.1:{port}") as peer:
        peer.echo()
    assert monotonic() - begin < PROMPT


def images(port: int, study: int) -> set[str]:
    """What the index has of a study."""
    with Peer(f"127.0.0.1:{port}") as peer:
        found = peer.find(
            "image", StudyInstanceUID=study_uid(study), SeriesInstanceUID=f"{study_uid(study)}.1"
        )
        return {str(match.SOPInstanceUID) for match in found}


def store(port: int, paths: list[Path]) -> list[int | None]:
    """The statuses of a store by `Peer`, without sending anything twice."""
    with Peer(f"127.0.0.1:{port}", retries=0) as peer:
        return [result.status for result in peer.store(paths)]


def resident(process: int, field: str = "VmHWM") -> int:
    """The memory of a process, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# -- the same instance more than once


@pytest.mark.parametrize("length", [1_000, 3_000_000])
def test_same_instance_16_times_at_once(shared: ServedNode, tmp_path: Path, length: int) -> None:
    """X16 S004: All are answered Success, and there is one copy."""
    study = 100 + length % 7
    paths = write_objects(tmp_path, study, 1, length)
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda _: store(shared.port, paths), range(16)))
    assert statuses == [[0]] * 16
    assert images(shared.port, study) == {uid(study, 1)}
    assert stored(shared.store)[uid(study, 1)] == digest(data_set_of(paths[0]))
    assert not [name for name, _ in quarantined(shared.store) if name == uid(study, 1)]


@pytest.mark.parametrize("studies", [1, 16])
def test_other_bytes_under_one_uid_16_times_at_once(shared: ServedNode, tmp_path: Path, studies: int) -> None:
    """X17 S004: One is kept, the others are answered with a warning and in quarantine, also of another study."""
    instance = uid(120 + studies, 1)
    paths = []
    for number in range(16):
        path = tmp_path / f"{number}.dcm"
        study = study_uid(130 * studies + number % studies)
        path.write_bytes(
            file_of(
                120 + studies,
                1,
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
                InstanceNumber=str(number),
            )
        )
        paths.append(path)
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda path: store(shared.port, [path])[0], paths))
    assert Counter(statuses) == {0x0000: 1, 0xB000: 15}
    kept = digest(data_set_of(paths[statuses.index(0)]))
    assert stored(shared.store)[instance] == kept
    assert len(list((shared.store / "objects").rglob(f"{instance}.dcm"))) == 1
    apart = {value for name, value in quarantined(shared.store) if name == instance}
    assert apart == {digest(data_set_of(path)) for path in paths} - {kept}
    # Afterwards, one by one, the answers are the same.
    assert [store(shared.port, [path])[0] for path in paths] == statuses
    assert stored(shared.store)[instance] == kept
    with Peer(shared.address) as peer:
        found = [
            match.NumberOfStudyRelatedInstances for match in peer.find("study", PatientID=f"P{120 + studies}")
        ]
    assert found == [1]


# -- objects that are no objects


def _nested(depth: int) -> bytes:
    """Sequences in sequences, of 16 bytes each, at the end of an object."""
    sequence = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return sequence * depth


def _bomb(inflated: int) -> bytes:
    """A deflated data set that is only zeros, after what identifies it."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, inflated)
    parts = [deflate.compress(head)]
    zeros = bytes(1 << 20)
    parts += [deflate.compress(zeros) for _ in range(inflated >> 20)]
    return b"".join([*parts, deflate.flush()])


def _with_uid(data: bytes, old: str, new: str) -> bytes:
    """Put another text of the same length in the place of a UID."""
    assert len(old) == len(new)
    assert data.count(old.encode()) == 1
    return data.replace(old.encode(), new.encode())


def test_20000_nested_sequences(shared: ServedNode, tmp_path: Path) -> None:
    data = data_set_bytes(200, 1, tmp_path) + _nested(20_000)
    assert len(data) > 320_000
    with raw_scu(shared.port) as scu:
        begin = monotonic()
        assert scu.store(data, uid(200, 1)).status == 0xC000
        assert monotonic() - begin < PROMPT
        # The association has not suffered.
        assert scu.store(data_set_bytes(200, 2, tmp_path), uid(200, 2)).status == 0x0000
    assert images(shared.port, 200) == {uid(200, 2)}
    echo(shared.port)


@pytest.mark.parametrize(
    "instance",
    ["../../../../etc/passwd", "..", ".", "1.2/../3", "/etc/cron.d/x", "1.2\\3", "1..2", "", "1.2\0.3"],
)
def test_uids_that_are_paths(shared: ServedNode, tmp_path: Path, instance: str) -> None:
    """No peer's text becomes a path: such UIDs are refused in the command, and in the data set."""
    before = {path for path in shared.store.parent.rglob("*") if "index.sqlite" not in path.name}
    good = data_set_bytes(210, 1, tmp_path)
    with raw_scu(shared.port) as scu:
        if "\\" not in instance and "\0" not in instance and instance:
            assert scu.store(good, instance).status in (0x0117, 0xA900)
        for old in (study_uid(210) + ".1", uid(210, 1)):
            hidden = instance.replace("\0", "x").ljust(len(old), "/")[: len(old)]
            assert scu.store(_with_uid(good, old, hidden), uid(210, 1)).status == 0xA900
        study = study_uid(210).encode() + b"\0"
        hidden = instance.replace("\0", "x").ljust(len(study), "/")[: len(study)]
        assert scu.store(good.replace(study, hidden.encode()), uid(210, 1)).status in (0x0000, 0xA900)
    after = {path for path in shared.store.parent.rglob("*") if "index.sqlite" not in path.name}
    assert all(path.is_relative_to(shared.store / "objects") for path in after - before)
    echo(shared.port)


def test_objects_that_do_not_match_their_command(shared: ServedNode, tmp_path: Path) -> None:
    """S002 S006."""
    mr_image_storage = "1.2.840.10008.5.1.4.1.1.4"
    data = data_set_bytes(220, 1, tmp_path)
    with raw_scu(shared.port) as scu:
        assert scu.store(data, uid(220, 2)).status == 0xA900
        assert scu.store(b"", uid(220, 1)).status in (0xA900, 0xC000)
        assert scu.store(data[:-1], uid(220, 1)).status == 0xC000
        assert scu.store(data + b"\1" * 7, uid(220, 1)).status == 0xC000
        assert scu.store(bytes(4096), uid(220, 1)).status == 0xC000
        # An element that announces 4 GiB.
        huge = struct.pack("<HH2sHL", 0x7FE1, 0x0010, b"OB", 0, 0xFFFFFFFE)
        assert scu.store(data + huge + bytes(64), uid(220, 1)).status == 0xC000
    with raw_scu(shared.port, sop_class=mr_image_storage) as scu:
        assert scu.store(data, uid(220, 1), mr_image_storage).status == 0xA900
        # The class of the command is not that of the context.
        assert scu.store(data, uid(220, 1)).status in (0x0122, 0xA900)
    with raw_scu(shared.port, IMPLICIT) as scu:
        assert scu.store(data, uid(220, 1)).status in (0xA900, 0xC000)
    assert images(shared.port, 220) == set()
    assert not staged(shared.store)
    echo(shared.port)


@pytest.mark.parametrize(
    "syntax", [EXPLICIT, IMPLICIT, DEFLATED, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50"]
)
def test_large_objects_that_are_damaged(shared: ServedNode, tmp_path: Path, syntax: str) -> None:
    """What is refused after it was written to a file is refused as it would be in memory."""
    data = file_of(240, 1, 1 << 20)[132:]
    with raw_scu(shared.port, syntax) as scu:
        for damaged in (data[:-20], data[:-1] + b"\xff" * 400_000, bytes(1 << 20), b"\xff" * (1 << 20)):
            assert scu.store(damaged, uid(240, 1)).status in (0xA900, 0xC000)
    assert images(shared.port, 240) == set()
    assert not staged(shared.store)
    echo(shared.port)


def test_deflate_bomb(shared: ServedNode) -> None:
    """Half a megabyte that would be 512 MiB costs the node less than 64 MiB."""
    bomb = _bomb(512 << 20)
    assert len(bomb) < 1 << 20
    echo(shared.port)
    before = resident(shared.process.pid)
    with raw_scu(shared.port, DEFLATED) as scu:
        assert scu.store(bomb, uid(230, 1)).status == 0xC000
        assert scu.store(bomb[: len(bomb) // 2], uid(230, 1)).status == 0xC000
    assert resident(shared.process.pid) - before < 64 << 20
    echo(shared.port)


@pytest.mark.parametrize("kind", range(8))
def test_pdu_of_4_gib_before_an_association(shared: ServedNode, kind: int) -> None:
    """X13: Refused from its first bytes."""
    before = resident(shared.process.pid)
    begin = monotonic()
    answer = answer_to(shared.port, struct.pack(">BxL", kind, 0xFFFFFFFF) + bytes(1000))
    assert monotonic() - begin < PROMPT
    assert answer == ABORT + bytes(4)
    assert resident(shared.process.pid) - before < 1 << 20
    echo(shared.port)


def test_pdu_of_4_gib_in_an_association(shared: ServedNode) -> None:
    before = resident(shared.process.pid)
    with established(shared.port) as sock:
        begin = monotonic()
        sock.sendall(struct.pack(">BxLLBB", 4, 0xFFFFFFFF, 0xFFFFFFFB, 1, 0))
        answer = sock.recv(64)
        assert monotonic() - begin < PROMPT
    # Of the service provider, with a reason.
    assert answer[:-1] == ABORT + bytes((0, 0, 2))
    assert resident(shared.process.pid) - before < 1 << 20
    echo(shared.port)


# -- the disk


def test_disk_full(tmp_path: Path) -> None:
    """X03 S002: A700 while there is no space, for queries nothing changes, and when there is space all is well."""
    small = write_objects(tmp_path / "small", 300, 20)
    large = write_objects(tmp_path / "large", 301, 2, 3 << 20)
    with serving(tmp_path) as node:

        def limit(length: int) -> None:
            _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (length, hard))

        assert store(node.port, small[:5]) == [0] * 5
        limit(1 << 20)
        with Peer(node.address, retries=0) as peer:
            results = list(peer.store([large[0], *small[5:10], large[1]]))
            assert [result.status for result in results] == [0xA700, *[0] * 5, 0xA700]
            assert all(result.comment for result in results if result.status)
        assert not staged(node.store)
        # What waits to be filed would have to wait on.
        assert images(node.port, 300) == {uid(300, instance) for instance in range(1, 11)}
        # No file can grow at all: neither objects nor the index.
        limit(0)
        assert store(node.port, small[10:15]) == [0xA700] * 5
        assert images(node.port, 300) == {uid(300, instance) for instance in range(1, 11)}
        assert not staged(node.store)
        # Objects can be written, but the index cannot.
        limit(4096)
        assert set(store(node.port, small[10:15])) <= {0xA700, 0}
        echo(node.port)
        limit(resource.RLIM_INFINITY)
        assert store(node.port, small + large) == [0] * 22
        assert images(node.port, 300) == {uid(300, instance) for instance in range(1, 21)}
        assert images(node.port, 301) == {uid(301, 1), uid(301, 2)}
        assert not staged(node.store)
    sent = {uid(300, int(path.stem)): digest(data_set_of(path)) for path in small}
    sent |= {uid(301, int(path.stem)): digest(data_set_of(path)) for path in large}
    assert stored(node.store) == sent
    assert not quarantined(node.store)


def test_no_descriptors_left(tmp_path: Path) -> None:
    """X04: Connections are refused and objects answered with A700; the accept loop does not spin, and it goes on."""
    large = write_objects(tmp_path / "large", 310, 12, 100_000)
    (small,) = write_objects(tmp_path / "small", 310, 1, first=13)
    with serving(tmp_path) as node, raw_scu(node.port) as scu:
        assert scu.store(data_set_of(large[0]), uid(310, 1)).status == 0x0000
        sockets = _sockets(node.process.pid)
        assert images(node.port, 310) == {uid(310, 1)}
        wait_until(lambda: _sockets(node.process.pid) == sockets, 10, "the query's connection is closed")
        soft, hard = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
        # No number is free below the limit, but for the one that the server has in reserve.
        used = {int(path.name) for path in Path(f"/proc/{node.process.pid}/fd").iterdir()}
        free = min(set(range(len(used) + 1)) - used)
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (free, hard))
        assert scu.store(data_set_of(large[1]), uid(310, 2)).status == 0xA700
        # The journal is open, so this one is safe, though it cannot have its file yet.
        assert scu.store(data_set_of(small), uid(310, 13)).status == 0x0000
        begin = _cpu_seconds(node.process.pid)
        for _ in range(5):
            with pytest.raises((AssociationError, NetworkError)), Peer(node.address) as peer:
                peer.echo()
        assert _cpu_seconds(node.process.pid) - begin < 0.5
        resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert scu.store(data_set_of(large[1]), uid(310, 2)).status == 0x0000
        wait_until(lambda: uid(310, 13) in images(node.port, 310), 10, "it is filed")
        assert store(node.port, [*large, small]) == [0] * 13
        assert len(images(node.port, 310)) == 13
        echo(node.port)


def _sockets(process: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        # It may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return {name for name in found if name.startswith("socket:")}


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# -- starts and stops


def test_two_nodes_on_one_store(tmp_path: Path) -> None:
    """X28: The second refuses to start, and the first does not notice."""
    with serving(tmp_path) as node:
        done = run_tool(dicomnet("serve", "--data", node.store, "--port", "0"))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert str(node.store) in done.stderr
        with pytest.raises(StoreInUse):
            Node(node.store, address=("127.0.0.1", 0))
        assert store(node.port, write_objects(tmp_path / "objects", 320, 1)) == [0]


@pytest.mark.parametrize("sender", ["Peer", "DCMTK"])
def test_sigterm_during_a_store(tmp_path: Path, sender: str) -> None:
    """X22: The open association comes to its end, the exit status is 0, and the next start is clean."""
    paths = write_objects(tmp_path / "objects", 330, 400)
    statuses: list[int | None] = []
    by_dcmtk: list[subprocess.CompletedProcess[str]] = []

    def send(port: int) -> None:
        if sender == "Peer":
            with Peer(f"127.0.0.1:{port}", retries=0) as peer:
                statuses.extend(result.status for result in peer.store(paths))
        else:
            by_dcmtk.append(
                run_tool([tool("storescu"), "-v", "-R", "127.0.0.1", str(port), *map(str, paths)])
            )

    with serving(tmp_path, "--drain", "30") as node:
        thread = threading.Thread(target=send, args=(node.port,))
        thread.start()
        wait_until(lambda: any((node.store / "objects").rglob("*.dcm")))
        node.process.send_signal(signal.SIGTERM)
        thread.join(40)
        assert not thread.is_alive()
        assert node.process.wait(10) == 0
    if sender == "Peer":
        assert statuses == [0] * 400
    else:
        assert by_dcmtk[0].returncode == 0
        assert (by_dcmtk[0].stdout + by_dcmtk[0].stderr).count("Store Response (Success)") == 400
    assert len(stored(node.store)) == 400
    with serving(tmp_path, "-v") as node:
        assert len(images(node.port, 330)) == 400
        assert "cleanly" not in (tmp_path / "output.txt").read_text()


def test_sigterm_and_an_idle_association(tmp_path: Path) -> None:
    """When the time is over, what is still open is aborted."""
    with serving(tmp_path, "--drain", "0.5") as node:
        ae = AE()
        ae.add_requested_context("1.2.840.10008.1.1")
        assoc = ae.associate("127.0.0.1", node.port)
        assert assoc.is_established
        node.process.send_signal(signal.SIGTERM)
        begin = monotonic()
        assert node.process.wait(10) == 0
        assert 0.4 < monotonic() - begin < PROMPT
        wait_until(lambda: not assoc.is_alive(), 5)
        assert assoc.is_aborted


def test_start_after_kill_is_reported(tmp_path: Path) -> None:
    """Killed with an index that is lost, it has all objects in the index again."""
    paths = write_objects(tmp_path / "objects", 340, 30)
    with serving(tmp_path) as node:
        assert store(node.port, paths) == [0] * 30
        node.process.kill()
        node.process.wait()
        for path in node.store.glob("index.sqlite*"):
            path.unlink()
    with serving(tmp_path, "-v") as node:
        assert images(node.port, 340) == {uid(340, instance) for instance in range(1, 31)}
        assert "30 acknowledged objects filed now" in (tmp_path / "output.txt").read_text()


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::"])
def test_public_address_is_refused(tmp_path: Path, address: str) -> None:
    """Without access control, only those on this machine may reach it unless one says otherwise."""
    done = run_tool(dicomnet("serve", "--data", tmp_path / "store", "--port", "0", "--bind", address))
    assert done.returncode == 2
    assert "--allow-public" in done.stderr
    assert not (tmp_path / "store").exists()


def test_port_in_use(tmp_path: Path, shared: ServedNode) -> None:
    done = run_tool(dicomnet("serve", "--data", tmp_path / "store", "--port", str(shared.port)))
    assert done.returncode == 1
    assert str(shared.port) in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- peers that vanish


@pytest.mark.parametrize("end", ["abort", "reset", "close"])
def test_peer_that_vanishes_during_a_store(tmp_path: Path, end: str) -> None:
    """X08 X09: Nothing of it is left, and descriptors are free again."""
    with serving(tmp_path) as node:
        echo(node.port)
        before = _descriptors(node)
        for _ in range(5):
            _send_half(node.port, end)
        wait_until(lambda: not staged(node.store), 10)
        wait_until(lambda: _descriptors(node) <= before, 10)
        assert stored(node.store) == {}
        echo(node.port)


def _descriptors(node: ServedNode) -> int:
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def _send_half(port: int, end: str) -> None:
    command = bytes(
        encode_command(
            C_STORE_RQ,
            {
                "AffectedSOPClassUID": CT_IMAGE_STORAGE,
                "MessageID": 1,
                "Priority": 0,
                "AffectedSOPInstanceUID": uid(350, 1),
            },
            True,
        )
    )
    with established(port) as sock:
        sock.sendall(struct.pack(">BxLLBB", 4, len(command) + 6, len(command) + 2, 1, 3) + command)
        part = bytes(100_000)
        for _ in range(10):
            sock.sendall(struct.pack(">BxLLBB", 4, len(part) + 6, len(part) + 2, 1, 0) + part)
        if end == "abort":
            sock.sendall(ABORT + bytes(4))
        elif end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
