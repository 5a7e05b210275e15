"""Tables as text: numbers rounded, thousands apart, in Markdown."""

import math
from numbers import Integral, Real

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown's pipe syntax, index included."""
    text = formatted(table).reset_index()
    head = [" ".join(map(str, name)) if isinstance(name, tuple) else name for name in text.columns]
    rows = [head, ["---"] * len(head), *text.to_numpy().tolist()]
    lines = (" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows)
    return "".join(f"| {line} |\n" for line in lines)


def formatted(table: pd.DataFrame, decimals: int = 3) -> pd.DataFrame:
    """The table as text: floats rounded, thousands apart in integers, nothing for missing values."""
    return table.astype(object).map(lambda value: format_number(value, decimals))


def format_number(value: object, decimals: int = 3) -> str:
    """One value as text: large numbers without decimals, small ones as "<0.001", nothing for missing ones."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral) or abs(value) >= 1000:
        return f"{value:,.0f}"
    smallest = 10**-decimals
    return f"<{smallest:.{decimals}f}" if 0 < value < smallest / 2 else f"{value:.{decimals}f}"
