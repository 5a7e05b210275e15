import numpy as np
import pandas as pd
import pytest
from made_up_predictions import HALF, table

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


def test_the_temperature_is_scikit_learns():
    pytest.importorskip("sklearn", minversion="1.8")  # the first with temperature scaling
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    told, labels = (part[:3000] for part in honest())
    told = sharpened(told, 1.7)
    logits, network = np.log(told), LogisticRegression(max_iter=1).fit(np.log(told), labels)
    network.coef_, network.intercept_ = np.eye(7), np.zeros(7)  # its logits are those given to it
    calibrated = CalibratedClassifierCV(FrozenEstimator(network), method="temperature").fit(logits, labels)
    ours = sharpened(told, 1 / fit_temperature(told, labels))
    np.testing.assert_allclose(ours, calibrated.predict_proba(logits), atol=1e-3)


def test_the_temperature_stays_within_a_twentieth_and_twenty():
    """Where labels have no likeliest temperature: all of them right, or all of them wrong."""
    probabilities, _ = honest(200)
    assert fit_temperature(probabilities, probabilities.argmax(axis=1)) == pytest.approx(np.exp(-3), rel=1e-3)
    assert fit_temperature(probabilities, probabilities.argmin(axis=1)) == pytest.approx(np.exp(3), rel=1e-3)


def test_the_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    assert calibration_error(probabilities, np.array([0, 1, 0, 0]), bins=10) == pytest.approx((0.8 + 0.4) / 4 - 0.0)


def error_of(predictions):
    """As recorded in the full test set's metrics."""
    return measures.metrics(predictions, n=2)["full"]["calibration_error"]


def test_the_recorded_error_by_hand():
    assert error_of(HALF) == pytest.approx(abs(8 / 14 - 0.7))
    sure = table(["happy"] * 4, ["happy"] * 4, confidence=1.0)
    assert error_of(sure) == 0
    labels = ["happy"] * 10  # too unsure by .3 in one bin and too sure by .3 in another do not cancel
    unsure, bold = table(labels, labels, 0.7), table(["sad"] * 3 + labels[:7], labels, 1.0)
    assert error_of(pd.concat([unsure, bold])) == pytest.approx(0.3)
    close = pd.concat([table(labels, labels, 0.95), table(["sad"] * 10, labels, 1.0)])  # 14.25 and 15 of 15: one bin
    assert error_of(close) == pytest.approx((10 * 1.0 - 10 * 0.05) / 20)
    apart = pd.concat([table(labels, labels, 0.9), table(["sad"] * 10, labels, 0.95)])  # 13.5 and 14.25: two bins
    assert error_of(apart) == pytest.approx((10 * 0.1 + 10 * 0.95) / 20)
    last = pd.concat([table(labels, labels, 0.935), table(["sad"] * 10, labels, 0.99)])  # from 14/15: one bin, too
    assert error_of(last) == pytest.approx((10 * 0.99 - 10 * 0.065) / 20)
