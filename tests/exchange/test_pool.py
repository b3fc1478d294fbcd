"""The pool of a peer's associations, which are strings here."""

from __future__ import annotations

from dicomnet.exchange.pool import Pool


def test_a_pool_keeps_one_idle_association() -> None:
    pool: Pool[str] = Pool()
    first, second = (("1", ("2",)),), (("3", ("4",)),)
    for link in ("a", "b"):
        pool.add(link)
    assert pool.take(first) is None
    assert pool.give_back(first, "a") == []
    assert pool.give_back(second, "b") == ["a"]
    assert pool.take(second) == "b"
    pool.add("c")
    assert sorted(pool.clear()) == ["b", "c"]
    # What was in use when all were ended is not kept.
    assert pool.give_back(second, "b") == ["b"]
    assert pool.clear() == []


def test_an_association_that_nothing_was_answered_on_takes_no_place_of_another() -> None:
    """The peer may bear only the other one: what was left to send was sent on this one, and failed."""
    pool: Pool[str] = Pool()
    proposal = (("1", ("2",)),)
    for link in ("works", "new", "later"):
        pool.add(link)
    assert pool.give_back(proposal, "works") == []
    assert pool.give_back(proposal, "new", is_proven=False) == ["new"]
    assert pool.take(proposal) == "works"
    # It is kept where there is no other.
    assert pool.give_back(proposal, "later", is_proven=False) == []
    assert pool.take(proposal) == "later"
    assert sorted(pool.clear()) == ["later", "works"]
