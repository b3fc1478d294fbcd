"""One association in several threads, and requests inside of requests: each gets its own answer, and nothing hangs.

Named after the issues of pynetdicom in which that went wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.dataset import Dataset
from tests.associations import associated, ct_image, match, query, serving_ae
from tests.scripted import Arrived, Scp
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    raw_server,
)
from tests.support import wait_until

from dicomnet import build_context, build_role, evt
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Event

# What a test waits for a thread, in seconds; far more than it needs.
PATIENCE = 20.0
PENDING = 0xFF00


def echo_the_name(event: Event) -> Iterator[tuple[int, Dataset]]:
    """Three matches that have the name that was asked for."""
    for number in range(3):
        yield PENDING, match(f"{event.identifier.PatientName}^{number}")


def store_by_number(event: Event) -> int:
    """A status that tells which object it was."""
    return 0xB000 + int(event.request.AffectedSOPInstanceUID.rpartition(".")[2])


HANDLERS = [(evt.EVT_C_FIND, echo_the_name), (evt.EVT_C_STORE, store_by_number)]


def find(assoc: Association, name: str, msg_id: int = 1) -> list[str]:
    asked = query()
    asked.PatientName = name
    return [
        str(found.PatientName) for _, found in assoc.send_c_find(asked, PATIENT_ROOT_FIND, msg_id) if found
    ]


def numbered(number: int, size: int = 0) -> Dataset:
    image = ct_image(size)
    image.SOPInstanceUID = f"1.2.3.{number}"
    return image


def expected(name: str) -> list[str]:
    return [f"{name}^{number}" for number in range(3)]


@pytest.mark.parametrize("same_ids", [True, False])
def test_137_one_association_in_many_threads(same_ids: bool) -> None:
    """137: associations were not thread-safe. Also where all threads use the default message ID."""
    with serving_ae(HANDLERS) as server, associated(server) as assoc:
        begin = threading.Barrier(6)

        def work(thread: int) -> None:
            begin.wait(PATIENCE)
            for turn in range(12):
                number = thread * 100 + turn
                msg_id = 1 if same_ids else number + 1
                if turn % 3 == 0:
                    assert assoc.send_c_echo(msg_id).Status == 0
                elif turn % 3 == 1:
                    assert assoc.send_c_store(numbered(number, 50_000), msg_id).Status == 0xB000 + number
                else:
                    assert find(assoc, f"N{number}", msg_id) == expected(f"N{number}")

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(work, thread) for thread in range(6)]:
                done.result(PATIENCE)
        assert assoc.is_established
        assoc.release()
        assert assoc.is_released


def test_435_handlers_of_many_associations_share_one() -> None:
    """435: a store SCP whose handlers forward what they receive raced in the state of associations."""
    forwarded: list[str] = []

    def keep(event: Event) -> int:
        forwarded.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    with serving_ae([(evt.EVT_C_STORE, keep)]) as final, associated(final) as onward:

        def forward(event: Event) -> int:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            return int(onward.send_c_store(dataset).Status)

        with serving_ae([(evt.EVT_C_STORE, forward)]) as server:

            def send(thread: int) -> None:
                with associated(server) as assoc:
                    for turn in range(8):
                        assert assoc.send_c_store(numbered(thread * 100 + turn)).Status == 0
                    assoc.release()

            with ThreadPoolExecutor(5) as pool:
                for done in [pool.submit(send, thread) for thread in range(5)]:
                    done.result(PATIENCE)
    assert sorted(forwarded) == sorted(
        f"1.2.3.{thread * 100 + turn}" for thread in range(5) for turn in range(8)
    )


def test_596_two_operations_with_many_responses_at_once() -> None:
    """596: of two C-MOVEs in two threads the second got no valid response."""
    with serving_ae(HANDLERS) as server, associated(server) as assoc:
        both = threading.Barrier(2)

        def work(name: str, msg_id: int) -> list[str]:
            asked = query()
            asked.PatientName = name
            responses = assoc.send_c_find(asked, PATIENT_ROOT_FIND, msg_id)
            both.wait(PATIENCE)  # Both requests are out before either reads its matches.
            return [str(found.PatientName) for _, found in responses if found]

        with ThreadPoolExecutor(2) as pool:
            results = [pool.submit(work, name, msg_id) for name, msg_id in (("A", 1), ("B", 2))]
            assert [done.result(PATIENCE) for done in results] == [expected("A"), expected("B")]


@pytest.mark.parametrize("msg_id", [1, 2])
def test_536_requests_inside_a_query(msg_id: int) -> None:
    """536: a request inside a loop over matches led to an endless loop; also with the same message ID."""
    with serving_ae(HANDLERS) as server, associated(server) as assoc:
        seen = []
        asked = query()
        asked.PatientName = "Outer"
        for status, outer in assoc.send_c_find(asked, PATIENT_ROOT_FIND):
            if outer is None:
                assert status.Status == 0
                continue
            inner = find(assoc, str(outer.PatientName), msg_id)
            assert assoc.send_c_store(numbered(7), msg_id).Status == 0xB007
            assert assoc.send_c_echo(msg_id).Status == 0
            seen.append((str(outer.PatientName), inner))
        assert seen == [(name, expected(name)) for name in expected("Outer")]


def test_536_queries_three_deep() -> None:
    with serving_ae(HANDLERS) as server, associated(server) as assoc:
        count = 0
        for _, first in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            for _, second in assoc.send_c_find(first or query(), PATIENT_ROOT_FIND):
                count += len(find(assoc, str(second.PatientName) if second else "Last"))
        assert count == 4 * 4 * 3


@pytest.mark.parametrize("where", ["handler", "thread"])
def test_553_a_query_is_cancelled_from_elsewhere(where: str) -> None:
    """553: a C-CANCEL from a handler, or another thread, while an operation goes on."""
    cancelled = threading.Event()

    def endless(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        yield PENDING, match("First")
        assert cancelled.wait(PATIENCE)
        wait_until(lambda: event.is_cancelled)
        yield 0xFE00, None

    with serving_ae([(evt.EVT_C_FIND, endless)]) as server, associated(server) as assoc:

        def cancel(event: Event | None = None) -> None:
            if not cancelled.is_set():
                assoc.send_c_cancel(5, query_model=PATIENT_ROOT_FIND)
                cancelled.set()

        thread = threading.Thread(target=cancel)
        statuses = []
        for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND, 5):
            statuses.append(status.Status)
            if where == "thread" and not cancelled.is_set():
                thread.start()
                thread.join(PATIENCE)
            elif where == "handler":
                assoc.bind(evt.EVT_DIMSE_RECV, cancel)
                cancel()
        assert statuses == [PENDING, 0xFE00]
        assert assoc.send_c_echo().Status == 0


def test_553_a_cancel_from_a_handler_that_performs_a_request() -> None:
    """The peer sends us a C-STORE on the association of our query, and its handler cancels the query."""
    done = threading.Event()

    def find_and_push(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        yield PENDING, match("First")
        status = event.assoc.send_c_store(ct_image(), 77)
        assert status.Status == 0xA700
        done.set()
        wait_until(lambda: event.is_cancelled)
        yield 0xFE00, None

    def refuse(event: Event) -> int:
        event.assoc.send_c_cancel(9, query_model=PATIENT_ROOT_FIND)
        return 0xA700

    supported = [build_context(uid) for uid in (CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)]
    supported[0].scu_role = supported[0].scp_role = True
    with serving_ae([(evt.EVT_C_FIND, find_and_push)], uids=[], supported_contexts=supported) as server:
        roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
        with associated(server, [(evt.EVT_C_STORE, refuse)], ext_neg=roles) as assoc:
            statuses = [status.Status for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND, 9)]
            assert statuses == [PENDING, 0xFE00]
    assert done.is_set()


@pytest.mark.parametrize("name", ["EVT_DIMSE_RECV", "EVT_PDU_RECV", "EVT_DATA_RECV", "EVT_DIMSE_SENT"])
def test_a_request_from_a_notification_is_answered_or_refused_at_once(name: str) -> None:
    """It cannot be answered while the bytes that it is told of are read; it never hangs."""
    outcomes: list[object] = []

    def ask(event: Event) -> None:
        event.assoc.unbind(evt.EVENTS[name], ask)
        try:
            outcomes.append(event.assoc.send_c_echo(99).Status)
        except RuntimeError as error:
            outcomes.append(error)

    with serving_ae() as server, associated(server) as assoc:
        assoc.bind(evt.EVENTS[name], ask)
        thread = threading.Thread(target=assoc.send_c_echo)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert len(outcomes) == 1
        assert isinstance(outcomes[0], RuntimeError) or outcomes[0] == 0
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("end", ["release", "abort"])
def test_an_association_ends_while_others_use_it(end: str) -> None:
    """Every thread gets an answer, an empty status, or an error at once."""
    with serving_ae(HANDLERS) as server, associated(server) as assoc:
        running = threading.Barrier(4)

        def work() -> str:
            running.wait(PATIENCE)
            try:
                while assoc.send_c_echo():
                    pass
            except RuntimeError:
                return "refused"
            return "empty"

        with ThreadPoolExecutor(3) as pool:
            results = [pool.submit(work) for _ in range(3)]
            running.wait(PATIENCE)
            getattr(assoc, end)()
            assert all(done.result(PATIENCE) in ("refused", "empty") for done in results)
        assert assoc.is_released if end == "release" else assoc.is_aborted


def test_a_thread_that_waits_for_its_turn_is_not_kept_longer_than_the_time_out() -> None:
    """While one thread waits for a peer that says nothing, another one gets an empty status in time."""
    never: Callable[[Arrived], bytes | None] = lambda request: b""  # noqa: E731
    scp = Scp(never)
    with raw_server(scp.serve) as port:
        with associated(
            port, contexts=[build_context(VERIFICATION, IMPLICIT_VR_LE)], properties={"dimse_timeout": 0.5}
        ) as assoc:
            with ThreadPoolExecutor(2) as pool:
                results = [pool.submit(assoc.send_c_echo) for _ in range(2)]
                for done in results:
                    try:
                        assert not done.result(PATIENCE)
                    except RuntimeError:
                        assert not assoc.is_established
        scp.end()
