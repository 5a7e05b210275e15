from io import BytesIO

import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
import pytest
from IPython.core.interactiveshell import InteractiveShell

from fer_nb_utils.errors import UserError
from fer_nb_utils.series.parameters import convert, literals, located
from fer_nb_utils.series.show import show_figure, show_table
from fer_nb_utils.series.tables import format_number, formatted
from fer_nb_utils.series.workspace import Workspace, check_parameters

PARAMETERS = '# parameters of this notebook\ndata = "sample"\nepochs = 4\nlearning_rate = 1e-3'


@pytest.fixture
def session(monkeypatch):
    """An IPython session that has run the given cells."""

    def start(*cells):
        shell = InteractiveShell()
        shell.user_ns["In"] = ["", *cells]
        monkeypatch.setattr("fer_nb_utils.series.workspace.get_ipython", lambda: shell)

    return start


@pytest.mark.parametrize("injected", ["# Parameters\nepochs = 2\n", "# Parameters\nlearning_rate = 1\n"])
def test_known_parameters_pass(session, injected):
    session(PARAMETERS, injected)
    check_parameters()


@pytest.mark.parametrize(
    ("injected", "message"),
    [
        ("# Parameters\nepoch = 2\n", "no parameter epoch; its parameters are data, epochs, learning_rate"),
        ('# Parameters\nepochs = "many"\n', "epochs is 'many'; give a value of type int"),
    ],
)
def test_unknown_and_ill_typed_parameters_are_refused(session, injected, message):
    session(PARAMETERS, injected)
    with pytest.raises(UserError, match=message):
        check_parameters()


def test_nothing_injected_and_no_history_are_fine(session):
    session(PARAMETERS)
    check_parameters()
    session()
    check_parameters()


def test_a_parameters_cell_holds_literals_only():
    assert literals(PARAMETERS) == {"data": "sample", "epochs": 4, "learning_rate": 1e-3}
    with pytest.raises(ValueError, match="line 2"):
        literals("a = 1\nb: int = 2")
    with pytest.raises(ValueError):
        literals("a = 1 + len('x')")


def test_texts_become_values_of_the_default_type():
    assert convert("epochs", "7", 4) == 7
    assert convert("learning_rate", "1", 0.5) == 1.0
    assert convert("weights", "18", "none") == "18"
    assert convert("augment", "false", True) is False
    with pytest.raises(UserError, match="epochs is 2.5"):
        convert("epochs", "2.5", 4)


def test_run_dir_counts_from_the_repository_wherever_a_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_NB_RUNS")
    for name in ("notebooks", "fer_nb_utils"):
        (tmp_path / name).mkdir()
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert Workspace("runs/x").folder == tmp_path / "runs" / "x"
    assert Workspace(tmp_path / "y").folder == tmp_path / "y"
    monkeypatch.setenv("FER_NB_RUNS", str(tmp_path / "elsewhere"))
    assert Workspace("runs/x").folder == tmp_path / "elsewhere" / "runs" / "x"


def test_run_dir_counts_from_the_current_folder_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_NB_RUNS")
    monkeypatch.chdir(tmp_path)
    assert Workspace("runs/x").folder == tmp_path / "runs" / "x"


def test_paths_among_parameters_count_from_a_folder_and_words_are_left(tmp_path):
    (tmp_path / "faces.zip").touch()
    given = {"data": "faces.zip", "weights": "none", "source": "0", "trainable": "faces.zip", "epochs": 3}
    assert located(given, tmp_path) == given | {"data": str(tmp_path / "faces.zip")}
    for value, message in (("other.zip", "other.zip does not exist"), ("", "The parameter data is empty")):
        with pytest.raises(UserError, match=message):
            located({"data": value}, tmp_path)


def test_figures_and_tables_are_written_in_both_formats_and_reproducibly(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([1, 2])
    table = pd.DataFrame({"accuracy": [0.12345678, None], "what|how": ["a|b", "c"]}, index=["x", "y"])
    for folder in ("one", "two"):
        workspace = Workspace(tmp_path / folder)
        workspace.save_figure(figure, "fig1")
        workspace.reference.save_table(table, "table1")
    read = [(tmp_path / folder / "figures" / "fig1.svg").read_bytes() for folder in ("one", "two")]
    assert read[0] == read[1]
    assert (tmp_path / "one/figures/fig1.png").read_bytes().startswith(b"\x89PNG")
    tables = tmp_path / "one/reference/tables"
    assert "x,0.123457,a|b" in (tables / "table1.csv").read_text("utf-8")
    assert "| x | 0.123 | a\\|b |\n| y |  | c |" in (tables / "table1.md").read_text("utf-8")
    assert sorted(path.name for path in tables.iterdir()) == ["table1.csv", "table1.md"]


def test_numbers_are_shown_short():
    values = (0.65432, 1e-9, 0.0, 11_689_512, 1814073344.0, float("nan"), True, "a")
    shown = [format_number(value) for value in values]
    assert shown == ["0.654", "<0.001", "0.000", "11,689,512", "1,814,073,344", "", "True", "a"]


def test_show_table_shows_plain_text_and_html_whole(capsys):
    wide = pd.DataFrame([[0.123456] * 30], columns=[f"column {i}" for i in range(30)])
    show_table(wide, decimals=2)
    assert "column 29" in formatted(wide, 2).to_string()


def test_a_shown_figure_is_small_and_closed(monkeypatch):
    shown = []
    monkeypatch.setattr("fer_nb_utils.series.show.display", shown.append)
    figure = plt.figure(figsize=(2, 1))
    figure.suptitle("a title")
    show_figure(figure)
    assert PIL.Image.open(BytesIO(shown[0].data)).mode == "P" and shown[0].alt == "a title"
    assert not plt.fignum_exists(figure.number)


def test_photographs_are_shown_with_all_their_colours(monkeypatch):
    shown = []
    monkeypatch.setattr("fer_nb_utils.series.show.display", shown.append)
    show_figure(plt.figure(figsize=(2, 1)), photographs=True)
    assert PIL.Image.open(BytesIO(shown[0].data)).format == "JPEG"


def test_a_note_stands_below_a_table(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("fer_nb_utils.series.show.display", lambda data, raw: shown.append(data))
    table = pd.DataFrame({"a": [1.0]})
    show_table(table, note="1 < 2")
    assert shown[0]["text/plain"].endswith("\n1 < 2") and "<em>1 &lt; 2</em>" in shown[0]["text/html"]
    Workspace(tmp_path).save_table(table, "t", note="from us")
    assert (tmp_path / "tables" / "t.md").read_text("utf-8").endswith("|\n\n*from us*\n")


def test_runs_are_read_from_training_without_former_ones(tmp_path, monkeypatch):
    for name in ("resnet18", "resnet34", "resnet18.previous-1", "unfinished"):
        (tmp_path / "training" / name).mkdir(parents=True)
        if name != "unfinished":
            (tmp_path / "training" / name / "config.json").write_text("{}")
    monkeypatch.setattr("fer_nb_utils.results.run_folder.Run.load", lambda folder: folder.name)
    assert Workspace(tmp_path).runs() == {"resnet18": "resnet18", "resnet34": "resnet34"}
