"""What is counted: that processes count together, and that peers are told apart as long as there is room."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.archive.watch.pages import OPEN_METRICS, samples_of, value

from dicomnet.archive.watch import series
from dicomnet.archive.watch.counts import Counts, Peers
from dicomnet.archive.watch.exposition import Metrics
from dicomnet.archive.watch.probing import Finding, Level, Result
from dicomnet.archive.watch.series import FAMILIES, LENGTH, PEER, PEERS, place

# What `settings.kinds.PEERS_TITLE` allows.
TITLES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=16).filter(
    str.isprintable
)


def test_each_combination_has_a_place_of_its_own() -> None:
    taken: set[int] = set()
    for family in FAMILIES:
        known = [values for values in family.labels.values() if values]
        combinations = [()] if not known else None
        for values in combinations or _product(known):
            for peer in range(PEERS if PEER in family.labels else 1):
                at = place(family, *values, peer=peer)
                places = range(at, at + family.width)
                assert taken.isdisjoint(places)
                taken.update(places)
    assert taken == set(range(LENGTH))


def _product(known: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    from itertools import product

    return list(product(*known))


def test_processes_count_together_and_one_in_the_place_of_another_goes_on() -> None:
    counts = Counts(3)
    at = place(series.MATCHES)
    for number in (1, 2, 1):
        counts.be_process(number)
        counts.add(at, 5)
        counts.opened()
    numbers, _ = counts.totals()
    assert numbers[at] == 15
    assert numbers[place(series.STARTS)] == 3
    # Of the one that was killed, none is open any more.
    assert counts.open == 2
    counts.leave()
    assert counts.open == 1
    assert list(counts.workers) == [0, 1]
    assert counts.workers[0] == 0


def test_peers_beyond_the_room_count_as_others() -> None:
    peers = Peers()
    titles = [f"PEER{number}" for number in range(PEERS + 5)]
    assert peers.adopt(titles) == 6
    assert len(peers.titles) == PEERS
    assert {peers.number_of(title) for title in peers.titles} == set(range(PEERS))
    assert [peers.number_of(title) for title in set(titles) - set(peers.titles)] == [0] * 6
    assert peers.number_of("STRANGER") == 0


def test_a_peer_keeps_its_number() -> None:
    peers = Peers()
    peers.adopt(["B", "A"])
    number = peers.number_of("B")
    peers.adopt(["C"])
    peers.adopt(["A", "B", "AA"])
    assert peers.number_of("B") == number
    assert peers.titles == ("other", "A", "B", "C", "AA")


def test_a_peer_that_is_called_other_is_one_of_the_others() -> None:
    peers = Peers()
    assert peers.adopt(["other", "ANOTHER"]) == 0
    assert peers.number_of("other") == 0
    assert peers.titles == ("other", "ANOTHER")


def test_a_title_counts_in_each_form_in_which_it_may_come() -> None:
    """Titles are read as Latin-1."""
    peers = Peers()
    peers.adopt(["RÖNTGEN"])
    assert peers.number_of("RÖNTGEN".encode().decode("latin-1")) == peers.number_of("RÖNTGEN") == 1


@settings(max_examples=20)
@example(['A "B"', "\\n", "}{=,", "\\", "RÖ NTGEN"])
@given(st.lists(TITLES, max_size=20))
def test_any_title_is_escaped(titles: list[str]) -> None:
    """Read again by the parsers of both formats, labels have the titles of the configuration."""
    counts = Counts(1)
    counts.peers.adopt(titles)
    for title in set(titles):
        counts.add(place(series.ENDED, series.RELEASED, peer=counts.peers.number_of(title)), len(title))
    for accept, is_open in (("", False), (OPEN_METRICS, True)):
        page, kind = Metrics(counts).page([], accept)
        assert kind.startswith(("text/plain", "application/openmetrics-text")[is_open])
        samples = samples_of(page.decode(), is_open=is_open)
        for title in set(titles) - {"other"}:
            assert value(samples, "associations_ended_total", peer=title, result="released") == len(title)


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_both_formats_say_the_same(accept: str) -> None:
    counts = Counts(2)
    counts.memory[place(series.STORE, "success")] = 7
    counts.memory[place(series.STORE, "success") + 3] = 5
    counts.sums[place(series.STORE, "success") + series.STORE.width - 1] = 1.25
    counts.memory[place(series.RETRIEVE, "move", "warning") + len(series.RETRIEVE.bounds)] = 3
    disk = Finding(Level.FAILED, "full", {series.DISK_FREE.name: {"archive": 12.0}})
    page, _ = Metrics(counts).page(
        [Result("disk", disk, 1.5), Result("x", Finding(Level.OK, ""), None)], accept
    )
    samples = samples_of(page.decode(), is_open=bool(accept))
    buckets = {"0.0005": 7, "0.0025": 7, "0.005": 12, "10.0": 12, "+Inf": 12}
    for limit, count in buckets.items():
        assert value(samples, "store_duration_seconds_bucket", status="success", le=limit) == count
    assert value(samples, "store_duration_seconds_count", status="success") == 12
    assert value(samples, "store_duration_seconds_sum", status="success") == 1.25
    assert (
        value(samples, "retrieve_duration_seconds_bucket", operation="move", status="warning", le="3600.0")
        == 0
    )
    assert value(samples, "retrieve_duration_seconds_count", operation="move", status="warning") == 3
    assert value(samples, "disk_free_bytes", folder="archive") == 12
    assert value(samples, "check_status", check="disk") == 2
    assert value(samples, "check_age_seconds", check="disk") == 1.5
    assert ("dicomnet_check_age_seconds", frozenset({("check", "x")})) not in samples
    assert value(samples, "ready") == 0


def test_the_manual_has_each_metric() -> None:
    page = (Path(__file__).parents[3] / "docs" / "watching.md").read_text()
    shown, _ = Metrics(Counts(2)).page([], "")
    for family in parse_text(shown.decode()):
        if not family.name.startswith(("process_", "dicomnet_worker_process_")):
            ends = {"counter": "_total", "gauge": "", "histogram": ""}
            name = family.name.removesuffix("_total") + ends[family.type]
            assert f"`{name}`" in page, name
    for gauge in series.GAUGES:
        assert f"`dicomnet_{gauge.name}`" in page, gauge.name
