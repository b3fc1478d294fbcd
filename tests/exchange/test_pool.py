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
