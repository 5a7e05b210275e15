"""What is kept of a session: its table, and a page about it that needs no other file."""

import base64
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import jinja2
import pandas as pd

from ..classes import CLASSES, NOT_SURE
from ..errors import UserError
from ..files import atomic_path, write_text
from .realtime import summary
from .snapshots import Snapshot

TABLES = (".csv", ".parquet")
PAGE = Path(__file__).parent / "report.html"


def check_table(path: Path) -> None:
    """Raise UserError for a name that `write_table` cannot write to."""
    if path.suffix.lower() not in TABLES:
        raise UserError(f"The table {path} must end in {' or '.join(TABLES)}.")
    if path.suffix.lower() == ".parquet" and not find_spec("pyarrow"):
        raise UserError(f"Parquet needs pyarrow (pip install pyarrow); or give {path.name} the ending .csv.")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `realtime_prediction`'s table as CSV (six digits) or Parquet, by the ending of `path`."""
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, float_format="%.6g")


def how_sure(table: pd.DataFrame) -> pd.DataFrame:
    """A row a label: how many of the faces, frame by frame, had it, their share, and the median of their largest
    probability, all 0 to 1."""
    found = table.dropna(subset="face")
    largest = found[list(CLASSES)].max(axis=1).groupby(found["label"])
    rows = pd.DataFrame(
        {"faces": largest.size(), "share": largest.size() / len(found), "probability": largest.median()}
    )
    rows = rows.reindex([name for name in (*CLASSES, NOT_SURE) if name in rows.index])
    return rows.rename_axis(index=None, columns="label")


def write_report(table: pd.DataFrame, snapshots: Mapping[str, Snapshot], network: str, path: Path) -> None:
    """Write the page: probabilities over time, labels and how sure, faces at once, snapshots, the summary.

    `table`: of a session with frames. The page holds pictures of faces.
    """
    from . import plots  # here, for matplotlib loads slowly

    source, pictures = table.attrs["source"], {}
    figures = {
        "probabilities over time": plots.probabilities_over_time(table, note=source),
        "the most confident look of each expression": plots.snapshot_grid(snapshots, note=source),
    }
    for title, figure in figures.items():
        figure.savefig(buffer := io.BytesIO(), format="png", dpi=130)
        pictures[title] = base64.b64encode(buffer.getvalue()).decode()
    content = {
        "source": source,
        "network": network,
        "summary": summary(table),
        "labels": how_sure(table).round(2).to_html(border=0),
        "at_once": table.groupby("frame")["face"].count().value_counts().sort_index().items(),
        "figures": pictures,
    }
    page = jinja2.Template(PAGE.read_text(encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined)
    write_text(path, page.render(content))
