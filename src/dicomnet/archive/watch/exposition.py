"""The metrics of a node in the format of Prometheus, or of OpenMetrics for who asks for that."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..._version import __version__
from . import series
from .counts import Counts
from .probing import Result, is_ready
from .series import Family, Gauge

_PREFIX = "dicomnet_"
_OPEN_METRICS = "application/openmetrics-text"


class Metrics:
    """The metrics of a node.

    Parameters
    ----------
    counts
        What it counts.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._process = ProcessCollector(registry=None)

    def page(self, results: Sequence[Result], accept: str) -> tuple[bytes, str]:
        """All of them at this moment, and the type of the content.

        Parameters
        ----------
        results
            Of the checks, with what they measured.
        accept
            What the client takes, as of the header Accept.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Moment(self._families(results)))
        # The rest of the header is not shown to the library, which trips over versions that are none.
        encode, kind = choose_encoder(_OPEN_METRICS if _OPEN_METRICS in accept else "")
        return encode(registry), kind

    def _families(self, results: Sequence[Result]) -> list[Metric]:
        build = {"version": __version__, "python": platform.python_version()}
        return [
            InfoMetricFamily(f"{_PREFIX}build", "What runs here.", build),
            *self._process.collect(),
            *self._workers(),
            *self._counted(),
            *_measured(self._counts, results),
        ]

    def _counted(self) -> Iterator[Metric]:
        numbers, sums = self._counts.totals()
        peers = self._counts.peers.titles
        for family in series.FAMILIES:
            name = _PREFIX + family.name
            labels = tuple(family.labels)
            at = series.place(family, *(values[0] for values in family.labels.values() if values))
            if family.bounds:
                histogram = HistogramMetricFamily(name, family.help, labels=labels)
                for values in family.combinations(peers):
                    buckets = _buckets(family, numbers[at : at + family.width - 1])
                    histogram.add_metric(values, buckets, sums[at + family.width - 1])
                    at += family.width
                yield histogram
                continue
            counter = CounterMetricFamily(name, family.help, labels=labels)
            for values in family.combinations(peers):
                counter.add_metric(values, numbers[at])
                at += family.width
            yield counter

    def _workers(self) -> Iterable[Metric]:
        """What the system tells of each worker process."""
        found: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for number, process in self._counts.workers.items():
            if not process:
                continue
            for metric in ProcessCollector(
                f"{_PREFIX}worker", partial(int, process), registry=None
            ).collect():
                kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
                own = found.setdefault(
                    metric.name, kind(metric.name, metric.documentation, labels=("worker",))
                )
                for sample in metric.samples:
                    own.add_metric((str(number),), sample.value)
        return found.values()


class _Moment(Collector):
    """The metrics of one moment."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _buckets(family: Family, counts: Sequence[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram, each with what is in those before."""
    limits = [*map(str, family.bounds), "+Inf"]
    return list(zip(limits, accumulate(counts), strict=True))


def _measured(counts: Counts, results: Sequence[Result]) -> Iterator[Metric]:
    values: dict[str, dict[str, float]] = {
        series.OPEN.name: {"": counts.open},
        series.READY.name: {"": float(is_ready(results))},
        series.CHECK.name: {each.name: float(each.finding.level) for each in results},
        series.AGE.name: {each.name: each.age for each in results if each.age is not None},
    }
    for each in results:
        values.update({name: dict(measured) for name, measured in each.finding.values.items()})
    for gauge in series.GAUGES:
        if gauge.name in values:
            yield _gauge(gauge, values[gauge.name])


def _gauge(gauge: Gauge, values: dict[str, float]) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(
        _PREFIX + gauge.name, gauge.help, labels=(gauge.label,) if gauge.label else None
    )
    for label, value in values.items():
        metric.add_metric((label,) if gauge.label else (), value)
    return metric
