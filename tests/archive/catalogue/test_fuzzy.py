from __future__ import annotations

import pytest

from dicomnet.archive.catalogue.fuzzy import fuzzy_test


@pytest.mark.parametrize(
    ("key", "name", "matches"),
    [
        ("Doe^John", "Doe^John", True),
        ("john doe", "DOE^JOHN^^Dr", True),
        ("Doe", "Doe^John", True),
        ("Doe^John^Q", "Doe^John", False),
        ("Mueller^Jose", "Mueller^José", True),
        ("Muller", "Müller^Uwe", True),
        ("Smyth", "Smith^A", True),
        ("Jonson^Amy", "Johnson^Amy", True),
        ("Jonson^Amy", "Jackson^Amy", False),
        ("Philips", "Fillips^Bob", True),
        ("J^Doe", "Doe^John", True),
        ("X^Doe", "Doe^John", False),
        ("Ann^Ann", "Ann^Lee", False),
        ("O'Brien", "OBrien^Pat", False),
        ("O'Brien", "O Brien^Pat", True),
        ("Smith-Jones", "Jones^Mary^Smith", True),
        ("山田", "Yamada^Tarou=山田^太郎", True),
        ("太郎 山田", "Yamada^Tarou=山田^太郎", True),
        ("山田", "山本^太郎", False),
        ("Yamada=山田", "Yamada^Tarou=山田^太郎", True),
        (
            "Иван Иванов",
            "Иванов^Иван",
            True,
        ),
        ("Иван", "Петров^Пётр", False),
        ("Doe", "", False),
        ("Doe", "^^^", False),
    ],
)
def test_names_that_sound_alike(key: str, name: str, matches: bool) -> None:
    """PS3.4 section C.2.2.2.1.1."""
    assert fuzzy_test(key)(name) is matches
