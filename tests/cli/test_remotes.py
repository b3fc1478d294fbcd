"""Remotes by name in all commands that call a peer, what a configuration says to them, and `dicomnet remotes`."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, StartPeer, StoreSCP
from tests.sockets import Certificates, make_certificates
from tests.support import dicomnet, free_port, run_tool

from dicomnet import evt

# The commands that call a peer, each with what it needs behind the peer.
COMMANDS: dict[str, Sequence[str]] = {
    "echo": (),
    "store": (str(CT),),
    "find": (),
    "get": ("-k", "StudyInstanceUID=1.2.3"),
    "move": ("THERE", "-k", "StudyInstanceUID=1.2.3"),
    "fetch": ("-k", "StudyInstanceUID=1.2.3", "--to", "{folder}", "--retry", "0"),
    "worklist": (),
    "commit": (str(CT),),
    "diagnose": (),
}
PACS = '[remotes.pacs]\nhost = "127.0.0.1"\nport = {port}\n'


def configured(folder: Path, content: str, *arguments: str) -> Sequence[str]:
    """A command line of one that reads this file."""
    (folder / "tools.toml").write_text(content)
    return [*arguments, "--config", str(folder / "tools.toml")]


def titles_of(arguments: Sequence[str], server: socket.socket) -> tuple[str, str]:
    """The called and the calling AE title of the association that a command requests (PS3.8 Table 9-11)."""
    with subprocess.Popen(
        dicomnet(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        server.settimeout(20)
        request = b""
        while not request:
            # One that diagnoses has a connection first on which it says nothing.
            connection, _ = server.accept()
            with connection:
                request = connection.recv(74, socket.MSG_WAITALL)
        server.close()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1, said
    return request[10:26].decode().strip(), request[26:42].decode().strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_calls_a_remote_by_its_name(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        content = (
            PACS.format(port=server.getsockname()[1]) + 'ae_title = "ARCHIVE"\n[server]\nae_titles = ["US"]'
        )
        options = [each.replace("{folder}", str(tmp_path)) for each in COMMANDS[command]]
        arguments = configured(tmp_path, content, command, "pacs", *options)
        assert titles_of(arguments, server) == ("ARCHIVE", "US")


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        ((), ("pacs", "DICOMNET")),
        (("-aec", "OTHER"), ("OTHER", "DICOMNET")),
        (("-aet", "ME"), ("pacs", "ME")),
    ],
)
def test_the_title_is_the_name_and_options_win(
    options: Sequence[str], titles: tuple[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        content = PACS.format(port=server.getsockname()[1])
        assert titles_of(configured(tmp_path, content, "echo", "pacs", *options), server) == titles


def test_what_is_configured_holds_for_an_address_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"PACS@127.0.0.1:{server.getsockname()[1]}"
        arguments = configured(tmp_path, 'server.ae_titles = ["US", "THEM"]', "echo", address)
        assert titles_of(arguments, server) == ("PACS", "US")


def test_dcmtk_answers_and_stores(storescp: StoreSCP, tmp_path: Path) -> None:
    content = PACS.format(port=storescp.port)
    assert run(*configured(tmp_path, content, "echo", "pacs")).stdout.startswith("pacs@127.0.0.1:")
    assert run(*configured(tmp_path, content, "store", "pacs", str(CT))).returncode == 0
    assert len(storescp.received()) == 1


@pytest.mark.parametrize(
    ("options", "time"), [((), "0.3"), (("-ta", "0.2"), "0.2"), (("--timeout", "0.1"), "0.1")]
)
def test_how_long_a_stage_may_take(options: Sequence[str], time: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        content = PACS.format(port=mute.getsockname()[1]) + "[limits]\nassociation_timeout = 0.3"
        said = complaint(run(*configured(tmp_path, content, "echo", "pacs", *options)), 1)
    assert f"association stage within {time} s" in said


def test_how_long_a_response_may_take(start_peer: StartPeer, tmp_path: Path) -> None:
    answers = threading.Event()

    def wait(event: evt.Event) -> int:
        answers.wait(30)
        return 0

    content = PACS.format(port=start_peer([(evt.EVT_C_ECHO, wait)])) + "[limits]\nmessage_timeout = 0.3"
    try:
        said = complaint(run(*configured(tmp_path, content, "echo", "pacs")), 1)
    finally:
        answers.set()
    assert "message stage within 0.3 s" in said


def test_no_title_of_ours(tmp_path: Path) -> None:
    arguments = configured(tmp_path, "server.ae_titles = []", "echo", "PACS@127.0.0.1:1")
    assert complaint(run(*arguments), 2) == (
        f"dicomnet echo: {tmp_path}/tools.toml:1: server.ae_titles: there must be one at least"
    )


# -- where the file is


def where(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with variables."""
    environment = {**os.environ, "HOME": str(folder), **variables}
    return run_tool(dicomnet(*arguments), cwd=folder, environment=environment)


def test_option_over_variable_over_the_users_file(tmp_path: Path) -> None:
    for name in ("option", "variable", ".config/dicomnet/config", "xdg/dicomnet/config", "dicomnet"):
        file = tmp_path / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'[remotes.R]\nhost = "{name.partition("/")[0].strip(".")}"\nport = 104')

    def host(*options: str, **variables: str) -> str:
        done = where(tmp_path, "remotes", *options, **variables)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["host"]) if done.stdout else done.stderr

    xdg = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert host("--config", "option.toml", DICOMNET_CONFIG="variable.toml", **xdg) == "option"
    assert host(DICOMNET_CONFIG="variable.toml", **xdg) == "variable"
    assert host(**xdg) == "xdg"
    assert host(XDG_CONFIG_HOME="") == "config"
    # One that is not absolute counts for none, by the specification of that variable.
    assert host(XDG_CONFIG_HOME="xdg") == "config"
    # The file in the current folder is nobody's choice.
    none = host(XDG_CONFIG_HOME=str(tmp_path / "nothing"))
    assert none == (
        f"dicomnet remotes: there are none; they are read from {tmp_path}/nothing/dicomnet/config.toml\n"
    )


def test_remotes_of_the_environment(tmp_path: Path) -> None:
    remotes = json.dumps({"pacs": {"host": "::1", "port": 104, "ae_title": "P"}})
    done = where(tmp_path, "remotes", DICOMNET_REMOTES=remotes)
    assert json.loads(done.stdout)["from"] == "DICOMNET_REMOTES"
    said = complaint(where(tmp_path, "echo", "pasc", DICOMNET_REMOTES=remotes), 2)
    assert (
        "'pasc' is neither [AET@]host:port nor the name of a remote in DICOMNET_REMOTES; did you mean pacs?"
        in said
    )


@pytest.mark.parametrize("command", [*COMMANDS, "remotes"])
def test_a_wrong_file_is_told_with_the_line(command: str, tmp_path: Path) -> None:
    peer = () if command == "remotes" else ("PACS@127.0.0.1:1",)
    arguments = configured(tmp_path, "[server]\n\nprot = 1", command, *peer, *COMMANDS.get(command, ()))
    assert complaint(run(*arguments), 2) == (
        f"dicomnet {command}: {tmp_path}/tools.toml:3: server.prot is not known; did you mean port?"
    )


def test_the_users_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "dicomnet" / "config.toml").mkdir(parents=True)
    done = where(tmp_path, "echo", "127.0.0.1:1", XDG_CONFIG_HOME=str(tmp_path))
    assert complaint(done, 1) == f"dicomnet echo: {tmp_path}/dicomnet/config.toml: is a directory"


def test_one_file_for_a_node_and_for_tools(tmp_path: Path) -> None:
    """All settings that there are."""
    example = run("config", "example").stdout
    (tmp_path / "node.toml").write_text(example.replace("# [remotes", "[remotes").replace("# host", "host"))
    said = complaint(run("remotes", "--config", "node.toml", cwd=tmp_path), 2)
    assert "remotes.PACS.port is missing; expected a number from 1 to 65535" in said
    content = "\n".join(
        line.removeprefix("# ") if line.startswith(("# [remotes", "# host", "# port = 104")) else line
        for line in example.splitlines()
    )
    (tmp_path / "node.toml").write_text(content)
    assert json.loads(run("remotes", "--config", "node.toml", cwd=tmp_path).stdout)["name"] == "PACS"
    assert run("config", "check", "node.toml", cwd=tmp_path).returncode == 0


# -- names and addresses

TWO = '[remotes.pacs]\nhost = "a"\nport = 1\n[remotes."Röntgen 1"]\nhost = "b"\nport = 2\nae_title = "CR"\n'


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ("pasc", "'pasc' is neither [AET@]host:port nor the name of a remote in FILE; did you mean pacs?"),
        ("PACS", "'PACS' is neither [AET@]host:port nor the name of a remote in FILE; did you mean pacs?"),
        (
            "xyz",
            "'xyz' is neither [AET@]host:port nor the name of a remote in FILE; known are pacs, Röntgen 1",
        ),
        (
            "A@pacs",
            "'A@pacs' is neither [AET@]host:port nor the name of a remote in FILE; did you mean pacs?",
        ),
        ("pacs:", "'pacs:' is not a peer; write [AET@]host:port, for instance PACS@127.0.0.1:11112"),
    ],
)
def test_a_name_that_is_not_known(peer: str, said: str, tmp_path: Path) -> None:
    arguments = configured(tmp_path, TWO, "echo", peer)
    assert said.replace("FILE", arguments[-1]) in complaint(run(*arguments), 2)


def test_a_name_without_any_remotes(tmp_path: Path) -> None:
    arguments = configured(tmp_path, "", "echo", "pacs")
    assert (
        f"'pacs' is neither [AET@]host:port nor the name of a remote; {arguments[-1]} has none"
        in complaint(run(*arguments), 2)
    )
    usual = tmp_path / "dicomnet" / "config.toml"
    assert f"{usual}, where remotes are read from, is not there" in complaint(
        where(tmp_path, "echo", "pacs", XDG_CONFIG_HOME=str(tmp_path)), 2
    )


def test_what_has_a_colon_is_an_address(start_peer: StartPeer, tmp_path: Path) -> None:
    """Whatever remotes are called: who reads a command line knows where it goes."""
    port = start_peer()
    content = f'[remotes."127.0.0.1:{port}"]\nhost = "127.0.0.1"\nport = {free_port()}\nae_title = "X"'
    assert run("echo", f"127.0.0.1:{port}").returncode == 0
    assert "a name has no colon" in complaint(run(*configured(tmp_path, content, "remotes")), 2)


def test_two_remotes_may_have_one_title_for_tools(tmp_path: Path) -> None:
    """Such as the archive in use and the one for tests; a node could not tell destinations of that title apart."""
    content = '[remotes.%s]\nhost = "a"\nport = %d\nae_title = "ANY-SCP"\n'
    arguments = configured(tmp_path, content % ("real", 1) + content % ("test", 2), "remotes")
    assert [json.loads(line)["port"] for line in run(*arguments).stdout.splitlines()] == [1, 2]
    assert "remotes.real has the AE title ANY-SCP, too" in complaint(run("config", "check", arguments[-1]), 2)


# -- TLS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), others=("ct1",))


def server_context(made: Certificates, *, asks: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(made.authority)
    return context


def by_tls(port: int, **values: object) -> str:
    lines = "".join(f"{name} = {json.dumps(str(value))}\n" for name, value in values.items())
    return f'[remotes.pacs]\nhost = "localhost"\nport = {port}\ntls = true\n{lines}'


def test_a_remote_by_tls(start_peer: StartPeer, made: Certificates, tmp_path: Path) -> None:
    """It is trusted by its ``ca``, and shown the certificate of ``[tls]``."""
    port = start_peer(tls=server_context(made))
    trusted = by_tls(port, ca=made.authority)
    own = f'[tls]\ncertificate = "{made.of("ct1")}"\n'
    assert run(*configured(tmp_path, trusted + own, "echo", "pacs")).returncode == 0
    assert "wants a certificate of ours" in complaint(run(*configured(tmp_path, trusted, "echo", "pacs")), 1)
    assert "not trusted" in complaint(run(*configured(tmp_path, by_tls(port) + own, "echo", "pacs")), 1)


def test_options_for_tls_win(start_peer: StartPeer, made: Certificates, tmp_path: Path) -> None:
    port, plain = start_peer(tls=server_context(made)), start_peer()
    wrong = str(made.certificate)
    nothing = 'ca = "missing.pem"\n[tls]\ncertificate = "missing.pem"\nkey = "missing.key"\n'
    options = ("--tls-ca", str(made.authority), "--tls-cert", str(made.of("ct1")))
    content = by_tls(port) + nothing
    assert run(*configured(tmp_path, content, "echo", "pacs", *options)).returncode == 0
    assert run(*configured(tmp_path, by_tls(plain) + nothing, "echo", "pacs", "--no-tls")).returncode == 0
    said = complaint(run(*configured(tmp_path, content, "echo", "pacs", "--no-tls", "--tls-ca", wrong)), 2)
    assert "--no-tls does not go with the other options for TLS" in said


def test_an_address_by_tls_is_shown_our_certificate(
    start_peer: StartPeer, made: Certificates, tmp_path: Path
) -> None:
    """With a key that has a passphrase, which nobody is asked for."""
    loaded = serialization.load_pem_private_key(made.of("ct1").read_bytes(), None)
    encrypted = serialization.BestAvailableEncryption(b"open sesame")
    (tmp_path / "key.pem").write_bytes(
        loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
    )
    (tmp_path / "secret").write_text("open sesame\n")
    port = start_peer(tls=server_context(made))
    own = f'[tls]\ncertificate = "{made.of("ct1")}"\nkey = "key.pem"\n'
    arguments = ("echo", f"localhost:{port}", "--tls-ca", str(made.authority))
    for passphrase in ('passphrase_file = "secret"', 'passphrase = "open sesame"'):
        assert run(*configured(tmp_path, own + passphrase, *arguments)).returncode == 0
    said = complaint(run(*configured(tmp_path, own, *arguments)), 2)
    assert f"{tmp_path}/tools.toml:2: tls.certificate: {made.of('ct1')}: the key has a passphrase" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "tls = true\nca = 'none.pem'",
            "tools.toml:5: remotes.pacs.ca: FOLDER/none.pem: No such file or directory",
        ),
        (
            "tls = true\nca = 'tools.toml'",
            "tools.toml:5: remotes.pacs.ca: FOLDER/tools.toml: the file holds nothing",
        ),
        ("ca = 'none.pem'", "tools.toml:4: remotes.pacs.ca: it needs tls = true"),
        (
            "tls = true\n[tls]\ncertificate = 'none.pem'",
            "tools.toml:6: tls.certificate: FOLDER/none.pem: No such file or directory",
        ),
        ("[tls]\nkey = 'key.pem'", "tools.toml:5: tls.key: it needs tls.certificate"),
        (
            "tls = true\n[tls]\ncertificate = 'c'\npassphrase_file = 'none'",
            "tools.toml:7: tls.passphrase_file: FOLDER/none: No such file or directory",
        ),
    ],
)
def test_a_file_for_tls_that_cannot_be_used(content: str, said: str, tmp_path: Path) -> None:
    arguments = configured(tmp_path, PACS.format(port=1) + content, "echo", "pacs")
    assert said.replace("FOLDER", str(tmp_path)) in complaint(run(*arguments), 2)


# -- the command


def test_remotes_are_listed(tmp_path: Path) -> None:
    arguments = configured(tmp_path, TWO, "remotes")
    first, second = map(json.loads, run(*arguments).stdout.splitlines())
    assert first == {
        "name": "pacs",
        "ae_title": "pacs",
        "host": "a",
        "port": 1,
        "tls": False,
        "ca": None,
        "from": f"{arguments[-1]}:1",
    }
    assert (second["name"], second["ae_title"], second["from"]) == ("Röntgen 1", "CR", f"{arguments[-1]}:4")
    table = run_on_terminal(*arguments).text
    assert "CR@b:2" in table
    assert "Röntgen 1" in table
    assert json.loads(run_on_terminal(*arguments, "--json", columns=1000).text.splitlines()[0]) == first


def test_a_tool_with_a_configuration_needs_no_library(start_peer: StartPeer, tmp_path: Path) -> None:
    missing = ("pydicom", "sqlalchemy", "alembic", "rich", "cryptography", "pydantic")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from dicomnet.cli.main import main; sys.exit(main())"
    )
    arguments = configured(tmp_path, PACS.format(port=start_peer()), "echo", "pacs")
    done = run_tool([sys.executable, "-c", code, *arguments])
    assert (done.returncode, done.stderr) == (0, "")


def test_the_peer_is_named_as_it_is_reached(start_peer: StartPeer, tmp_path: Path) -> None:
    """So that a line of a log says to where something went, whatever the file says later."""
    port = start_peer([(evt.EVT_C_ECHO, lambda event: 0)])
    said = run(*configured(tmp_path, PACS.format(port=port), "echo", "pacs")).stdout
    assert said.startswith(f"pacs@127.0.0.1:{port} answered in ")
