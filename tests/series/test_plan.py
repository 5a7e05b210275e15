import os
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from small_series import SmallSeries, write_faces

from fer_nb_utils.errors import UserError
from fer_nb_utils.paths import NOTEBOOKS
from fer_nb_utils.series import plan as planning
from fer_nb_utils.series.plan import Profile, load_profile, plan


@pytest.fixture
def series(tmp_path):
    return SmallSeries(tmp_path)


@pytest.fixture
def profile(tmp_path):
    """Writes a profile file and reads it."""

    def read(text, encoding="utf-8"):
        path = tmp_path / "mine.toml"
        path.write_bytes(text.encode(encoding))
        return load_profile(str(path))

    return read


@pytest.mark.parametrize("name", ["sample", "laptop", "paper"])
def test_profiles_fit_the_notebooks(name, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "load", lambda source: SimpleNamespace(fingerprint=source))
    profile = load_profile(name)
    jobs = plan(profile, {"data": "sample"}, (), tmp_path)
    assert {job.name for job in jobs} == set(profile.notebooks) == {path.stem for path in NOTEBOOKS.glob("*.py")}
    assert {job.parameters["run_dir"] for job in jobs} == {str(tmp_path)}


def test_an_unknown_profile_is_refused():
    with pytest.raises(UserError, match="choose one of laptop, paper, sample"):
        load_profile("fast")


def test_a_profile_of_ones_own(profile, tmp_path):
    (tmp_path / "faces").mkdir()
    mine = profile('[parameters]\ndata = "faces"\nepochs = 3\n[notebooks.02_finetune_resnet18]\nbudget = 7\n')
    assert (mine.name, mine.title, mine.cell_timeout) == ("mine", "mine", planning.PROFILE["cell_timeout"])
    assert mine.parameters == {"data": str(tmp_path / "faces"), "epochs": 3}  # from the profile's folder
    assert mine.notebooks == {"02_finetune_resnet18": {"budget": 7, "parameters": {}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[parameter]\nepochs = 3", "mine.toml has no key parameter; its keys are cell_timeout, notebooks, parameters"),
        ("[notebooks.01_first]\nbudgets = 3", "notebooks.01_first has no key budgets; its keys are budget, parameters"),
        ("parameters = 3", "mine.toml: parameters is 3; give a value of type dict"),
        ("notebooks = 3", "mine.toml: notebooks is 3; give a value of type dict"),
        ("[notebooks]\n01_first = 3", "notebooks.01_first is 3; give a value of type dict"),
        ('[notebooks.01_first]\nbudget = "x"', "budget is 'x'; give a value of type int, like 600"),
        ("cell_timeout = 0", "cell_timeout is 0; make it a number of whole seconds above zero"),
        ("[notebooks.01_first]\nbudget = -1", "budget is -1; make it a number of whole seconds above zero"),
        ("cell_timeout = true", "cell_timeout is True"),
        ("title = 1", "title is 1; give a value of type str"),
        ("[parameters", "mine.toml is no TOML file in UTF-8"),
        ('[parameters]\ndata = "here"', "here does not exist"),
    ],
)
def test_a_profile_with_a_mistake_is_refused(profile, text, message):
    with pytest.raises(UserError, match=message):
        profile(text)


def test_a_profile_in_another_encoding_is_refused(profile):
    with pytest.raises(UserError, match="mine.toml is no TOML file in UTF-8"):
        profile('title = "Müller"', "latin-1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": "3"}, "no parameter epoch; its parameters are epochs, run_dir"),
        ({"epochs": "many"}, "epochs is 'many'"),
        ({"run_dir": "elsewhere"}, "give it as --run-dir"),
        ({"only": ("07",)}, "The series has no notebook 07; its notebooks are 01, 02, 05"),
        ({"profile": Profile("p", "", 9, {"sizes": 1}, {})}, "Profile p: the series has no parameter sizes"),
        ({"profile": Profile("p", "", 9, {}, {"01_first": {"parameters": {"b": 1}}})}, "Profile p: 01_first has no"),
        ({"profile": Profile("p", "", 9, {"epochs": "x"}, {})}, "epochs is 'x'"),
        ({"profile": Profile("p", "", 9, {"run_dir": "x"}, {})}, "give it as --run-dir"),
        ({"profile": Profile("p", "", 9, {}, {"03_third": {}})}, "the series has no notebook 03_third"),
    ],
)
def test_what_no_notebook_knows_is_refused(series, options, message):
    with pytest.raises(UserError, match=message):
        series.plan(**options)


@pytest.mark.parametrize(
    ("parameters", "name", "value"),
    [
        ("", "epochs", "-1"),
        ('trainable = "all"\n', "trainable", "layer9"),
        ("batch_size = 32\n", "batch_size", "1"),
        ("seed = 0\n", "seed", "-1"),
        ('device = "auto"\n', "device", "gpu"),
        ('device = "auto"\n', "device", "cuda:99"),
    ],
)
def test_settings_that_no_training_can_have_are_refused(series, parameters, name, value):
    series.write("01_first", "# %%\nprint(epochs)", parameters)
    with pytest.raises(UserError, match=f"01_first cannot run: .*{value}"):
        series.plan(only=("01",), **{name: value})


def test_a_parameters_cell_with_code_is_refused(series):
    series.write("01_first", '# %% tags=["parameters"]\nsize = len("x")')
    with pytest.raises(UserError, match="01_first cannot run"):
        series.plan()


def fingerprints(series, **given):
    return {job.name: job.fingerprint for job in series.plan(**given)}


def test_a_fingerprint_changes_with_code_and_parameters(series):
    before = fingerprints(series)
    assert fingerprints(series) == before
    series.write("01_first", "# %%\nprint(epochs + 1)")
    after = fingerprints(series)
    assert {name for name in before if before[name] != after[name]} == {"01_first"}
    assert fingerprints(series, epochs="7")["05_compare_resnets"] != before["05_compare_resnets"]


def test_a_fingerprint_changes_with_the_images_and_not_with_their_times(series, tmp_path):
    series.write("01_first", "# %%\nprint(data)", 'data = "sample"\n')
    path = write_faces(tmp_path / "faces")
    before = fingerprints(series, data=str(tmp_path / "faces"))
    os.utime(path, (0, 0))
    assert fingerprints(series, data=str(tmp_path / "faces")) == before
    PIL.Image.fromarray(np.full((48, 48), 255, np.uint8)).save(path)
    after = fingerprints(series, data=str(tmp_path / "faces"))
    assert {name for name in before if before[name] != after[name]} == {"01_first"}


def test_a_fingerprint_changes_with_a_file_of_weights(series, tmp_path):
    series.write("01_first", "# %%\nprint(weights)", 'weights = "none"\n')
    path = tmp_path / "weights.pth"
    path.write_text("some")
    before = fingerprints(series, weights=str(path))
    path.write_text("other")
    assert fingerprints(series, weights=str(path))["01_first"] != before["01_first"]


@pytest.mark.parametrize(
    "name", ["code.py", "live/widget.js", "live/widget.html", "reference/r/maps.npz", "rules.toml", "look.mplstyle"]
)
def test_a_fingerprint_changes_with_the_package_and_its_reference_results(series, tmp_path, monkeypatch, name):
    monkeypatch.setattr(planning, "PACKAGE", tmp_path / "package")
    before = fingerprints(series)
    path = tmp_path / "package" / name
    path.parent.mkdir(parents=True)
    path.write_text("1")
    made = fingerprints(series)
    path.write_text("2")
    assert len({before["01_first"], made["01_first"], fingerprints(series)["01_first"]}) == 3
    path.with_suffix(".pyc").write_text("not made by anybody")
    assert fingerprints(series) == fingerprints(series) != made
