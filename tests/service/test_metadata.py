"""What a server says about itself, when it is no such server."""

from typing import Any

import pytest

from cipherlens.client.sealing import choose_sealer
from cipherlens.errors import DataError
from cipherlens.keys import Key

KEY = Key.generate()


def describe(**changed: Any) -> dict[str, Any]:
    shapes = {"plain_shape": [3, 4, 4], "padded_shape": [3, 4, 4], "window": None, "size": None, "pad": False}
    scheme = {"cipher": "hill", "params": {"block": 2}, "key_fingerprint": KEY.fingerprint, **shapes}
    facts = {"scheme": scheme, "classes": ["a", "b"], "model_id": "x", "max_images": 9}
    return {"name": "sum", "parameters": facts | changed}


@pytest.mark.parametrize("most", [float("inf"), float("nan"), -1, 0, "many", None, []])
def test_a_number_of_images_that_is_none(most):
    assert choose_sealer(describe(), KEY, None).classes == ("a", "b")
    with pytest.raises(DataError, match="does not say how images are sealed"):
        choose_sealer(describe(max_images=most), KEY, None)


@pytest.mark.parametrize("classes", [[], ["a", "a"], None, 3])
def test_classes_that_are_none(classes):
    with pytest.raises(DataError, match="does not say how images are sealed"):
        choose_sealer(describe(classes=classes), KEY, None)
