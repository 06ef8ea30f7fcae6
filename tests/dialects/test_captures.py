"""What unmodified clients sent verifies under their venue's row, as it stood on the wire."""

import pytest
from dialects.captured import Capture, captures, material_of, named, read, request_of, row_of, verifies


@pytest.mark.parametrize("capture", captures(), ids=named)
def test_a_captured_request_verifies(capture: Capture) -> None:
    row, material = row_of(capture), material_of(capture)
    signed = read(row, request_of(capture))
    assert signed.algorithm == capture["algorithm"]
    assert signed.key_id == capture["key_id"]
    assert verifies(material, signed)
    age = capture["at"] - signed.signed_at
    assert -signed.window.future <= age < signed.window.past
