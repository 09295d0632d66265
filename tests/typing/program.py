"""A small user program, as a type checker sees it. The ignored lines are wrong, and have to be found."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import cipherlens as cl


def seal_some(photos: NDArray[np.uint8], tensors: torch.Tensor) -> NDArray[Any]:
    bound = cl.create_cipher("hill", block=4).bind(cl.Key.generate(), (3, 32, 32))
    sealed: NDArray[Any] = bound.encrypt(photos)
    back: NDArray[Any] = bound.decrypt(sealed, "uint8")
    there: torch.Tensor = bound.decrypt(bound.encrypt(tensors))
    wrong: torch.Tensor = bound.encrypt(photos)  # type: ignore[assignment]
    worse: NDArray[Any] = bound.decrypt(tensors)  # type: ignore[arg-type]
    bound.encrypt("photos")  # type: ignore[call-overload]
    return np.concatenate([sealed, back]) if there.ndim and wrong.ndim and worse.ndim else sealed


def say(folder: str) -> str:
    report: cl.AuditReport = cl.audit(folder, plain="photos", config=cl.AuditConfig(minutes=5.0))
    return report.verdict_text if report.headline is None else str(report.headline["attack"])


def attack(sealed: NDArray[Any], photos: NDArray[np.uint8]) -> list[str]:
    cipher = cl.create_cipher("negpos")
    read: cl.AttackReport = cl.attack("neighbours", sealed, cipher=cipher, plain=photos)
    ssim: float = read.ssim  # type: ignore[assignment]
    inverse: cl.EstimatedInverse | None = read.inverse
    pictures: NDArray[np.float32] = read.reconstruction if inverse is None else inverse.apply(read.reconstruction)
    cl.attack("neighbours", sealed, plan=photos)  # type: ignore[call-arg]
    return cl.list_attacks(cipher) if pictures.size and ssim > 0 else cl.list_ciphers()


def learn(folders: list[str]) -> float:
    config = cl.TrainConfig(model="preresnet20", adapt_block=4, epochs=2)
    run: cl.TrainResult = cl.train(folders, config, out="run")
    cl.adapt(run.out, folders[0], out="adapted")
    cl.train(folders, epochs=2)  # type: ignore[call-arg]
    return run.accuracy
