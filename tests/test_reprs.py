"""What public objects say they are: no address in memory, no secret, no pixel."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import dicomnet
from dicomnet import AE, Peer, ReceivedObject, aio
from dicomnet.peers.target import Target, identity_of

PASSCODE = "open sesame"


def test_each_public_class_says_what_its_instances_are() -> None:
    names: list[Any] = [getattr(dicomnet, name) for name in dicomnet.__all__]
    names += [getattr(aio, name) for name in aio.__all__]
    classes = [each for each in names if inspect.isclass(each)]
    assert len(classes) > 10
    assert [each.__name__ for each in classes if each.__repr__ is object.__repr__] == []


def test_what_is_said() -> None:
    assert repr(AE("STATION")) == "<ApplicationEntity STATION>"
    assert repr(Peer("PACS@[::1]:104", calling="US")) == "<Peer PACS@[::1]:104, called by US>"
    received = ReceivedObject("1.2", "1.3", "1.4", b"pixels", "CT1")
    assert "1.3" in repr(received)
    assert "pixels" not in repr(received)

    async def served() -> str:
        server = await aio.serve(("127.0.0.1", 0), ["1.2.840.10008.1.1"], ae_title="HERE")
        async with server:
            return repr(server).partition(":")[0]

    assert asyncio.run(served()) == "<AssociationServer HERE on 127.0.0.1"


def test_no_secret_is_said() -> None:
    peer = Peer("PACS@127.0.0.1:104", user="me", passcode=PASSCODE)
    target = Target(peer.address, identity=identity_of("me", PASSCODE))
    request = peer._request((("1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),), 1)
    said = " ".join(map(repr, (peer, target, request, dicomnet.Timeouts(), peer._target)))
    assert PASSCODE not in said
    assert PASSCODE not in repr(aio.AssociationRequest(("127.0.0.1", 1), request))
    assert PASSCODE not in repr(aio.Acceptance(identity=PASSCODE.encode()))


def test_an_association_says_between_whom_it_is() -> None:
    ae = AE("THERE")
    ae.add_supported_context("1.2.840.10008.1.1")
    server: Any = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        with dicomnet.connect(
            f"THERE@127.0.0.1:{server.server_address[1]}", ["1.2.840.10008.1.1"], calling="US"
        ) as association:
            assert repr(association) == "<ConnectedAssociation of US with THERE, established>"
        assert repr(association).endswith(", released>")
    finally:
        server.shutdown()
