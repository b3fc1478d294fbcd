"""What is wrong with a request, and the one place where that becomes a response."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from ....dimse.datasets import OUT_OF_RESOURCES
from ....errors import DatabaseFailure, ServiceRefusal

_log = logging.getLogger(__name__)

# Of statuses that Starlette itself answers with.
_SENTENCES = {
    404: "there is nothing at this address",
    405: "this method is not allowed here",
}
RETRY = {"retry-after": "5"}
"""How long one who is answered with 503 may wait before he asks again, in seconds."""


class CutOff(Exception):
    """A response that lacks something which was not known to be missing when it began.

    Whoever raises it while a response is streamed has the connection closed before the end, so that the client does not
    take for complete what is not.
    """


class Problem(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status
        The status code of HTTP (PS3.18 section 8.5).
    sentence
        What was wrong, and what to do; for the client, so without paths of ours and without patients' data.
    headers
        What the response has besides.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status}: {self.sentence}"


def problem_of(error: Exception) -> Problem:
    """The problem that an error is to the client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(
            error.status_code, _SENTENCES.get(error.status_code, error.detail), error.headers or None
        )
    if isinstance(error, ServiceRefusal):
        # What the DIMSE services refuse with is out of resources, or something that the requestor can change.
        if error.status == OUT_OF_RESOURCES:
            return Problem(503, error.comment or "the archive cannot answer now", RETRY)
        return Problem(400, error.comment or f"the request is refused with status 0x{error.status:04X}")
    if isinstance(error, DatabaseFailure):
        _log.error("a request by HTTP cannot be answered: %s", error)
        return Problem(503, "the database of the archive cannot be read now; try later", RETRY)
    if isinstance(error, OSError):
        _log.error("a request by HTTP cannot be answered: %s", error)
        return Problem(503, "a file of the archive cannot be read or written now; try later", RETRY)
    _log.error("a request by HTTP failed", exc_info=error)
    return Problem(500, "the archive could not answer because of an error of its own; its log says more")


def problem_response(error: Exception) -> Response:
    """The response to a request that led to an error."""
    problem = problem_of(error)
    return PlainTextResponse(f"{problem.sentence}\n", problem.status, headers=problem.headers)
