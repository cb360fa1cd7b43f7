"""The cases of layers leave none out."""

from layer_cases import CASES, LAYERS


def test_each_layer_has_a_case():
    assert {type(layer) for layer, _ in CASES} == set(LAYERS)
