"""What a requestor and the node have agreed on for queries: SOP Class Extended Negotiation (PS3.4 section C.5.1.1)."""

from __future__ import annotations

from importlib.util import find_spec

from ...values import frozen


@frozen
class QueryOptions:
    """Ways of matching that hold only if both sides have agreed on them, in the order of PS3.4 Table C.5-1.

    Parameters
    ----------
    relational
        The unique keys of the levels above may be left out, or be lists, or have wild cards.
    combined
        The ranges of a date and of its time are one range of moments.
    fuzzy
        Names match if they have the same components in any order, without regard to diacritics, or sound alike.
    timezone
        Dates and times of objects that say their time zone are adjusted to that of the request, if it has one.
    multiframe
        Enhanced multi-frame objects are shown as single frames. It is never agreed on.
    empty
        A key of two quotation marks matches attributes without a value.
    multiple
        Of a key with several values each one must match, not only one of them.
    """

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False
    timezone: bool = False
    multiframe: bool = False
    empty: bool = False
    multiple: bool = False


# Warning: matching has reached the limit of responses (PS3.4 section C.6.4, of Repository Query).
LIMIT_REACHED = 0xB001
NO_OPTIONS = QueryOptions()
# What sounds alike is known to a library that need not be there.
SUPPORTED = QueryOptions(
    relational=True,
    combined=True,
    fuzzy=find_spec("jellyfish") is not None,
    timezone=True,
    empty=True,
    multiple=True,
)


@frozen
class QueryPolicy:
    """What an archive allows and limits in queries.

    Parameters
    ----------
    supported
        What is agreed on with requestors that ask for it.
    always
        What holds for requestors that do not ask, too.
    maximum
        How many matches a query has at most; behind them it ends with the status `LIMIT_REACHED`. None for any number.
    """

    supported: QueryOptions = SUPPORTED
    always: QueryOptions = NO_OPTIONS
    maximum: int | None = None

    def options(self, agreed: QueryOptions) -> QueryOptions:
        """What holds for a requestor with which something was agreed on."""
        return QueryOptions(*(getattr(agreed, name) or getattr(self.always, name) for name in _FIELDS))


_FIELDS = tuple(QueryOptions.__annotations__)


def agree(asked: bytes, supported: QueryOptions = SUPPORTED) -> tuple[QueryOptions, bytes]:
    """Answer a proposal.

    Parameters
    ----------
    asked
        The requestor's service class application information, a byte for each option.
    supported
        What may be agreed on.

    Returns
    -------
    tuple
        What is agreed on, and the acceptor's service class application information, which is as long.
    """
    granted = {
        name: proposed == 1 and getattr(supported, name)
        for name, proposed in zip(_FIELDS, asked, strict=False)
    }
    answer = bytes(granted.values())
    return QueryOptions(**granted), answer + bytes(len(asked) - len(answer))
