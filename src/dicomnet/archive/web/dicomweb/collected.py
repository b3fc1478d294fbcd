"""What all objects of a resource have of one kind, such as pixel data, as the parts of one response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

from starlette.requests import Request
from starlette.responses import Response

from ....encoding.transfer_syntaxes import Transcoding
from ....errors import UnusableObject
from ....values import replace
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.file_parts import FilePart
from ..http.multipart import Part, boundary_of, content_type, written
from ..http.negotiation import MediaRange, alternatives, ranges_of
from ..http.problems import Problem
from ..http.streams import streamed
from ..resources import Reference
from .located import located, may_lack, what_lacks
from .pixels import OCTETS, Form, NoPixelData, form_of, offers_of
from .unusable import UNUSABLE

PartsOf = Callable[[StoredInstance, Form | None], Iterator[Part]]
"""From an object, and the form in which its frames are given out, to its parts; the form is None if in none."""

_UNREADABLE = (Problem, UnusableObject, OSError)


class Collection:
    """The objects of a resource, and the forms in which their frames are given out.

    Parameters
    ----------
    request
        What is asked.
    holdings, reference
        The resource.
    transcoding
        Whether objects may be decompressed.
    check
        Looks whether an object whose file is there can be given out, so that it is known before the response begins.
        Raises NoPixelData where it has nothing that is asked for, and Problem, UnusableObject or OSError where it
        cannot be given.

    Attributes
    ----------
    ranges
        What is accepted.
    forms
        By the UID of a transfer syntax; without those in which nothing is accepted.
    refusal
        Why there is no form for one of them; None if there are all.

    Raises
    ------
    Problem
        With status 404 or 410 if there is no such resource, or nothing in it can be given out.
    """

    def __init__(
        self,
        request: Request,
        holdings: Holdings,
        reference: Reference,
        transcoding: Transcoding,
        check: Callable[[StoredInstance], object],
    ) -> None:
        self._request = request
        found = located(holdings, reference)
        self._objects: list[StoredInstance] = []
        self._count = len(found)
        self._failed = 0
        self._may_lack = may_lack(holdings, reference)
        problem = Problem(404, "nothing in this resource has such data")
        for each in found:
            try:
                if not holdings.storage.has(each.name):
                    raise FileNotFoundError(each.name.instance)
                check(each)
            except NoPixelData:
                continue
            except _UNREADABLE as error:
                self._failed += 1
                problem = _problem(error)
            else:
                self._objects.append(each)
        if not self._objects:
            raise problem
        self.ranges: Sequence[MediaRange] = ranges_of(request)
        self.forms: Mapping[str, Form]
        self.forms, self.refusal = _forms(self._objects, self.ranges, transcoding)
        usable = [each for each in self._objects if UNUSABLE.reason(self._version(each)) is None]
        if usable:
            # Where nothing can be given out, that shows when it is read.
            self._failed += len(self._objects) - len(usable)
            self._objects = usable

    def respond(self, parts_of: PartsOf, *versions: str, is_whole: bool) -> Response:
        """A response with what each object has.

        Objects are read while it is sent; one that cannot be read then leaves it without an end, see `CutOff`.

        Parameters
        ----------
        parts_of
            Gives the parts of an object. Raises Problem, UnusableObject or OSError where it cannot be read.
        *versions
            What the response depends on besides the objects and their forms.
        is_whole
            Whether nothing is left out because it is not accepted.

        Raises
        ------
        Problem
            With status 404 if there is nothing to give out.
        """
        headers = {"cache-control": REVALIDATED}
        status, tag = 200, None
        if self._failed or self._may_lack or not is_whole:
            # Some, but not all of it (PS3.18 Table 10.4.3-1).
            status = 206
            reasons = [
                what_lacks(self._failed, self._count) if self._failed or self._may_lack else "",
                "" if is_whole else "what cannot be given as Accept says is left out",
            ]
            headers["warning"] = f'299 - "{"; ".join(filter(None, reasons))}"'
        else:
            tag = entity_tag([*versions, *(self._version(each) for each in self._objects)])
        if tag is not None:
            headers["etag"] = tag
        if is_unchanged(self._request, tag):
            return Response(status_code=304, headers=headers)
        parts = self._parts(parts_of)
        first = next(parts, None)
        if first is None:
            raise Problem(404, "nothing in this resource has such data")
        kind = dict(first.headers).get("Content-Type", OCTETS).partition(";")[0]
        boundary = boundary_of(tag)
        headers["content-type"] = content_type(kind, boundary)
        return streamed(self._request, written(chain((first,), parts), boundary), headers, status)

    def _version(self, found: StoredInstance) -> str | None:
        form = self.forms.get(found.transfer_syntax_uid)
        as_what = "" if form is None else form.content_type
        return None if found.digest is None else f"{found.name} {found.digest} {as_what}"

    def _parts(self, parts_of: PartsOf) -> Iterator[Part]:
        for each in self._objects:
            try:
                for part in parts_of(each, self.forms.get(each.transfer_syntax_uid)):
                    yield replace(part, open=partial(_opened, self._version(each), part.open))
            except _UNREADABLE as error:
                yield Part(each.name.instance, (), None, partial(_unreadable, error))


def _forms(
    objects: Sequence[StoredInstance], ranges: Sequence[MediaRange], transcoding: Transcoding
) -> tuple[dict[str, Form], Problem | None]:
    forms: dict[str, Form] = {}
    refusal = None
    for own in dict.fromkeys(each.transfer_syntax_uid for each in objects):
        try:
            forms[own] = form_of(own, alternatives(ranges, offers_of(own, is_one=False)), transcoding)
        except Problem as problem:
            refusal = problem
    return forms, refusal


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, FileNotFoundError):
        return Problem(404, "the file of this instance is not there any more")
    return Problem(404, f"this instance cannot be given out: {error}")


def _opened(
    version: str | None, begin: Callable[[], Iterator[bytes | FilePart]]
) -> Iterator[bytes | FilePart]:
    return UNUSABLE.watched(version, begin())


def _unreadable(error: Exception) -> Iterator[bytes]:
    raise UnusableObject(error.sentence if isinstance(error, Problem) else str(error)) from error
