"""Each key of the configuration file does what its help says: a row for each, with a real node over sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPErrorProcessor, Request, build_opener, urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID
from tests.archive.reporting.collecting import Collector
from tests.archive.viewers import packed
from tests.archive.watch.pages import health, metrics, port_of
from tests.cli.command import run
from tests.faults.objects import study_uid, write_objects
from tests.settings.nodes import Configured, configured
from tests.sockets import (
    Certificates,
    RawPeer,
    echo_pdus,
    make_certificates,
    request_pdu,
)
from tests.support import TOOL_ENVIRONMENT, free_port, stored, wait_until
from tests.web import Says, web

from dicomnet import AE, Peer, evt
from dicomnet.archive.ledger.audits import AuditFilter
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.archive.viewer import install
from dicomnet.drivers.tls import ServerCertificate, client_context
from dicomnet.errors import DicomnetError, ServiceRefusal, TLSFailed
from dicomnet.exchange.addresses import MAXIMUM_LENGTH
from dicomnet.pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from dicomnet.pynetdicom.sop_class import CTImageStorage, Verification
from dicomnet.settings.entries import FOR_CALLERS, REMOTE_SETTINGS, RETENTION_SETTINGS, RULE_SETTINGS
from dicomnet.settings.table import BY_NAME, MANY, SETTINGS
from dicomnet.wire.items import AsynchronousOperationsWindow
from dicomnet.wire.pdu import AssociateAC

CT, MR = (str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm"))
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
ABORT = b"\x07"


class World:
    """Starts nodes in a folder, and ends them with the test."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._certificates: Certificates | None = None
        self._peers: list[Peer] = []

    def node(self, content: str, *options: str, **more: Any) -> Configured:
        """A running node."""
        return self._stack.enter_context(configured(self.folder, content, *options, **more))

    def peer(self, node: Configured, **more: Any) -> Peer:
        """A client of it."""
        peer = self._stack.enter_context(Peer(node.address, **more))
        self._peers.append(peer)
        return peer

    def end(self, node: Configured) -> None:
        """Release all associations, and end a node in order."""
        for peer in self._peers:
            peer.close()
        assert node.end() == 0

    @property
    def certificates(self) -> Certificates:
        """Certificates, made once."""
        self._certificates = self._certificates or make_certificates(self.folder, others=("ct1", "ct2"))
        return self._certificates

    def file(self, **changes: Any) -> str:
        """A CT image with other values."""
        image = dcmread(CT)
        for name, value in changes.items():
            setattr(image, name, value)
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        path = self.folder / f"{len(list(self.folder.glob('*.dcm')))}.dcm"
        image.save_as(path)
        return str(path)

    def client(self, name: str | None = None) -> ssl.SSLContext:
        """A TLS context of a client."""
        context = client_context(self.certificates.authority)
        context.check_hostname = False
        if name is not None:
            context.load_cert_chain(self.certificates.of(name))
        return context


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def one(peer: Peer, path: str) -> int | None:
    (result,) = peer.store(path)
    return result.status


def associate(node: Configured, *, called: str | None = None, calling: str = "MODALITY", **more: Any) -> Any:
    ae = AE(calling)
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    return ae.associate(node.host, node.port, ae_title=called or node.title, **more)


def rejection(association: Any) -> tuple[int, int, int]:
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


# -- a function for each key


def folder(world: World) -> None:
    """Relative to the file."""
    (world.folder / "sub").mkdir()
    (world.folder / "sub" / "x.toml").write_text('[storage]\nfolder = "here"\n')
    node = world.node("", "--config", "sub/x.toml")
    assert one(world.peer(node), CT) == 0
    world.end(node)
    assert len(stored(world.folder / "sub" / "here")) == 1


def database(world: World) -> None:
    node = world.node(f'storage.database = "sqlite:///{world.folder}/elsewhere.sqlite"')
    assert one(world.peer(node), CT) == 0
    assert len(list(world.peer(node).find("study"))) == 1
    assert (world.folder / "elsewhere.sqlite").exists()
    assert not (world.folder / "dicomnet-data" / "index.sqlite").exists()


def on_conflict(world: World) -> None:
    node = world.node('storage.on_conflict = "refuse"')
    peer = world.peer(node)
    assert one(peer, CT) == 0
    assert one(peer, world.file(PatientName="Other")) == 0x0111


def strict(world: World) -> None:
    path = Path(world.file())
    path.write_bytes(path.read_bytes() + bytes(10))
    assert one(world.peer(world.node("storage.strict = true")), str(path)) == 0xC000


def accept_private(world: World) -> None:
    node = world.node("storage.accept_private = true")
    assert one(world.peer(node), world.file(SOPClassUID=UID("1.3.12.2.1107.5.9.1"))) == 0


def address(world: World) -> None:
    node = world.node('server.address = "127.0.0.2"')
    assert node.host == "127.0.0.2"
    world.peer(node).echo()


def port(world: World) -> None:
    number = free_port()
    node = world.node(f"server.port = {number}", port=False)
    assert node.port == number
    world.peer(node).echo()


def allow_public(world: World) -> None:
    """The folder cannot be used, so that nothing is ever served to others by this test."""
    content = 'server.address = "0.0.0.0"\nstorage.folder = "node.toml/x"\n'
    (world.folder / "node.toml").write_text(content)
    refused = run("serve", "--config", "node.toml", cwd=world.folder)
    assert "use --allow-public" in refused.stderr
    (world.folder / "node.toml").write_text(f"{content}server.allow_public = true")
    warned = run("serve", "--config", "node.toml", cwd=world.folder)
    assert "warning: nobody has to prove who they are" in warned.stderr
    assert "not a directory" in warned.stderr


def ae_titles(world: World) -> None:
    node = world.node('server.ae_titles = ["MINE", "MY OTHER"]\nserver.any_called_title = false')
    assert node.title == "MINE"
    for title in ("MINE", "MY OTHER"):
        associate(node, called=title).release()
    assert rejection(associate(node, called="DICOMNET")) == (1, 1, 7)


def any_called_title(world: World) -> None:
    assert rejection(associate(world.node("server.any_called_title = false"), called="X")) == (1, 1, 7)


def workers(world: World) -> None:
    node = world.node("server.workers = 3")

    def children(process: int) -> list[int]:
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]

    (supervisor,) = children(node.process.pid)
    wait_until(lambda: len(children(supervisor)) == 3, what="three workers")


def drain(world: World) -> None:
    node = world.node("server.drain = 0.2")
    association = associate(node)
    node.process.terminate()
    assert node.process.wait(10) == 0
    assert "draining for up to 0.2 s" in node.said
    wait_until(lambda: association.is_aborted, what="the association is aborted")


def associations(world: World) -> None:
    node = world.node("limits.associations = 1")
    first = associate(node)
    assert rejection(associate(node)) == (2, 3, 2)
    first.release()


def association_timeout(world: World) -> None:
    """Of the default, this would take longer than the peer has patience."""
    with RawPeer.connect(world.node("limits.association_timeout = 0.3").port) as peer:
        assert peer.read_to_end()[:1] in (b"", ABORT)


def message_timeout(world: World) -> None:
    with RawPeer.connect(world.node("limits.message_timeout = 0.3").port) as peer:
        peer.send(request_pdu())
        assert peer.read_pdu()[:1] == b"\2"
        peer.send(echo_pdus()[:-4])
        assert peer.read_pdu()[:1] == ABORT


def idle_timeout(world: World) -> None:
    with RawPeer.connect(world.node("limits.idle_timeout = 0.3").port) as peer:
        peer.send(request_pdu())
        assert peer.read_pdu()[:1] == b"\2"
        assert peer.read_pdu()[:1] == ABORT


def window(world: World) -> None:
    with RawPeer.connect(world.node("limits.window = 3").port) as peer:
        peer.send(request_pdu(window=10))
        answer = AssociateAC.decode(memoryview(peer.read_pdu())[6:])
        (granted,) = [each for each in answer.user_items if isinstance(each, AsynchronousOperationsWindow)]
        assert granted.invoked == 3


def pdu_excess(world: World) -> None:
    with RawPeer.connect(world.node("limits.pdu_excess = 10").port) as peer:
        peer.send(request_pdu())
        assert peer.read_pdu()[:1] == b"\2"
        peer.send(b"\4\0" + (MAXIMUM_LENGTH + 11).to_bytes(4, "big"))
        assert peer.read_pdu()[:1] == ABORT


def max_matches(world: World) -> None:
    node = world.node("queries.max_matches = 1")
    assert [each.status for each in world.peer(node).store([CT, MR])] == [0, 0]
    assert "0xB001" in run("find", node.address).stderr


def always(world: World) -> None:
    node = world.node('queries.always = ["relational"]')
    assert one(world.peer(node), CT) == 0
    found = run("find", node.address, "-L", "series", "-k", "Modality=CT")
    assert len(found.stdout.splitlines()) == 1, found.stderr


def never(world: World) -> None:
    node = world.node('queries.never = ["relational"]')
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = STUDY_ROOT, b"\1\1"
    ae = AE()
    ae.add_requested_context(STUDY_ROOT)
    association = ae.associate(node.host, node.port, ext_neg=[item])
    assert association.acceptor.sop_class_extended == {STUDY_ROOT: b"\0\1"}
    association.release()


def keep_keys(world: World) -> None:
    node = world.node('queries.keep_keys = ["KVP@series", "SliceThickness@image"]')
    assert one(world.peer(node), CT) == 0
    study = f"StudyInstanceUID={dcmread(CT).StudyInstanceUID}"
    (line,) = run("find", node.address, "-L", "series", "-k", study, "-k", "KVP").stdout.splitlines()
    assert json.loads(line)["KVP"] == 120


def certificate(world: World) -> None:
    """With the key in the file of the certificate; without TLS nobody gets in."""
    made = world.certificates
    (world.folder / "both.pem").write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    node = world.node('tls.certificate = "both.pem"')
    world.peer(node, tls=world.client()).echo()
    with pytest.raises(DicomnetError):
        world.peer(node).echo()


def key(world: World) -> None:
    made = world.certificates
    node = world.node(f'tls.certificate = "{made.certificate.name}"\ntls.key = "{made.key.name}"')
    world.peer(node, tls=world.client()).echo()


def _encrypted(world: World) -> str:
    loaded = serialization.load_pem_private_key(world.certificates.key.read_bytes(), None)
    (world.folder / "encrypted.pem").write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    return f'tls.certificate = "{world.certificates.certificate}"\ntls.key = "encrypted.pem"\n'


def passphrase(world: World) -> None:
    node = world.node(f'{_encrypted(world)}tls.passphrase = "open sesame"')
    world.peer(node, tls=world.client()).echo()


def passphrase_file(world: World) -> None:
    (world.folder / "secret").write_text("open sesame\nmore\n")
    node = world.node(f'{_encrypted(world)}tls.passphrase_file = "secret"')
    world.peer(node, tls=world.client()).echo()


def _tls(world: World, more: str, authority: Path | None = None) -> str:
    made = world.certificates
    return (
        f'tls.certificate = "{made.certificate}"\ntls.key = "{made.key}"\n'
        f'tls.client_ca = "{authority or made.authority}"\n{more}'
    )


def client_ca(world: World) -> None:
    (world.folder / "strange").mkdir()
    strange = make_certificates(world.folder / "strange", others=("ct1",))
    node = world.node(_tls(world, 'tls.client_certificate = "required"', strange.authority))
    with pytest.raises(TLSFailed, match="does not accept our certificate"):
        world.peer(node, tls=world.client("ct1")).echo()
    context = world.client()
    context.load_cert_chain(strange.of("ct1"))
    world.peer(node, tls=context).echo()


def client_certificate(world: World) -> None:
    node = world.node(_tls(world, 'tls.client_certificate = "required"'))
    world.peer(node, tls=world.client("ct1")).echo()
    with pytest.raises(TLSFailed, match="wants a certificate of ours"):
        world.peer(node, tls=world.client()).echo()
    world.end(node)
    node = world.node(_tls(world, 'tls.client_certificate = "optional"'))
    world.peer(node, tls=world.client()).echo()


def level(world: World) -> None:
    node = world.node('logging.level = "info"')
    world.peer(node).echo()
    node.wait_for(" INFO DICOMNET@127.0.0.1")


def format(world: World) -> None:
    node = world.node('logging.format = "json"\nserver.any_called_title = false')
    associate(node, called="X")
    node.wait_for('"message"')
    (line,) = [json.loads(each) for each in node.said.splitlines() if each.startswith("{")]
    assert line["level"] == "warning"
    assert line["peer"] == "127.0.0.1"
    assert line["association"].startswith("MODALITY@127.0.0.1:")
    assert "called AE title not recognised" in line["message"]


def identifiers(world: World) -> None:
    content = 'logging.level = "debug"\n'
    for more in ("", "logging.identifiers = true"):
        node = world.node(content + more)
        assert list(world.peer(node).find("study", PatientName="Somebody^Secret")) == []
        world.end(node)
        assert ("Somebody^Secret" in node.said) is bool(more)


@contextmanager
def receiving(world: World, **options: Any) -> Iterator[Node]:
    """A receiver, in this process."""
    there = Node(world.folder / "there", address=("127.0.0.1", 0), has_index=False, sync=False, **options)
    there.start()
    try:
        yield there
    finally:
        there.shutdown()


def _moved(world: World, node: Configured, to: str, path: str = CT) -> int:
    """Store an object and have it moved: the status of the last response."""
    peer = world.peer(node)
    assert one(peer, path) == 0
    try:
        return list(peer.move(to, "study", StudyInstanceUID=dcmread(path).StudyInstanceUID))[-1].status
    except ServiceRefusal as refusal:
        return refusal.status


def destinations(world: World) -> None:
    with receiving(world) as there:
        node = world.node(f'retrieval.destinations = ["THERE@127.0.0.1:{there.address[1]}"]')
        assert _moved(world, node, "THERE") == 0
        assert _moved(world, node, "ELSEWHERE") == 0xA801
    assert len(stored(world.folder / "there")) == 1


def jobs(world: World) -> None:
    """The associations wait for each other, so that none can have done everything alone."""
    arrivals, meeting = [0], threading.Barrier(3)

    def wait_for_others(instance: str, status: int, name: object) -> None:
        arrivals[0] += 1
        if arrivals[0] <= 3:
            meeting.wait(20)

    with receiving(world, on_stored=wait_for_others, terms=Terms(window=1)) as there:
        node = world.node(f'retrieval = {{destinations = ["THERE@127.0.0.1:{there.address[1]}"], jobs = 3}}')
        paths = write_objects(world.folder / "objects", 1, 30, 64)
        peer = world.peer(node)
        assert all(each.is_stored for each in peer.store(paths))
        last = list(peer.move("THERE", "study", StudyInstanceUID=study_uid(1)))[-1]
        assert (last.status, last.completed) == (0, 30)
        assert not meeting.broken


def decompress(world: World) -> None:
    """A receiver that takes native objects only."""
    compressed = str(get_testdata_file("JPEG2000.dcm"))
    ae = AE("THERE")
    ae.add_supported_context(dcmread(compressed).SOPClassUID, "1.2.840.10008.1.2.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
    assert server is not None
    path = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "lean" not in each]
    with_decoders = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    try:
        content = f'retrieval.destinations = ["THERE@127.0.0.1:{server.server_address[1]}"]\n'
        node = world.node(content, environment=with_decoders)
        assert _moved(world, node, "THERE", compressed) == 0
        world.end(node)
        node = world.node(f'{content}retrieval.decompress = "never"', environment=with_decoders)
        assert _moved(world, node, "THERE", compressed) != 0
    finally:
        server.shutdown()


def _web(
    node: Configured, path: str = "/dicom-web/", method: str = "GET", **headers: str
) -> tuple[int, Message]:
    """Status and headers of a response by HTTP, at the address that the node has said."""
    found = re.search(r"DICOMweb: (http://.*)/dicom-web\n", node.said)
    assert found is not None
    try:
        with urlopen(Request(found[1] + path, headers=headers, method=method), timeout=10) as response:
            return response.status, response.headers
    except HTTPError as error:
        return error.code, error.headers


def _without_variables() -> dict[str, str]:
    """The environment of tests says that nodes have no DICOMweb."""
    return {name: value for name, value in os.environ.items() if name != "DICOMNET_WEB_LISTEN"}


def web_listen(world: World) -> None:
    """The default is port 8080 of loopback, if that is free."""
    assert BY_NAME["web.listen"].default == "127.0.0.1:8080"
    node = world.node('web.listen = "off"', environment=_without_variables())
    assert "DICOMweb" not in node.said
    world.end(node)
    number = free_port()
    for words, address in (
        (f'web.listen = "{number}"', f"127.0.0.1:{number}"),
        ('web.listen = "127.0.0.2:0"', "127.0.0.2:"),
    ):
        node = world.node(words, environment=_without_variables())
        node.wait_for(f"DICOMweb: http://{address}")
        assert _web(node)[0] == 404
        world.end(node)
    node = world.node("", "--http", "0")
    node.wait_for("DICOMweb: http://127.0.0.1:")
    world.end(node)
    with ExitStack() as stack:
        with suppress(OSError):
            # Else somebody else has it.
            stack.enter_context(socket.create_server(("127.0.0.1", 8080)))
        node = world.node("", environment=_without_variables())
        node.wait_for(
            "warning: there is no DICOMweb: port 8080 of 127.0.0.1 is in use already; --http HOST:PORT"
        )
        assert one(world.peer(node), CT) == 0
    with socket.create_server(("127.0.0.1", number)):
        taken = run("serve", "--config", "node.toml", "--http", f"{number}", cwd=world.folder)
    assert taken.returncode == 1
    assert (
        taken.stderr
        == f"dicomnet serve: --http 127.0.0.1:{number}: port {number} of 127.0.0.1 is in use already\n"
    )


def web_allow_public(world: World) -> None:
    """The switch of the other port is none for this one. The folder cannot be used, so that nothing is ever shown."""
    content = 'web = {%s}\nstorage.folder = "node.toml/x"\nserver.allow_public = true'
    (world.folder / "node.toml").write_text(content % "")
    refused = run("serve", "--config", "node.toml", "--http", ":0", cwd=world.folder)
    assert (
        "anybody could see, add and remove images; set web.users and web.tls, or web.allow_public to allow that"
        in refused.stderr
    )
    (world.folder / "node.toml").write_text(content % "allow_public = true")
    warned = run("serve", "--config", "node.toml", "--http", ":0", cwd=world.folder)
    assert "warning: nobody has to prove who they are; whoever can reach us may see, add and" in warned.stderr
    assert "not a directory" in warned.stderr


def web_allow_delete(world: World) -> None:
    for content, status in (("", 403), ("web.allow_delete = true", 404)):
        node = world.node(content, "--http", "0")
        assert _web(node, "/dicom-web/studies/1.2.3", method="DELETE")[0] == status
        world.end(node)


def web_origins(world: World) -> None:
    node = world.node('web.origins = ["https://viewer.example"]', "--http", "0")
    for origin, allowed in (
        ("https://viewer.example", "https://viewer.example"),
        ("https://else.example", None),
    ):
        assert _web(node, Origin=origin)[1]["Access-Control-Allow-Origin"] == allowed


def web_hosts(world: World) -> None:
    node = world.node('web.hosts = ["pacs.example"]', "--http", "0")
    for host, is_refused in (("pacs.example", False), ("localhost", False), ("else.example", True)):
        assert (_web(node, Host=host)[0] == 421) is is_refused


def _users(world: World) -> str:
    """A file with one user, as the command makes it; his credentials."""
    (world.folder / "password").write_text("a long password\n")
    added = run(
        "users", "add", "alice", "--file", "users.toml", "--password-file", "password", cwd=world.folder
    )
    assert added.returncode == 0, added.stderr
    return "Basic " + b64encode(b"alice:a long password").decode()


def web_users(world: World) -> None:
    credentials = _users(world)
    node = world.node('web.users = "users.toml"', "--http", "0")
    status, headers = _web(node, "/dicom-web/studies")
    assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
    assert _web(node, "/dicom-web/studies", Authorization=credentials)[0] == 204
    (world.folder / "users.toml").chmod(0o644)
    refused = run("serve", "--config", "node.toml", cwd=world.folder)
    assert refused.returncode == 2
    assert "others can read or change it; chmod 600" in refused.stderr


def web_tls(world: World) -> None:
    """With users, the port may be public then."""
    _users(world)
    (world.folder / "both.pem").write_bytes(
        world.certificates.certificate.read_bytes() + world.certificates.key.read_bytes()
    )
    content = (
        'tls.certificate = "both.pem"\nserver.allow_public = true\nweb = {users = "users.toml", tls = %s}'
    )
    (world.folder / "node.toml").write_text(content % "false" + '\nstorage.folder = "node.toml/x"')
    refused = run("serve", "--config", "node.toml", "--http", ":0", cwd=world.folder)
    assert "set web.users and web.tls, or web.allow_public" in refused.stderr
    node = world.node(content % "true", "--http", ":0")
    node.wait_for("DICOMweb: https://0.0.0.0:")
    found = re.search(r"https://0.0.0.0:(\d+)/", node.said)
    assert found is not None
    context = world.client()
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"https://127.0.0.1:{found[1]}/dicom-web/studies", timeout=10, context=context)


def _logged_in(node: Configured) -> Message:
    found = re.search(r"DICOMweb: http://127.0.0.1:(\d+)/", node.said)
    assert found is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", b"name=alice&password=a+long+password", form)
    answer = connection.getresponse()
    assert answer.status == 303
    connection.close()
    return answer.headers


def web_session(world: World) -> None:
    _users(world)
    node = world.node('web = {users = "users.toml", session = "30 min"}', "--http", "0")
    assert "Max-Age=1800" in _logged_in(node)["Set-Cookie"]


def web_proxies(world: World) -> None:
    """What a proxy says is believed of one that is trusted."""
    _users(world)
    for proxies, is_secure in (('["127.0.0.0/8"]', True), ('["10.0.0.1"]', False)):
        node = world.node(f'web = {{users = "users.toml", proxies = {proxies}}}', "--http", "0")
        found = re.search(r"DICOMweb: (http://.*)/dicom-web\n", node.said)
        assert found is not None
        headers = {"X-Forwarded-Proto": "https"}
        request = Request(f"{found[1]}/login", b"name=alice&password=a+long+password", headers)
        with build_opener(_NoRedirect).open(request, timeout=10) as answer:
            assert ("Secure" in answer.headers["Set-Cookie"]) is is_secure
        world.end(node)


class _NoRedirect(HTTPErrorProcessor):
    def http_response(self, request: Request, response: Any) -> Any:
        return response


def web_viewer(world: World) -> None:
    """It is there as soon as it is installed, in the folder of the setting or the usual one."""
    release = packed(world.folder / "a.tgz")
    usual = world.folder / "data"
    for content, folder in (
        ('web.viewer = "mine"', world.folder / "mine"),
        ("", usual / "dicomnet" / "ohif"),
    ):
        node = world.node(content, "--http", "0", environment={**os.environ, "XDG_DATA_HOME": str(usual)})
        assert _web(node, "/ohif/")[0] == 404
        install(world.folder / "a.tgz", folder, release)
        assert _web(node, "/ohif/")[0] == 200
        world.end(node)


def web_user_header(world: World) -> None:
    _users(world)
    content = 'web = {users = "users.toml", proxies = ["127.0.0.1"], user_header = "X-Forwarded-User"}'
    node = world.node(content, "--http", "0")
    asked = "/dicom-web/studies"
    assert _web(node, asked, **{"X-Forwarded-User": "alice"})[0] == 204
    assert _web(node, asked, **{"X-Forwarded-User": "mallory"})[0] == 403
    assert _web(node, asked)[0] == 401


def watch_port(world: World) -> None:
    number = free_port()
    node = world.node(f"watch.port = {number}")
    assert health(number)[0] == 200
    assert metrics(number)["dicomnet_ready", frozenset()] == 1
    assert f"health and metrics: http://127.0.0.1:{number}\n" in node.said
    world.end(node)
    assert "health and metrics" not in world.node("").said


def watch_address(world: World) -> None:
    world.node('watch.port = 0\nwatch.address = "127.0.0.2"').wait_for("http://127.0.0.2:")


def watch_allow_public(world: World) -> None:
    """The switch of the other port is none for this one. The folder cannot be used, so that nothing is ever shown."""
    content = 'watch = {port = 0, address = "0.0.0.0"%s}\nstorage.folder = "node.toml/x"\nserver.allow_public = true'
    (world.folder / "node.toml").write_text(content % "")
    refused = run("serve", "--config", "node.toml", cwd=world.folder)
    assert "anybody could see health and metrics; set watch.allow_public to allow that" in refused.stderr
    (world.folder / "node.toml").write_text(content % ", allow_public = true")
    warned = run("serve", "--config", "node.toml", cwd=world.folder)
    assert "warning: nobody has to prove who they are; whoever can reach us may see health" in warned.stderr
    assert "not a directory" in warned.stderr


def disk_reserve(world: World) -> None:
    node = world.node(f"watch.port = 0\nwatch.disk_reserve = {10**12}")
    status, said = health(port_of(node))
    assert status == 503
    assert said["checks"]["disk"]["message"].endswith(f"{10**12} are the reserve")


def certificate_days(world: World) -> None:
    """That of the tests is valid for an hour."""
    (world.folder / "both.pem").write_bytes(
        world.certificates.certificate.read_bytes() + world.certificates.key.read_bytes()
    )
    content = 'tls.certificate = "both.pem"\nwatch = {port = 0, certificate_days = %d}'
    for days, word in ((1, "warning"), (0, "ok")):
        node = world.node(content % days)
        assert health(port_of(node))[1]["checks"]["certificate"]["status"] == word
        world.end(node)


def _audited(world: World) -> list[str]:
    """The kinds of the entries of the audit trail."""
    with Ledger(ledger_url(world.folder / "dicomnet-data")) as ledger:
        return [entry.event.kind.word for _, entry in ledger.audits.find(AuditFilter())]


def audit_enabled(world: World) -> None:
    own = ["application activity", "application activity", "security alert"]
    for value, kinds in (("false", []), ("true", own)):
        world.end(world.node(f"audit.enabled = {value}"))
        assert _audited(world) == kinds


def audit_keep(world: World) -> None:
    """The node removes what is older at its start, and then now and then."""
    world.end(world.node("audit.enabled = true"))
    node = world.node('audit = {enabled = true, keep = "1 day"}')
    world.end(node)
    assert len(_audited(world)) == 5
    node = world.node("audit = {enabled = true, keep = 0}")
    wait_until(lambda: len(_audited(world)) <= 1, what="old entries are removed")


def audit_file(world: World) -> None:
    """Each entry is a line, up to the one that the node stops."""
    world.end(world.node('audit = {enabled = true, file = "audit.xml"}'))
    lines = (world.folder / "audit.xml").read_text().splitlines()
    assert [line.count("Application St") for line in lines] == [0, 1, 1]
    assert all(line.startswith("<AuditMessage>") for line in lines)


def audit_syslog(world: World) -> None:
    """The server wants a certificate of ours, and we trust only its authority."""
    made = world.certificates
    collector = Collector(made, world.folder / "collected")
    collector.start()
    try:
        world.end(
            world.node(
                f"""
                [audit]
                enabled = true
                syslog = "localhost:{collector.port}"
                syslog_ca = "{made.authority}"
                syslog_certificate = "{made.certificate}"
                syslog_key = "{made.key}"
                """
            )
        )
        wait_until(lambda: b"Application Stop" in collector.path.read_bytes(), what="all was sent")
    finally:
        collector.kill()


def keep(world: World) -> None:
    """By the command, which has the same configuration; the node empties the trash."""
    node = world.node('deletion.keep = "0.5 s"')
    words = ("--config", "node.toml", "--yes", "--all")
    assert one(world.peer(node), CT) == 0
    assert run("delete", *words, cwd=world.folder).returncode == 0
    (trashed,) = (world.folder / "dicomnet-data" / "trash").rglob("*.dcm")
    world.end(node)
    # At its start, and then now and then.
    node = world.node("deletion.keep = 0")
    wait_until(lambda: not trashed.exists(), what="the trash is empty")
    assert one(world.peer(node), CT) == 0
    assert run("delete", *words, cwd=world.folder).returncode == 0
    assert not trashed.parent.exists()


def _studies(world: World) -> set[str]:
    objects = world.folder / "dicomnet-data" / "objects"
    return {path.parts[-3] for path in objects.rglob("*.dcm")}


def _retained(world: World, content: str, goes: dict[str, Any], *stay: dict[str, Any]) -> Configured:
    """Store objects of several studies, and wait until the rules, applied all the time, have removed the last one."""
    node = world.node(f'[deletion]\ninterval = "0.1 s"\nquiet = 0\n{content}')
    staying = {f"1.2.3.{number}": each for number, each in enumerate(stay)}
    for study, each in (*staying.items(), ("1.2.4", goes)):
        title = {"calling": each.pop("calling")} if "calling" in each else {}
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.2"}
        assert one(world.peer(node, **title), world.file(**uids, **each)) == 0
    # Those that stay were looked at before it.
    node.wait_for("has removed 1 object of study 1.2.4 ")
    assert _studies(world) == staying.keys()
    return node


def _rule_of(name: str, *lines: str) -> str:
    return "\n".join((f'[[retention]]\nname = "{name}"', *lines, ""))


def interval(world: World) -> None:
    node = _retained(world, _rule_of("x", "after = 0"), {})
    assert one(world.peer(node), CT) == 0
    node.wait_for("has removed 1 object", 2)
    assert not _studies(world)


def quiet(world: World) -> None:
    node = world.node(f'deletion = {{interval = "0.1 s", quiet = "1.5 s"}}\n{_rule_of("x", "after = 0")}')
    assert one(world.peer(node), CT) == 0
    begun = time.monotonic()
    node.wait_for("has removed 1 object")
    assert time.monotonic() - begun > 1


def name_of_a_retention_rule(world: World) -> None:
    _retained(world, _rule_of("my rule", "after = 0"), {}).wait_for(
        "the retention rule my rule has removed 1"
    )


def after(world: World) -> None:
    begun = time.monotonic()
    _retained(world, _rule_of("x", 'after = "1.5 s"'), {})
    assert time.monotonic() - begun > 1.5


def since(world: World) -> None:
    rule = _rule_of("x", 'after = "10 years"', 'since = "study-date"')
    _retained(world, rule, {"StudyDate": "20040119"}, {"StudyDate": "29990101"})


def free(world: World) -> None:
    rules = (
        _rule_of("a", 'free = "0 %"', 'institutions = ["A"]'),
        _rule_of("b", 'free = "100 %"', 'institutions = ["B"]'),
    )
    _retained(world, "".join(rules), {"InstitutionName": "B"}, {"InstitutionName": "A"})


def titles(world: World) -> None:
    rule = _rule_of("x", "after = 0", 'titles = ["CT1"]')
    _retained(world, rule, {"calling": "CT1"}, {"calling": "CT2"})


def modalities(world: World) -> None:
    rule = _rule_of("x", "after = 0", 'modalities = ["MR", "SR"]')
    _retained(world, rule, {"Modality": "MR"}, {"Modality": "CT"})


def institutions(world: World) -> None:
    rule = _rule_of("x", "after = 0", 'institutions = ["A"]')
    _retained(world, rule, {"InstitutionName": "A"}, {"InstitutionName": "B"})


def require(world: World) -> None:
    rules = (
        _rule_of("safe", "after = 0", 'require = ["forwarded"]'),
        _rule_of("x", "after = 0", 'modalities = ["MR"]'),
    )
    node = _retained(world, "".join(rules), {"Modality": "MR"}, {"Modality": "CT"})
    assert "the retention rule safe removes nothing: it requires that objects are forwarded" in node.said


def keep_of_a_rule(world: World) -> None:
    _retained(world, _rule_of("x", "after = 0", 'keep = "1 day"'), {})
    assert len(list((world.folder / "dicomnet-data" / "trash").rglob("*.dcm"))) == 1


def remote(world: World) -> None:
    """By host, port and title: the title is the name where nothing else is said."""
    with receiving(world, terms=Terms(called_titles=("PACS", "PACS 2"))) as there:
        where = f'host = "127.0.0.1"\nport = {there.address[1]}\n'
        node = world.node(f'[remotes.PACS]\n{where}[remotes.other]\n{where}ae_title = "PACS 2"\n')
        assert [_moved(world, node, each) for each in ("PACS", "PACS 2", "other")] == [0, 0, 0xA801]


def remote_by_url(world: World) -> None:
    """A DICOMweb service is asked in the place of an application entity, and shown the token."""
    made = world.folder / "token"
    made.write_text("file")
    made.chmod(0o600)
    ways = {
        "token_file": ('token_file = "token"', "file"),
        "token_command": ('token_command = "echo command"', "command"),
        "token_variable": ('token_variable = "A_TOKEN"', "variable"),
    }
    with web(lambda asked: Says(403)) as server:
        lines = "".join(
            f'[remotes.{name.upper()}]\nurl = "{server.url}"\n{line}\n' for name, (line, _) in ways.items()
        )
        node = world.node(lines, environment={**TOOL_ENVIRONMENT, "A_TOKEN": "variable"})
        with Peer(node.address) as peer:
            assert one(peer, CT) == 0
            study = dcmread(CT).StudyInstanceUID
            for name, (_, token) in ways.items():
                with pytest.raises(ServiceRefusal):
                    list(peer.move(name.upper(), "study", StudyInstanceUID=study))
                assert server.asked[-1].headers["Authorization"] == f"Bearer {token}"


def remote_by_tls(world: World) -> None:
    """It is trusted by ``ca``, and shown the certificate of the node."""
    made = world.certificates
    (world.folder / "strange").mkdir()
    strange = make_certificates(world.folder / "strange")
    shown = ServerCertificate(
        str(made.certificate), str(made.key), None, str(made.authority), ssl.CERT_REQUIRED
    )
    own = f'tls.certificate = "{made.of("ct1")}"\n'
    with receiving(world, tls=shown.context()) as there:
        where = f'[remotes.PACS]\nhost = "localhost"\nport = {there.address[1]}\ntls = true\n'
        node = world.node(f'{own}{where}ca = "{made.authority}"')
        with Peer(node.address, tls=world.client()) as peer:
            assert one(peer, CT) == 0
            study = dcmread(CT).StudyInstanceUID
            assert list(peer.move("PACS", "study", StudyInstanceUID=study))[-1].status == 0
            (node.folder / "node.toml").write_text(f'{own}{where}ca = "{strange.authority}"')
            node.process.send_signal(signal.SIGHUP)
            node.wait_for("was read again; changed: remotes")
            with pytest.raises(ServiceRefusal):
                list(peer.move("PACS", "study", StudyInstanceUID=study))
        node.wait_for("certificate is not trusted")


def _rule(world: World, content: str) -> Configured:
    return world.node(f"[[access]]\n{content}")


def title_of_a_rule(world: World) -> None:
    node = _rule(world, 'title = "CT1"\nallow = ["echo"]\n[[access]]\ntitle = "RÖNTGEN"\nallow = ["echo"]')
    associate(node, calling="CT1").release()
    assert rejection(associate(node, calling="CT2")) == (1, 1, 3)
    for title, kind in (("RÖNTGEN", b"\2"), ("RONTGEN", b"\3")):
        with RawPeer.connect(node.port) as peer:
            request = bytearray(request_pdu())
            request[26:42] = title.encode().ljust(16)
            peer.send(bytes(request))
            assert peer.read_pdu()[:1] == kind


def address_of_a_rule(world: World) -> None:
    node = _rule(world, 'address = "127.0.0.2"\nallow = ["echo"]')
    associate(node, bind_address=("127.0.0.2", 0)).release()
    assert rejection(associate(node)) == (1, 1, 3)


def certificate_of_a_rule(world: World) -> None:
    content = _tls(world, 'tls.client_certificate = "optional"\n[[access]]\n')
    node = world.node(f'{content}certificate = "ct1.hospital.example"\nallow = ["echo"]')
    associate(node, tls_args=(world.client("ct1"), "localhost")).release()
    assert rejection(associate(node, tls_args=(world.client("ct2"), "localhost"))) == (1, 1, 3)
    assert rejection(associate(node, tls_args=(world.client(), "localhost"))) == (1, 1, 3)


def allowed_by_a_rule(world: World) -> None:
    node = _rule(world, 'title = "A"\nallow = ["echo"]\n[[access]]\nallow = ["store"]')
    for calling, accepted in (("A", Verification), ("B", CTImageStorage)):
        association = associate(node, calling=calling)
        assert [each.abstract_syntax for each in association.accepted_contexts] == [accepted]
        assert [each.result for each in association.rejected_contexts] == [1]
        association.release()


EFFECTS: dict[str, Callable[[World], None]] = {
    "storage.folder": folder,
    "storage.database": database,
    "storage.on_conflict": on_conflict,
    "storage.strict": strict,
    "storage.accept_private": accept_private,
    "server.address": address,
    "server.port": port,
    "server.allow_public": allow_public,
    "server.ae_titles": ae_titles,
    "server.any_called_title": any_called_title,
    "server.workers": workers,
    "server.drain": drain,
    "limits.associations": associations,
    "limits.association_timeout": association_timeout,
    "limits.message_timeout": message_timeout,
    "limits.idle_timeout": idle_timeout,
    "limits.window": window,
    "limits.pdu_excess": pdu_excess,
    "queries.max_matches": max_matches,
    "queries.always": always,
    "queries.never": never,
    "queries.keep_keys": keep_keys,
    "retrieval.destinations": destinations,
    "retrieval.jobs": jobs,
    "retrieval.decompress": decompress,
    "deletion.keep": keep,
    "deletion.interval": interval,
    "deletion.quiet": quiet,
    "retention.name": name_of_a_retention_rule,
    "retention.after": after,
    "retention.since": since,
    "retention.free": free,
    "retention.titles": titles,
    "retention.modalities": modalities,
    "retention.institutions": institutions,
    "retention.require": require,
    "retention.keep": keep_of_a_rule,
    "tls.certificate": certificate,
    "tls.key": key,
    "tls.passphrase": passphrase,
    "tls.passphrase_file": passphrase_file,
    "tls.client_ca": client_ca,
    "tls.client_certificate": client_certificate,
    "logging.level": level,
    "logging.format": format,
    "logging.identifiers": identifiers,
    "web.listen": web_listen,
    "web.allow_public": web_allow_public,
    "web.allow_delete": web_allow_delete,
    "web.origins": web_origins,
    "web.hosts": web_hosts,
    "web.tls": web_tls,
    "web.users": web_users,
    "web.session": web_session,
    "web.proxies": web_proxies,
    "web.user_header": web_user_header,
    "web.viewer": web_viewer,
    "audit.enabled": audit_enabled,
    "audit.keep": audit_keep,
    "audit.file": audit_file,
    "audit.syslog": audit_syslog,
    "audit.syslog_ca": audit_syslog,
    "audit.syslog_certificate": audit_syslog,
    "audit.syslog_key": audit_syslog,
    "watch.port": watch_port,
    "watch.address": watch_address,
    "watch.allow_public": watch_allow_public,
    "watch.disk_reserve": disk_reserve,
    "watch.certificate_days": certificate_days,
    "remotes.url": remote_by_url,
    "remotes.token_file": remote_by_url,
    "remotes.token_variable": remote_by_url,
    "remotes.token_command": remote_by_url,
    "remotes.host": remote,
    "remotes.port": remote,
    "remotes.ae_title": remote,
    "remotes.tls": remote_by_tls,
    "remotes.ca": remote_by_tls,
    "access.title": title_of_a_rule,
    "access.address": address_of_a_rule,
    "access.certificate": certificate_of_a_rule,
    "access.allow": allowed_by_a_rule,
}


def test_each_key_has_a_row() -> None:
    known = {each.name for each in (*SETTINGS, *REMOTE_SETTINGS, *RULE_SETTINGS, *RETENTION_SETTINGS)}
    # What those are told who call a remote, tests/cli/test_remotes.py shows.
    assert set(EFFECTS) == known - FOR_CALLERS
    assert {each.partition(".")[0] for each in known} >= set(MANY)


@pytest.mark.parametrize("name", EFFECTS)
def test_a_key_does_what_its_help_says(world: World, name: str) -> None:
    EFFECTS[name](world)
