from dataclasses import replace

import numpy as np
import pytest
import torch

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.face_drawing import View
from fer_nb_utils.data.synthetic import ACTION_UNITS, draw_face, draw_units, random_identity
from fer_nb_utils.networks.load import EMBEDDED, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.series.puppet import SCALE, SIZE, UNITS, Puppet, puppet_sheet


@pytest.fixture(scope="module")
def puppet():
    return Puppet({"FER-2013": EMBEDDED, "again": EMBEDDED})


def test_every_action_unit_has_its_slider():
    assert set(UNITS) == {unit for units in ACTION_UNITS.values() for unit in units}


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_changes_face_and_answer(puppet, unit):
    puppet.start.value = "neutral"
    before = puppet.face.value, puppet.answer.value
    puppet.units[unit].value = 1.0
    assert puppet.face.value != before[0] and puppet.answer.value != before[1]
    puppet.units[unit].value = 0.0
    assert (puppet.face.value, puppet.answer.value) == before


@pytest.mark.parametrize("name", CLASSES)
def test_an_expression_sets_its_units(puppet, name):
    puppet.start.value = name
    assert {unit for unit, slider in puppet.units.items() if slider.value == 1} == set(ACTION_UNITS[name])


def test_an_expression_is_drawn_once(puppet, monkeypatch):
    puppet.start.value, drawn = "neutral", []
    monkeypatch.setattr(puppet, "draw", lambda draw=puppet.draw: drawn.append(1) or draw())
    for name in ("surprise", "angry"):
        puppet.start.value = name
    assert len(drawn) == 2


def test_a_face_takes_one_thread_and_leaves_the_processs(puppet):
    """Where other programs are at work, more threads make the bars late."""
    seen, threads = [], torch.get_num_threads()
    hook = puppet.networks["FER-2013"].model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        puppet.tilt.value += 1
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(threads)


def test_person_light_and_pose_change_the_face(puppet):
    for control, value in ((puppet.person, 8), (puppet.light, 0.7), (puppet.yaw, 0.3), (puppet.tilt, 20)):
        before = puppet.face.value
        control.value = value
        assert puppet.face.value != before


def test_the_bars_are_the_networks_answer_to_the_face():
    puppet = Puppet({"FER-2013": EMBEDDED})
    puppet.start.value = "happy"
    network = load_network()
    face = puppet.draw()
    assert face.shape == (2 * SIZE, 2 * SIZE)
    small = face.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    (answer,) = predict(network.model, torch.from_numpy(small[None]), network.transform)
    assert f"{100 * answer.max():.0f} % ◂" in puppet.answer.value and answer.argmax() == CLASSES.index("happy")


def test_faces_by_expression_and_by_units_are_the_same():
    identity, view = random_identity(np.random.default_rng(1)), View(scale=SCALE)
    for name, units in ACTION_UNITS.items():
        expected = draw_face(identity, name, 0.8, SIZE, view)
        np.testing.assert_array_equal(draw_units(identity, dict.fromkeys(units, 0.8), SIZE, view), expected)


def test_a_name_with_dollars_is_no_formula():
    figure = puppet_sheet(replace(load_network(), name=r"$\frac{$"))
    figure.canvas.draw()


def test_the_sheet_shows_every_expression_with_seven_bars():
    figure = puppet_sheet(load_network())
    assert [axis.get_title().split("\n")[0] for axis in figure.axes[:7]] == list(CLASSES)
    assert all(sum(bar.get_width() for bar in axis.patches) == pytest.approx(1) for axis in figure.axes[7:])
