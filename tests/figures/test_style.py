"""What all figures share."""

import dataclasses

import pytest

from fer_nb_utils.figures.data import pictures


@pytest.mark.parametrize("name", [r"faces in $\frac{$", "faces in $x^2$"])
def test_a_name_with_dollars_is_no_formula(sample, name):
    dataset = dataclasses.replace(sample, name=name)
    figure = pictures({name: dataset.images[:1]}, [name], name, name)
    figure.canvas.draw()
    assert figure.get_supxlabel() == name
    assert not figure._supxlabel.get_parse_math()
