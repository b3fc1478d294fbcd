"""Reading the pages of a node, and the metrics in them by the parsers of prometheus_client."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.settings.nodes import Configured

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
_SAID = re.compile(r"health and metrics: http://127\.0\.0\.1:(\d+)\n")
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def port_of(node: Configured) -> int:
    """The port of the pages of a node that runs as a command."""
    node.wait_for("health and metrics: ")
    found = _SAID.search(node.said)
    assert found is not None
    return int(found[1])


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    """The response to a request, and its body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def health(port: int, page: str = "/health") -> tuple[int, dict[str, Any]]:
    """The status of a page about health, and what it says."""
    response, body = ask(port, page)
    found: dict[str, Any] = json.loads(body)
    return response.status, found


def samples_of(body: str, *, is_open: bool = False) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples by name and labels; none is there twice, which the parsers do not notice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in (parse_open_metrics if is_open else parse_text)(body):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def metrics(port: int) -> Samples:
    """The metrics of a node."""
    response, body = ask(port, "/metrics")
    assert response.status == 200
    return samples_of(body.decode())


def value(samples: Samples, name: str, **labels: str) -> float:
    """One of them."""
    return samples[f"dicomnet_{name}", frozenset(labels.items())]
