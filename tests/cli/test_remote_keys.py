"""What each key of a remote does to those who call it: the command, and `Peer` by name in both faces."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pynetdicom import AE, evt
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, StartPeer
from tests.cli.test_remotes import server_context
from tests.sockets import make_certificates
from tests.support import dicomnet, run_tool

from dicomnet import Peer, aio
from dicomnet.pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from dicomnet.settings.entries import FOR_CALLERS
from dicomnet.settings.mistakes import Mistakes


@dataclass
class Foreign:
    """A pynetdicom SCP, and what it was told."""

    port: int = 0
    titles: list[str] = field(default_factory=list)
    users: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(default_factory=list)
    queries: list[Any] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)

    def associated(self, event: Any) -> None:
        requestor = event.assoc.requestor
        self.titles.append(requestor.primitive.calling_ae_title)
        self.lengths.append(requestor.maximum_length)
        self.windows.append(requestor.asynchronous_operations)

    def user(self, event: Any) -> tuple[bool, None]:
        self.users.append((event.user_id_type, event.primary_field, event.secondary_field))
        return event.secondary_field in (b"sesame", b""), None

    def find(self, event: Any) -> Iterator[Any]:
        self.queries.append(event.identifier)
        yield 0x0000, None

    def store(self, event: Any) -> int:
        self.stored.append(monotonic())
        return 0x0000


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    found = Foreign()
    ae = AE("FOREIGN")
    for each in (Verification, CTImageStorage, StudyRootQueryRetrieveInformationModelFind):
        ae.add_supported_context(each)
    handlers: Any = [
        (evt.EVT_REQUESTED, found.associated),
        (evt.EVT_USER_ID, found.user),
        (evt.EVT_C_FIND, found.find),
        (evt.EVT_C_STORE, found.store),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    found.port = server.server_address[1]
    yield found
    server.shutdown()


def configured(folder: Path, port: int, content: str, *arguments: str | Path) -> Sequence[str | Path]:
    file = folder / "c.toml"
    file.write_text(f'[remotes.pacs]\nhost = "127.0.0.1"\nport = {port}\n{content}')
    file.chmod(0o600)
    return [*arguments, "--config", file]


def succeeds(*arguments: str | Path) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def calling(foreign: Foreign, folder: Path) -> None:
    succeeds(*configured(folder, foreign.port, 'calling = "ME"', "echo", "pacs"))
    succeeds(*configured(folder, foreign.port, 'calling = "ME"', "echo", "pacs", "-aet", "OTHER"))
    assert foreign.titles == ["ME", "OTHER"]


def user(foreign: Foreign, folder: Path) -> None:
    succeeds(*configured(folder, foreign.port, 'user = "jörg"', "echo", "pacs"))
    assert foreign.users == [(1, "jörg".encode(), b"")]


def passcode(foreign: Foreign, folder: Path) -> None:
    """From all of its places, in all commands; and a wrong one is rejected."""
    (folder / "secret").write_text("sesame\n")
    (folder / "secret").chmod(0o600)
    command = json.dumps(f"{sys.executable} -c 'print(\"sesame\")'")
    ways = ('passcode = "sesame"', 'passcode_file = "secret"', f"passcode_command = {command}")
    for way in ways:
        succeeds(*configured(folder, foreign.port, f'user = "me"\n{way}', "echo", "pacs"))
    succeeds(*configured(folder, foreign.port, f'user = "me"\n{ways[0]}', "store", "pacs", CT))
    succeeds(*configured(folder, foreign.port, f'user = "me"\n{ways[1]}', "remotes", "test", "pacs"))
    assert set(foreign.users) == {(2, b"me", b"sesame")}
    wrong = configured(folder, foreign.port, 'user = "me"\npasscode = "simsim"', "echo", "pacs", "-v")
    done = run(*wrong)
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert "simsim" not in done.stderr + done.stdout


def passcode_file(foreign: Foreign, folder: Path) -> None:
    (folder / "secret").write_text("sesame\n")
    (folder / "secret").chmod(0o644)
    arguments = configured(folder, foreign.port, 'user = "me"\npasscode_file = "secret"', "echo", "pacs")
    said = complaint(run(*arguments), 2)
    assert f"c.toml:5: remotes.pacs.passcode_file: {folder}/secret: others may read it" in said
    (folder / "secret").write_text("\n")
    (folder / "secret").chmod(0o600)
    assert "what is there is empty" in complaint(run(*arguments), 2)
    (folder / "secret").unlink()
    assert "No such file or directory" in complaint(run(*arguments), 2)


def passcode_variable(foreign: Foreign, folder: Path) -> None:
    arguments = configured(
        folder, foreign.port, 'user = "me"\npasscode_variable = "PACS_PASS"', "echo", "pacs"
    )
    assert "c.toml:5: remotes.pacs.passcode_variable: there is no variable PACS_PASS" in complaint(
        run(*arguments), 2
    )
    done = run_tool(dicomnet(*arguments), environment={**os.environ, "PACS_PASS": "sesame"})
    assert done.returncode == 0, done.stderr
    assert foreign.users == [(2, b"me", b"sesame")]


def passcode_command(foreign: Foreign, folder: Path) -> None:
    for command, said in (
        ("false", "the command has failed with exit status 1"),
        ("/nobody/has/this", "No such file or directory"),
        ("echo", "what is there is empty"),
        ("'", "it is not a command"),
    ):
        content = f'user = "me"\npasscode_command = "{command}"'
        assert said in complaint(run(*configured(folder, foreign.port, content, "echo", "pacs")), 2)


def times(foreign: Foreign, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        content = "association_timeout = 0.3\nconnect_timeout = 5\nmessage_timeout = 0.2"
        port = mute.getsockname()[1]
        assert "association stage within 0.3 s" in complaint(
            run(*configured(folder, port, content, "echo", "pacs")), 1
        )
        arguments = configured(folder, port, content, "echo", "pacs", "-ta", "0.2")
        assert "association stage within 0.2 s" in complaint(run(*arguments), 1)


def character_set(foreign: Foreign, folder: Path) -> None:
    content = 'character_set = "latin1"'
    succeeds(*configured(folder, foreign.port, content, "find", "pacs", "-k", "PatientName=Jörg*"))
    key = ("-k", "SpecificCharacterSet=ISO_IR 192")
    succeeds(*configured(folder, foreign.port, content, "find", "pacs", "-k", "PatientName=Jörg*", *key))
    assert [each.SpecificCharacterSet for each in foreign.queries] == ["ISO_IR 100", "ISO_IR 192"]
    assert {str(each.PatientName) for each in foreign.queries} == {"Jörg*"}


def window(foreign: Foreign, folder: Path) -> None:
    succeeds(*configured(folder, foreign.port, "window = 3", "store", "pacs", CT))
    succeeds(*configured(folder, foreign.port, "window = 3", "store", "pacs", CT, "--window", "5"))
    assert foreign.windows == [(3, 1), (5, 1)]


def max_pdu(foreign: Foreign, folder: Path) -> None:
    succeeds(*configured(folder, foreign.port, "max_pdu = 16384", "find", "pacs"))
    assert foreign.lengths == [16384]


def jobs(foreign: Foreign, folder: Path) -> None:
    files = [folder / f"{number}.dcm" for number in range(40)]
    for each in files:
        each.write_bytes(CT.read_bytes())
    succeeds(*configured(folder, foreign.port, 'jobs = 2\nrate = "80/s"', "store", "pacs", *files))
    assert len(foreign.titles) == 2


def rate(foreign: Foreign, folder: Path) -> None:
    files = [folder / f"{number}.dcm" for number in range(10)]
    for each in files:
        each.write_bytes(CT.read_bytes())
    succeeds(*configured(folder, foreign.port, 'rate = "20/s"', "store", "pacs", *files))
    assert foreign.stored[-1] - foreign.stored[0] >= 0.2


def between(foreign: Foreign, folder: Path) -> None:
    """A part of the day that is now, and the option that wins over one that is not."""
    succeeds(*configured(folder, foreign.port, 'between = "00:00-23:59"', "store", "pacs", CT))
    from datetime import datetime, timedelta

    later = datetime.now() + timedelta(hours=5)
    content = f'between = "{later:%H:%M}-{later + timedelta(hours=1):%H:%M}"'
    succeeds(*configured(folder, foreign.port, content, "store", "pacs", CT, "--between", "00:00-23:59"))
    assert len(foreign.stored) == 2


EFFECTS: dict[str, Callable[[Foreign, Path], None]] = {
    "calling": calling,
    "user": user,
    "passcode": passcode,
    "passcode_file": passcode_file,
    "passcode_variable": passcode_variable,
    "passcode_command": passcode_command,
    "association_timeout": times,
    "connect_timeout": times,
    "message_timeout": times,
    "character_set": character_set,
    "window": window,
    "max_pdu": max_pdu,
    "jobs": jobs,
    "rate": rate,
    "between": between,
}
# By TLS, and how dicomnet fetch retrieves: below.
OTHERS = {"check_host", "certificate", "key", "retrieve", "destination", "receiver"}


def test_each_key_has_a_row() -> None:
    assert {f"remotes.{key}" for key in EFFECTS.keys() | OTHERS} == FOR_CALLERS


@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_does_what_its_help_says(key: str, foreign: Foreign, tmp_path: Path) -> None:
    EFFECTS[key](foreign, tmp_path)


def test_keys_by_tls(start_peer: StartPeer, tmp_path: Path) -> None:
    made = make_certificates(tmp_path, others=("ct1",))
    port = start_peer(tls=server_context(made))
    own = f'tls = true\nca = "{made.authority}"\ncertificate = "{made.of("ct1")}"\n'
    file = tmp_path / "c.toml"

    def echo(host: str, content: str) -> Any:
        file.write_text(f'[remotes.p]\nhost = "{host}"\nport = {port}\n{content}')
        return run("echo", "p", "--config", file)

    assert echo("localhost", own).returncode == 0
    assert "wants a certificate of ours" in echo("localhost", own.partition("certificate")[0]).stderr
    # Its certificate is for localhost.
    address = socket.gethostbyname("localhost")
    if address == "127.0.0.1":
        first, second = echo("127.0.0.2", own), echo("127.0.0.2", f"{own}check_host = false")
        assert "not trusted" in first.stderr or first.returncode == 1
        assert second.returncode == 0 or "refused" in second.stderr
    assert "it needs certificate" in echo("localhost", f'tls = true\nkey = "{made.key}"').stderr


@pytest.fixture
def in_the_environment(foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Foreign:
    file = tmp_path / "c.toml"
    configured(
        tmp_path,
        foreign.port,
        'calling = "ME"\nuser = "me"\npasscode = "sesame"\nmax_pdu = 16384\nwindow = 3\ncharacter_set = "latin1"',
    )
    monkeypatch.setenv("DICOMNET_CONFIG", str(file))
    return foreign


def told(foreign: Foreign) -> None:
    assert foreign.titles[-1] == "ME"
    assert foreign.users[-1] == (2, b"me", b"sesame")
    assert foreign.lengths[-1] == 16384


def test_a_peer_by_its_name(in_the_environment: Foreign) -> None:
    with Peer("pacs") as peer:
        assert peer.echo() > 0
        told(in_the_environment)
        list(peer.find("study", PatientName="Jörg*"))
        assert in_the_environment.queries[-1].SpecificCharacterSet == "ISO_IR 100"
        list(peer.store(CT))
        assert in_the_environment.windows[-1] == (3, 1)
        assert repr(peer) == f"<Peer pacs@127.0.0.1:{in_the_environment.port}, called by ME>"
    with Peer("pacs", calling="OTHER", window=2) as peer:
        list(peer.store(CT))
    assert in_the_environment.titles[-1] == "OTHER"
    assert in_the_environment.windows[-1] == (2, 1)


def test_a_peer_by_its_name_in_asyncio(in_the_environment: Foreign) -> None:
    async def main() -> None:
        async with aio.Peer("pacs") as peer:
            assert await peer.echo() > 0
            assert repr(peer).startswith("<Peer pacs@127.0.0.1:")

    asyncio.run(main())
    told(in_the_environment)


def test_an_identity_without_a_configuration(foreign: Foreign) -> None:
    with Peer(f"127.0.0.1:{foreign.port}", user="me", passcode="sesame") as peer:
        peer.echo()
        assert "sesame" not in repr(peer) + repr(peer._target)
    assert foreign.users == [(2, b"me", b"sesame")]
    with pytest.raises(ValueError, match="a passcode needs a user"):
        Peer("127.0.0.1:1", passcode="x")


def test_a_name_that_is_not_known_and_a_file_that_is_wrong(
    in_the_environment: Foreign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="did you mean pacs"):
        Peer("pasc")
    (tmp_path / "c.toml").write_text("[remotes.pacs]\nhost = 'h'\n")
    with pytest.raises(Mistakes, match=r"c\.toml:1: remotes\.pacs\.port is missing"):
        aio.Peer("pacs")
