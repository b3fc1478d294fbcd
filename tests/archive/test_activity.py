"""What goes on in a node, in memory that its processes share."""

from __future__ import annotations

import os
from itertools import count

from dicomnet.archive.activity import Activity


def test_what_is_open_and_what_was_refused() -> None:
    activity = Activity(1, clock=count(1.0).__next__)
    first = activity.opened("A", "NODE", "10.0.0.1")
    second = activity.opened("B", "NODE", "10.0.0.2")
    activity.refused("it is full", calling="C", instance="1.2.3")
    assert [each.calling for each in activity.open] == ["B", "A"]
    assert first is not None
    assert second is not None
    activity.closed(first)
    assert [each.calling for each in activity.open] == ["B"]
    assert [(each.calling, each.instance, each.reason) for each in activity.refusals] == [
        ("C", "1.2.3", "it is full")
    ]


def test_there_may_be_more_than_are_shown() -> None:
    activity = Activity(1, clock=count(1.0).__next__)
    numbers = [activity.opened(f"A{number}", "", "") for number in range(600)]
    assert len(activity.open) == 512
    assert numbers[-1] is None
    for number in range(300):
        activity.refused(f"reason {number}")
    assert [each.reason for each in activity.refusals] == [
        f"reason {number}" for number in range(299, 171, -1)
    ]


def test_texts_that_are_too_long_or_no_text() -> None:
    activity = Activity(1)
    activity.refused("ß" * 1000, calling="\udce4" * 100, instance="1" * 1000)
    (row,) = activity.refusals
    assert row.instance == "1" * 64
    assert row.reason.startswith("ß" * 100)


def test_processes_see_each_other_and_one_in_the_place_of_another_begins_anew() -> None:
    activity = Activity(2)
    activity.opened("PARENT", "", "")
    child = os.fork()
    if not child:
        activity.be_process(1)
        activity.opened("CHILD", "", "")
        activity.refused("by the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert {each.calling for each in activity.open} == {"PARENT", "CHILD"}
    assert [each.reason for each in activity.refusals] == ["by the child"]
    activity.be_process(1)
    assert {each.calling for each in activity.open} == {"PARENT"}
