"""`frozen` and `mutable` beside `dataclasses`, which say what is right."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from dicomnet.values import field, frozen, mutable, replace


@frozen
class Point:
    kind: ClassVar[str] = "point"

    x: int
    y: int = 2
    label: str = field(default="", compare=False, repr=False)
    marks: list[int] = field(default_factory=list)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


@dataclasses.dataclass(frozen=True, slots=True)
class Oracle:
    kind: ClassVar[str] = "point"

    x: int
    y: int = 2
    label: str = dataclasses.field(default="", compare=False, repr=False)
    marks: list[int] = dataclasses.field(default_factory=list)
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


@frozen
class Pair(Point):
    other: int = 0


@mutable
class Counter:
    count: int = 0
    names: list[str] = field(default_factory=list)


CALLS: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {
    "positions": ((1, 5), {}),
    "defaults": ((1,), {}),
    "keywords": ((), {"x": 3, "marks": [1], "label": "here"}),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_instance_is_that_of_a_dataclass(name: str) -> None:
    args, kwargs = CALLS[name]
    ours, theirs = Point(*args, **kwargs), Oracle(*args, **kwargs)  # type: ignore[arg-type]
    assert [getattr(ours, each.name) for each in dataclasses.fields(Oracle)] == [
        getattr(theirs, each.name) for each in dataclasses.fields(Oracle)
    ]
    assert repr(ours) == repr(theirs).replace("Oracle", "Point")
    assert Point.__match_args__ == Oracle.__match_args__
    assert ours.kind == "point"
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, "", [], 5), {}), ((1,), {"z": 1}), ((1,), {"total": 3})]
)
def test_what_a_dataclass_refuses_is_refused(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    for made in (Oracle, Point):
        with pytest.raises(TypeError):
            made(*args, **kwargs)  # type: ignore[arg-type]


def test_the_first_instance_is_like_those_behind_it() -> None:
    """`__init__` is compiled when the first one is made, and once only."""

    @mutable
    class Few:
        x: int
        y: int = 2
        marks: list[int] = field(default_factory=list)
        later: int = field(init=False)

    @frozen
    class FewFrozen:
        x: int
        y: int = 2
        marks: list[int] = field(default_factory=list)
        total: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.x + self.y)

    wrong: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((), {}),
        ((1, 2, [], 4, 5), {}),
        ((1,), {"x": 1}),
        ((1,), {"later": 1}),
        ((1,), {"total": 1}),
    ]
    for made in (Few, FewFrozen):
        inits = set()
        for number in range(40):
            first, second = made(number), made(x=number, y=3, marks=[number])
            assert (first.x, first.y, first.marks) == (number, 2, [])
            assert (second.x, second.y, second.marks) == (number, 3, [number])
            assert made(1).marks is not made(1).marks
            inits.add(made.__init__)
        assert len(inits) == 1
    assert FewFrozen(1).total == 3
    for args, kwargs in wrong:
        # Each class is new: what is refused is refused from the first instance on.
        again: Any = mutable(type("Again", (), {"__annotations__": {"x": "int", "y": "int"}, "y": 2}))
        with pytest.raises(TypeError):
            again(*args, **kwargs)


def test_equality_is_that_of_the_compared_fields_and_the_class() -> None:
    assert Point(1, label="a") == Point(1, label="b")
    assert Point(1) != Point(2)
    assert Point(1) != Pair(1)


def test_a_default_is_made_anew_for_each() -> None:
    assert Point(1).marks is not Point(1).marks
    assert Counter().names is not Counter().names


def test_equal_instances_hash_alike() -> None:
    @frozen
    class Name:
        first: str
        last: str = field(compare=False)

    assert hash(Name("a", "b")) == hash(Name("a", "c"))
    assert len({Name("a", "b"), Name("a", "c"), Name("b", "b")}) == 2


def test_frozen_fields_can_neither_be_set_nor_deleted() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="x of Point cannot be set"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="x of Point cannot be deleted"):
        del point.x
    assert point.x == 1


def test_a_subclass_has_the_fields_of_both() -> None:
    pair = Pair(1, 2, "", [], 7)
    assert (pair.x, pair.total, pair.other) == (1, 3, 7)
    assert repr(pair) == "Pair(x=1, y=2, marks=[], total=3, other=7)"
    # The other order: the subclass is made first.
    assert (Pair(4).x, Point(4).x) == (4, 4)


def test_mutable_instances_are_themselves_only() -> None:
    one, other = Counter(), Counter()
    one.count += 1
    assert (one.count, other.count) == (1, 0)
    assert one != other
    assert len({one, other}) == 2
    with pytest.raises(AttributeError):
        one.unknown = 1  # type: ignore[attr-defined]


def test_replace_changes_what_is_said_and_computes_the_rest() -> None:
    changed = replace(Point(1, 2, "here"), x=10)
    assert (changed.x, changed.y, changed.label, changed.total) == (10, 2, "here", 12)


def test_copies_and_pickles_are_equal() -> None:
    point = Point(1, 2, "here", [1])
    for copied in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert copied == point
        assert copied.label == "here"
        assert copied is not point
    assert copy.deepcopy(point).marks is not point.marks
