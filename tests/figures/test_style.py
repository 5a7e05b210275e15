"""What all figures share."""

import dataclasses

import pytest

from fer_nb_utils.figures.data import class_counts, face_grid


@pytest.mark.parametrize("name", [r"faces in $\frac{$", "faces in $x^2$"])
def test_a_name_with_dollars_is_no_formula(sample, name):
    dataset = dataclasses.replace(sample, name=name)
    for figure in (class_counts(dataset.counts(), note=name), face_grid(dataset, per_class=1, note=name)):
        figure.canvas.draw()
        assert figure.get_supxlabel() == name
        assert not figure._supxlabel.get_parse_math()
