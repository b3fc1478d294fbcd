"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun, as ``1 object`` and ``2 objects``.

    Parameters
    ----------
    number
        How many.
    noun
        What, in the singular.
    nouns
        The plural, where it does not end with an ``s`` alone.
    """
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"
