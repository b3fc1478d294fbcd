"""A configuration that is read again while a node runs: what changes, what stays, and that nothing is dropped."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from tests.cli.command import complaint, run
from tests.settings.nodes import Configured, configured
from tests.settings.others import OTHERS
from tests.sockets import make_certificates
from tests.support import serving, stored, wait_until

from dicomnet import AE, Peer
from dicomnet.archive.users import UsersFile
from dicomnet.drivers.tls import client_context
from dicomnet.errors import AssociationRejected, TLSFailed
from dicomnet.pynetdicom.sop_class import CTImageStorage, Verification
from dicomnet.settings.kinds import as_toml
from dicomnet.settings.table import SETTINGS

CT, MR = (str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm"))
READ_AGAIN = "the configuration was read again; changed: "
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def reload(node: Configured, content: str) -> str:
    """Change the file, and wait until the node has read it; what it says changed."""
    count = node.said.count(READ_AGAIN)
    (node.folder / "node.toml").write_text(content)
    node.process.send_signal(signal.SIGHUP)
    node.wait_for(READ_AGAIN, count + 1)
    # Up to the end of the line, or of its message where lines are JSON.
    return node.said.split(READ_AGAIN)[-1].partition("\n")[0].partition('"')[0]


def associate(node: Configured, calling: str = "MODALITY", called: str = "ANY") -> Any:
    ae = AE(calling)
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    return ae.associate(node.host, node.port, ae_title=called)


def is_accepted(node: Configured, calling: str = "MODALITY", called: str = "ANY") -> bool:
    association = associate(node, calling, called)
    if association.is_established:
        association.release()
        return True
    return False


def everywhere(node: Configured, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds many times in a row: for new associations in each of the workers."""
    wait_until(lambda: all(condition() for _ in range(8)), what="it holds in all processes")


@contextmanager
def sending(
    address: str, count: int = 4, *, use: Callable[[Peer], list[int | None]] | None = None, tls: Any = None
) -> Iterator[list[Exception | int | None]]:
    """Peers in threads that open associations all the time, and store or do something else; what became of each."""
    outcomes: list[Exception | int | None] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                with Peer(address, calling="SENDER", tls=tls) as peer:
                    outcomes.extend(
                        use(peer) if use is not None else [each.status for each in peer.store([CT, MR] * 5)]
                    )
            except Exception as error:  # noqa: BLE001
                outcomes.append(error)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _has_more(outcomes: list[Any], count: int) -> bool:
    return len(outcomes) > count


@WORKERS
def test_a_reload_under_load_drops_nothing(tmp_path: Path, workers: int) -> None:
    """Senders whom the rules always let in do not notice what changes beside them."""
    always = f'server.workers = {workers}\n[[access]]\ntitle = "SENDER"\nallow = ["store"]\n'
    more = '[[access]]\ntitle = "OTHER"\nallow = ["echo"]\n'
    with configured(tmp_path, always) as node:
        open_before = associate(node, "SENDER")
        with sending(node.address) as outcomes:
            for number in range(6):
                before = len(outcomes)
                if number % 3 == 2:
                    (tmp_path / "node.toml").write_text(f"{always}broken = 1")
                    node.process.send_signal(signal.SIGHUP)
                    node.wait_for("nothing is changed", number // 3 + 1)
                else:
                    reload(node, [always, always + more][number % 3])
                wait_until(partial(_has_more, outcomes, before + 40), 60, "objects are sent")
        assert set(outcomes) == {0}
        assert open_before.send_c_store(dcmread(CT)).Status == 0
        open_before.release()
        assert node.said.count("broken is not known") == 2
        assert node.end() == 0
    assert len(stored(tmp_path / "dicomnet-data")) == 2


# What may change, without what ends associations or lets fewer of them begin.
HARMLESS = {
    each.name: OTHERS[each.name]
    for each in SETTINGS
    if each.may_change
    and each.section != "tls"
    and not each.name.endswith(("_timeout", ".associations", "_title"))
    # They need a server by TLS, of which there is none.
    and not each.name.startswith("audit.syslog_")
}


@WORKERS
def test_a_reload_of_all_that_may_change_drops_nothing(tmp_path: Path, workers: int) -> None:
    """Of senders, and of those who query and retrieve meanwhile."""
    start = f"server.workers = {workers}\n"
    with UsersFile(tmp_path / "users.toml").changing():
        pass  # nobody is in it
    different = HARMLESS | {"web.users": "users.toml"}
    other = "".join(f"{name} = {as_toml(value)}\n" for name, value in different.items())
    studies = [str(dcmread(path).StudyInstanceUID) for path in (CT, MR)]

    def use(peer: Peer) -> list[int | None]:
        found = [each.StudyInstanceUID for each in peer.find("study")]
        got = [
            list(peer.get("study", StudyInstanceUID=each, to=tmp_path / "got"))[-1].status for each in studies
        ]
        return [each.status for each in peer.store([CT, MR])] + [int(sorted(found) != sorted(studies)), *got]

    with configured(tmp_path, start) as node:
        with Peer(node.address) as peer:
            assert [each.status for each in peer.store([CT, MR])] == [0, 0]
        with sending(node.address, use=use) as outcomes:
            for number in range(4):
                before = len(outcomes)
                changed = reload(node, start + (other if number % 2 == 0 else ""))
                assert set(changed.split(", ")) == set(HARMLESS)
                wait_until(partial(_has_more, outcomes, before + 40), 60, "objects are sent")
        assert set(outcomes) == {0}
        assert node.end() == 0


def test_a_certificate_that_is_renewed_under_load_drops_nothing(tmp_path: Path) -> None:
    """Clients trust the authorities of both."""
    made = [make_certificates(_folder(tmp_path / each)) for each in ("old", "new")]
    content = 'server.workers = 2\ntls.certificate = "node.pem"\ntls.key = "node.key"\n'
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(each.authority.read_bytes() for each in made))
    context = client_context(str(both))
    context.check_hostname = False

    def renew(number: int) -> None:
        _copy(made[number].certificate, tmp_path / "node.pem")
        _copy(made[number].key, tmp_path / "node.key")

    renew(0)
    with configured(tmp_path, content) as node:
        with sending(node.address, tls=context) as outcomes:
            for number in (1, 0, 1):
                before = len(outcomes)
                renew(number)
                reload(node, content)
                wait_until(partial(_has_more, outcomes, before + 40), 60, "objects are sent")
        assert set(outcomes) == {0}
        newer = client_context(str(made[1].authority))
        newer.check_hostname = False

        def has_the_newer_one() -> bool:
            try:
                with Peer(node.address, tls=newer) as peer:
                    peer.echo()
            except TLSFailed:
                return False
            return True

        # One process may be told a moment later than another.
        everywhere(node, has_the_newer_one)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@WORKERS
def test_rules_and_titles_hold_for_new_associations(tmp_path: Path, workers: int) -> None:
    start = f"server.workers = {workers}\n"
    with configured(tmp_path, start) as node:
        before = associate(node)
        changed = reload(node, f'{start}[[access]]\ntitle = "CT1"\nallow = ["echo"]\n')
        assert changed == "access"
        everywhere(node, lambda: not is_accepted(node) and is_accepted(node, "CT1"))
        assert before.send_c_store(dcmread(CT)).Status == 0
        before.release()
        changed = reload(node, f'{start}server.ae_titles = ["X"]\nserver.any_called_title = false')
        assert changed == "server.ae_titles, server.any_called_title, access"
        everywhere(node, lambda: not is_accepted(node) and is_accepted(node, called="X"))


def test_a_worker_that_is_replaced_has_what_was_changed(tmp_path: Path) -> None:
    start = "server.workers = 2\n"
    with configured(tmp_path, start) as node:
        reload(node, f'{start}[[access]]\ntitle = "CT1"\nallow = ["echo"]\n')
        everywhere(node, lambda: not is_accepted(node))
        (supervisor,) = _children(node.process.pid)
        before = _children(supervisor)
        for each in before:
            os.kill(each, signal.SIGKILL)
        wait_until(
            lambda: len(set(_children(supervisor)) - set(before)) == 2, 20, "both workers are replaced"
        )
        everywhere(node, lambda: not is_accepted(node) and is_accepted(node, "CT1"))


def _children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@WORKERS
def test_limits_queries_and_conflicts(tmp_path: Path, workers: int) -> None:
    start = f"server.workers = {workers}\n"
    other = dcmread(CT)
    other.PatientName = "Other"
    other.save_as(tmp_path / "other.dcm")
    with configured(tmp_path, start) as node:
        with Peer(node.address) as peer:
            assert [each.status for each in peer.store([CT, MR])] == [0, 0]
        changed = reload(
            node,
            f'{start}queries.max_matches = 1\nstorage.on_conflict = "refuse"\nlimits.idle_timeout = 0.2',
        )
        assert changed == "storage.on_conflict, limits.idle_timeout, queries.max_matches"

        def is_refused() -> bool:
            with Peer(node.address) as peer:
                return [each.status for each in peer.store(str(tmp_path / "other.dcm"))] == [0x0111]

        everywhere(node, is_refused)
        everywhere(node, lambda: "0xB001" in run("find", node.address).stderr)
        left = associate(node)
        wait_until(lambda: not left.is_established, 10, "the idle association is ended")


def test_what_only_the_next_start_can_change_is_named_and_left(tmp_path: Path) -> None:
    with configured(tmp_path, "") as node:
        changed = reload(
            node, 'server.port = 1\nserver.workers = 2\nstorage.folder = "other"\nserver.drain = 1\n'
        )
        assert "changed at the next start only: storage.folder, server.workers" in node.said
        assert changed == "server.drain"
        assert is_accepted(node)
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[server\n", "node.toml:1: this is not TOML"),
        ("limits.window = 0", "node.toml:1: limits.window: found 0, expected a number from 1 to 65535"),
        ("tls.key = 'k'", "node.toml:1: tls.key: it needs tls.certificate"),
        (None, "node.toml"),
    ],
)
def test_a_bad_file_changes_nothing(tmp_path: Path, content: str | None, why: str) -> None:
    good = '[[access]]\ntitle = "CT1"\nallow = ["echo"]\n'
    with configured(tmp_path, good) as node:
        file = tmp_path / "node.toml"
        file.unlink() if content is None else file.write_text(content)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("nothing is changed")
        assert why in node.said
        assert is_accepted(node, "CT1")
        assert not is_accepted(node, "CT2")
        assert reload(node, 'access = [{title = "CT2", allow = ["echo"]}]') == "access"
        assert is_accepted(node, "CT2")


def test_a_reload_that_would_let_everybody_in_changes_nothing(tmp_path: Path) -> None:
    """A node at a public address went on without the file of users, and whoever reached it could do everything."""
    made = make_certificates(tmp_path)
    with UsersFile(tmp_path / "users.toml").changing():
        pass  # nobody is in it
    tls = f'tls.certificate = "{made.certificate}"\ntls.key = "{made.key}"\nweb.tls = true\n'
    context = client_context(made.authority)
    context.check_hostname = False
    with configured(tmp_path, f'{tls}web.users = "users.toml"\n', "--http", ":0") as node:
        node.wait_for("/dicom-web\n")
        found = re.search(r"DICOMweb: https://0\.0\.0\.0:(\d+)/", node.said)
        assert found is not None
        address = f"https://127.0.0.1:{found[1]}/dicom-web/studies"
        (tmp_path / "node.toml").write_text(tls)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("nothing is changed: other machines can reach 0.0.0.0")
        assert "set web.users and web.tls, or web.allow_public" in node.said
        with pytest.raises(HTTPError, match="401"):
            urlopen(address, timeout=10, context=context)
        assert reload(node, f'{tls}web.users = "users.toml"\nweb.session = "1 h"\n') == "web.session"


@WORKERS
def test_a_renewed_certificate_is_shown_without_a_stop(tmp_path: Path, workers: int) -> None:
    """The files have the same names; the association that is open goes on under the old one."""
    old = make_certificates(tmp_path)
    content = f'server.workers = {workers}\ntls.certificate = "{old.certificate}"\ntls.key = "{old.key}"\n'
    first = client_context(_copy(old.authority, tmp_path / "first.pem"))
    first.check_hostname = False

    with configured(tmp_path, content) as node:

        def is_trusted(context: Any) -> bool:
            with suppress(TLSFailed), Peer(node.address, tls=context) as peer:
                peer.echo()
                return True
            return False

        with Peer(node.address, tls=first) as before:
            before.echo()
            renewed = make_certificates(tmp_path, timedelta(hours=2))
            second = client_context(renewed.authority)
            second.check_hostname = False
            reload(node, content)
            everywhere(node, lambda: is_trusted(second) and not is_trusted(first))
            before.echo()
        # A key that does not fit changes nothing.
        (tmp_path / "odd").mkdir()
        _copy(make_certificates(tmp_path / "odd").key, renewed.key)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("the key is not that of the certificate")
        everywhere(node, lambda: is_trusted(second))


def _copy(source: Path, to: Path) -> Path:
    to.write_bytes(source.read_bytes())
    return to


def test_the_level_of_the_log(tmp_path: Path) -> None:
    with configured(tmp_path, "") as node:
        assert is_accepted(node)
        assert "INFO" not in node.said
        reload(node, 'logging = {level = "info", format = "json"}')
        assert is_accepted(node)
        node.wait_for('"level": "info"')


def test_the_command(tmp_path: Path) -> None:
    with configured(tmp_path, "") as node:
        (tmp_path / "node.toml").write_text('access = [{title = "CT1", allow = ["echo"]}]')
        for where in (["--config", "node.toml"], ["--data", "dicomnet-data"]):
            done = run("reload", *where, cwd=tmp_path)
            assert done.stdout.startswith(f"process {node.process.pid} reads"), done.stderr
        node.wait_for(READ_AGAIN, 2)
        assert not is_accepted(node)
        assert is_accepted(node, "CT1")
        assert node.end() == 0
    for where in (["--config", "node.toml"], ["--data", "dicomnet-data"]):
        assert "no node that was started" in complaint(run("reload", *where, cwd=tmp_path), 1)
    assert "no such file" in complaint(run("reload", "--data", "nowhere", cwd=tmp_path), 1)


def test_a_node_without_a_configuration_is_not_signalled(tmp_path: Path) -> None:
    """SIGHUP would end it."""
    with serving(tmp_path) as node:
        assert "no node that was started" in complaint(run("reload", "--data", node.store), 1)
        assert node.process.poll() is None
        with Peer(node.address) as peer:
            peer.echo()


def test_a_rejected_sender_is_told_why(tmp_path: Path) -> None:
    with configured(tmp_path, 'access = [{title = "CT1", allow = ["echo"]}]') as node:
        with pytest.raises(AssociationRejected, match="calling AE title"), Peer(node.address) as peer:
            peer.echo()
        node.wait_for("calling AE title not recognised")


@WORKERS
def test_rules_of_retention_hold_at_once(tmp_path: Path, workers: int) -> None:
    start = f'server.workers = {workers}\n[deletion]\ninterval = "0.1 s"\nquiet = 0\n'
    with configured(tmp_path, start) as node:
        with Peer(node.address) as peer:
            assert [each.status for each in peer.store([CT, MR])] == [0, 0]
        reload(node, f'{start}[[retention]]\nname = "magnets"\nafter = 0\nmodalities = ["MR"]\n')
        node.wait_for("the retention rule magnets has removed 1 object")
        reload(node, f'{start}[[retention]]\nname = "all"\nafter = 0\n')
        node.wait_for("the retention rule all has removed 1 object")
        assert node.end() == 0
    assert stored(tmp_path / "dicomnet-data") == {}
