import numpy as np
import pytest
from made_up_predictions import random_table

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.results import measures
from fer_nb_utils.results.calibration import calibration_error, fit_temperature


def honest(n=20_000, seed=0):
    """Probabilities, and labels drawn with these very probabilities."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(7, 0.5), size=n)
    return probabilities, (probabilities.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, 6)


def sharpened(probabilities, power):
    return probabilities**power / (probabilities**power).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again_and_repairs_the_error(temperature):
    probabilities, labels = honest()
    told = sharpened(probabilities, temperature)
    found = fit_temperature(told, labels)
    assert found == pytest.approx(temperature, rel=0.04)
    repaired = calibration_error(sharpened(told, 1 / found), labels)
    assert repaired < 0.015 and (temperature == 1 or calibration_error(told, labels) > 0.05)


def test_the_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    assert calibration_error(probabilities, np.array([0, 1, 0, 0]), bins=10) == pytest.approx((0.8 + 0.4) / 4 - 0.0)


def test_the_error_is_the_one_that_runs_record():
    table = random_table()
    labels = np.array([CLASSES.index(label) for label in table["label"]])
    assert calibration_error(table[list(CLASSES)].to_numpy(), labels) == pytest.approx(
        measures.calibration_error(table)
    )
