"""Cells of CSV files that people open in spreadsheets."""

from typing import TypeVar

T = TypeVar("T")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a cell that begins so is a formula to a spreadsheet


def cell(value: T) -> T | str:
    """A text that a spreadsheet would run is marked as text (OWASP, CSV injection); all else stays as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
