"""`Peer.worklist` in both faces, by DCMTK's wlmscpfs."""

from __future__ import annotations

import asyncio

from tests.cli.test_worklist import worklist as worklist

from dicomnet import Peer, aio


def test_steps_are_found_by_keys_inside_and_outside_of_their_sequence(worklist: str) -> None:
    with Peer(worklist) as peer:
        everything = list(peer.worklist())
        assert len(everything) > 1
        step = everything[0].ScheduledProcedureStepSequence[0]
        same = list(peer.worklist(Modality=step.Modality, PatientName=str(everything[0].PatientName)))
        inside = list(peer.worklist(ScheduledProcedureStepSequence={"Modality": step.Modality}))
    assert everything[0] in same
    assert {str(each.ScheduledProcedureStepSequence[0].Modality) for each in inside} == {str(step.Modality)}
    assert 0 < len(inside) < len(everything)

    async def main() -> int:
        async with aio.Peer(worklist) as peer:
            return len([each async for each in peer.worklist(Modality=str(step.Modality))])

    assert asyncio.run(main()) == len(inside)
