"""Values of attributes in words that cannot be mistaken."""

from __future__ import annotations

import pytest

from dicomnet.archive.web.page.finding import date_range, name_key, text_key
from dicomnet.archive.web.page.words import date_of, name_of, size_of, span_of, time_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Doe^Jane", "DOE, Jane"),
        ("Doe^Jane^Mary^Dr.^Jr.", "DOE, Jane Mary (Dr., Jr.)"),
        ("Doe", "DOE"),
        ("^Jane", "no family name, Jane"),
        ("", "no name"),
        ("^^^^", "no name"),
        # The examples of PS3.5 sections H.3 and I.2.
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "YAMADA, Tarou (山田 太郎) (やまだ たろう)"),
        ("=山田^太郎", "山田 太郎"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "HONG, Gildong (洪 吉洞) (홍 길동)"),
        ("Adams^John\\Other^Name", "ADAMS, John"),
    ],
)
def test_a_name(text: str, said: str) -> None:
    assert str(name_of(text)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [("20261129", "2026-11-29"), ("2026.11.29", "2026-11-29"), ("", ""), ("29.11.26", "29.11.26")],
)
def test_a_date(text: str, said: str) -> None:
    assert date_of(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [("140530.123456", "14:05:30"), ("1405", "14:05"), ("14:05:30", "14:05:30"), ("14", "14")],
)
def test_a_time(text: str, said: str) -> None:
    assert time_of(text) == said


@pytest.mark.parametrize(
    ("length", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (999_999, "1.0 MB"), (2.5e11, "250 GB")],
)
def test_a_size(length: float, said: str) -> None:
    assert size_of(length) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3 * 86_400.0, "3 days"), (86_400, "24 hours"), (90, "90 seconds"), (150, "2 minutes")],
)
def test_a_span(seconds: float, said: str) -> None:
    assert span_of(seconds) == said


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("", ""),
        ("doe", "*doe*"),
        ("do", "do*"),
        ("DOE, Jane", "*DOE*Jane*"),
        ("d?e*", "d?e*"),
        ("a\\b\\c", "*a*b*c*"),
    ],
)
def test_a_key_for_a_name_as_it_is_typed(typed: str, key: str) -> None:
    assert name_key(typed) == key


def test_other_keys_as_they_are_typed() -> None:
    assert text_key("a\\b  c").split("\\") == ["*a b c*", "*A B C*", "*A b c*"]
    assert text_key("THORAX").split("\\") == ["*THORAX*", "*thorax*", "*Thorax*"]
    assert text_key("A119") == "*A119*\\*a119*"
    assert text_key("7") == "7*"
    assert date_range("2026-11-29", "") == "20261129-"
    assert date_range("", "2026-11-29") == "-20261129"
    assert date_range("2026-11-01", "2026-11-29") == "20261101-20261129"
    assert date_range("", "") == ""
