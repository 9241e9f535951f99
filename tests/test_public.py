"""What the packages offer is documented, with an example that runs."""

import inspect

import pytest

import ablations
import sknet

RETURNED = {ablations.Outcome, ablations.Forecast}
"""Values that `run`, `read_results` and `plan` return: the examples of these show them."""

PUBLIC = [
    pytest.param(value, id=f"{package.__name__}.{name}")
    for package in (ablations, sknet)
    for name in package.__all__
    for value in (getattr(package, name),)
    if not (isinstance(value, type) and issubclass(value, Exception)) and value not in RETURNED
]


@pytest.mark.parametrize("value", PUBLIC)
def test_everything_public_has_an_example(value: object) -> None:
    """Doctests run it, so it stays true."""
    assert ">>>" in (inspect.getdoc(value) or "")
