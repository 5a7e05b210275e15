"""What is kept of a session: tables and the page."""

import re
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import report
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.realtime import COLUMNS
from fer_nb_utils.live.report import check_table, how_sure, write_report, write_table
from fer_nb_utils.live.snapshots import Snapshot


@pytest.fixture
def table():
    """Four frames: happy at first, then unsure, with a second face in frame 1, and none in the last."""
    said = [(0, 1, "happy", 0.9), (1, 1, "happy", 0.7), (1, 2, NOT_SURE, 0.3), (2, 1, NOT_SURE, 0.2)]
    rows = []
    for frame, number, label, share in said:
        probabilities = np.full(7, (1 - share) / 6)
        probabilities[CLASSES.index("happy")] = share
        rows.append((frame, frame / 10, number, 10, 20, 30, 40, label, *probabilities, *range(6), ""))
    rows.append((3, 0.3, *[None] * 6, *[np.nan] * 7, *range(6), ""))
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[2:7], "Int64"))
    table.attrs = {"source": "<film>.mp4", "frames": 4, "seconds": 1.5, "problems": []}
    return table


def test_a_table_is_the_same_in_csv_and_parquet(table, tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("t.csv", "t.PARQUET"):
        check_table(tmp_path / name)
        write_table(table, tmp_path / name)
    parquet, csv = pd.read_parquet(tmp_path / "t.PARQUET"), pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)
    np.testing.assert_allclose(csv[list(CLASSES)], table[list(CLASSES)], rtol=1e-5)


def test_a_table_of_another_kind_or_without_its_package_is_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"t\.xlsx must end in \.csv or \.parquet\.$"):
        check_table(tmp_path / "t.xlsx")
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    check_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"^Parquet needs pyarrow .*t\.parquet the ending \.csv\.$"):
        check_table(tmp_path / "t.parquet")


def test_how_sure_the_labels_are(table):
    sure = how_sure(table)
    assert sure.index.tolist() == ["happy", NOT_SURE] and sure["faces"].tolist() == [2, 2]
    np.testing.assert_allclose(sure[["share", "probability"]], [[0.5, 0.8], [0.5, 0.25]])
    assert how_sure(table[table["face"].isna()]).empty


def test_the_page_shows_labels_faces_and_figures_and_needs_no_other_file(table, tmp_path):
    picture = next(islice(demo_clip(), 1)).image[:40, :40]
    write_report(table, {"happy": Snapshot(picture, 0.9, 0.0)}, "resnet18_tiny", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>Expressions in &lt;film&gt;.mp4</h1>" in page and "Labelled by resnet18_tiny." in page
    assert [int(n) for pair in re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td></tr>", page) for n in pair] == [
        *(0, 1), *(1, 2), *(2, 1)
    ]  # fmt: skip
    assert page.count('src="data:image/png;base64,') == 2 and not re.search(r'(src|href)="(?!data:)', page)
    assert "4 frames in 1.5 s" in page and list(tmp_path.iterdir()) == [tmp_path / "page.html"]
