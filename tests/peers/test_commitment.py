"""`Peer.commit` in both faces, by a pynetdicom SCP on the same association and on another one."""

from __future__ import annotations

import asyncio

import pytest
from tests.cli.conftest import CT, MR
from tests.cli.test_commit import CT_UID, MR_UID, SCP, all_kept, ct_missing, of_another
from tests.support import free_port

from dicomnet import Peer, aio
from dicomnet.errors import AssociationClosed, DeadlineExceeded, ServiceRefusal
from dicomnet.peers.commitment import Commitment

CLASS = "1.2.840.10008.5.1.4.1.1.2"
FACES = ("blocking", "asyncio")


def committed(face: str, address: str, objects: list[tuple[str, str]], **options: object) -> list[Commitment]:
    if face == "blocking":
        with Peer(address) as peer:
            return list(peer.commit(objects, **options))  # type: ignore[arg-type]

    async def main() -> list[Commitment]:
        async with aio.Peer(address) as peer:
            return [each async for each in peer.commit(objects, **options)]  # type: ignore[arg-type]

    return asyncio.run(main())


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_objects_are_committed_or_not(face: str, is_elsewhere: bool) -> None:
    here = free_port() if is_elsewhere else 0
    listen = ("127.0.0.1", here) if is_elsewhere else None
    with SCP(ct_missing, here=here).running() as address:
        found = committed(face, address, [(CLASS, CT_UID), (CLASS, MR_UID)], listen=listen, wait=20.0)
    assert found == [
        Commitment(CLASS, CT_UID, False, 0x0112, "the peer does not have the object (0x0112)"),
        Commitment(CLASS, MR_UID, True),
    ]


def test_many_are_asked_for_in_several_transactions() -> None:
    here = free_port()
    scp = SCP(all_kept, here=here)
    objects = [(CLASS, f"1.2.3.{number}") for number in range(2500)]
    with scp.running() as address:
        found = committed("blocking", address, objects, listen=("127.0.0.1", here), wait=30.0)
    assert [each.sop_instance_uid for each in found] == [uid for _, uid in objects]
    assert all(each.is_committed for each in found)
    assert [len(each.ReferencedSOPSequence) for each in scp.asked] == [1000, 1000, 500]
    assert len({str(each.TransactionUID) for each in scp.asked}) == 3


@pytest.mark.parametrize("face", FACES)
def test_the_results_of_a_store_are_what_is_asked_for(face: str) -> None:
    scp = SCP(all_kept)
    with scp.running() as address, Peer(address) as peer:
        stored = list(peer.store([CT, MR]))
        assert [each.is_committed for each in peer.commit(stored)] == [True, True]
    classes = {str(item.ReferencedSOPClassUID) for item in scp.asked[0].ReferencedSOPSequence}
    assert classes == {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("scp", "error"),
    [
        (SCP(None), DeadlineExceeded),
        (SCP(of_another), DeadlineExceeded),
        (SCP(None, ends=True), AssociationClosed),
        (SCP(None, status=0x0122), ServiceRefusal),
    ],
)
def test_there_is_no_report(face: str, scp: SCP, error: type[Exception]) -> None:
    with scp.running() as address, pytest.raises(error):
        committed(face, address, [(CLASS, CT_UID)], wait=0.4)
