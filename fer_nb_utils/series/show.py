"""Figures and tables as the notebooks show them."""

from html import escape
from io import BytesIO

import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
from IPython.display import Image, display

from .tables import formatted


def show_figure(figure: plt.Figure, photographs: bool = False) -> None:
    """Display a figure with its title as alternative text, as large as it was made (96 pixels an inch), and close it.

    It becomes a PNG with 64 colours, a quarter of the usual size, so that the executed notebook stays below a megabyte.
    `photographs` need more colours: they are shown as a JPEG.
    """
    whole, small = BytesIO(), BytesIO()
    figure.savefig(whole, format="png", bbox_inches="tight", dpi=96)
    image = PIL.Image.open(whole).convert("RGB")
    if photographs:
        image.save(small, "jpeg", quality=88)
    else:
        image.quantize(64).save(small, "png", optimize=True)
    display(Image(small.getvalue(), metadata={"alt": figure.get_suptitle()}))  # `alt=` is new in IPython 8
    plt.close(figure)


def show_table(table: pd.DataFrame, decimals: int = 3, note: str = "") -> None:
    """Display a table with rounded numbers and a note below it, whole in both plain text and HTML."""
    text = formatted(table, decimals).rename(columns=lambda name: str(name).replace("_", " "))  # so that it can wrap
    plain, html = text.to_string(), text.to_html(border=0)
    if note:
        plain, html = f"{plain}\n{note}", f"{html}\n<p><em>{escape(note)}</em></p>"
    display({"text/plain": plain, "text/html": html}, raw=True)
