"""Requests and answers as bytes, in the binary form of the Open Inference Protocol v2; no I/O."""

from collections.abc import Mapping
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import DataError
from cipherlens.inference import IMAGES, LENGTH_HEADER, PROBABILITIES

_DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


def write_request(images: NDArray[Any], request_id: str, said: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request for the probabilities of sealed images (N, C, H, W), uint8 or float32.

    ``said``: for which model they are (key_fingerprint, cipher, model_id).
    """
    data = np.ascontiguousarray(images, images.dtype.newbyteorder("<")).tobytes()
    tensor = {"name": IMAGES, "shape": list(images.shape), "datatype": _DATATYPES[images.dtype.name]}
    asked = {
        "id": request_id,
        "parameters": dict(said),
        "inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}],
        "outputs": [{"name": PROBABILITIES, "parameters": {"binary_data": True}}],
    }
    text = msgspec.json.encode(asked)
    return text + data, {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(text))}


def read_answer(body: bytes, length: str | None, request_id: str, count: int) -> NDArray[np.float32]:
    """Probabilities (N, classes) or (N, classes, H, W) of ``count`` images. Raises DataError for another answer."""
    try:
        size = len(body) if length is None else int(length)
        answer = msgspec.json.decode(body[:size])
        output = answer["outputs"][0]
        if output["name"] != PROBABILITIES:
            raise ValueError("it has no probabilities")
        shape = [int(side) for side in output["shape"]]
        values = np.frombuffer(body, "<f4", offset=size) if length else np.array(output["data"], np.float32)
        if answer.get("id") != request_id or shape[0] != count or prod(shape) != values.size:
            raise ValueError("it is for other images")
        return values.reshape(shape).astype(np.float32)
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        msgspec.MsgspecError,
    ) as error:
        raise DataError(
            f"the server's answer cannot be used: {error}", hint="is it a server of cipherlens?"
        ) from None
