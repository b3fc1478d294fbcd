"""Write the tables of docs/configuration.md, and the example in it, from the table of settings."""

from __future__ import annotations

from pathlib import Path

from dicomnet.settings.example import manual

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- begin of the tables -->\n", "<!-- end of the tables -->"


def main() -> None:
    """Write them between the marks."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    PAGE.write_text(f"{before}{begin}\n{manual()}\n{end}{after}")


if __name__ == "__main__":
    main()
