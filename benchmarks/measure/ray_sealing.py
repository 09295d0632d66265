"""60,000 images from S3 to S3 on a Ray cluster of two nodes, one of which is killed, against the local engine.

python benchmarks/measure/ray_sealing.py --cifar10 CIFAR [--out results/ray-sealing.json]

CIFAR-10 as Parquet files on an S3 server of this machine (moto), Hill 4x4, the same id and time given to all. First
the local engine with two workers, then Ray on one node and on two (one worker each), then on two (one and two
workers), the second of which is killed after a third of the images. Then all bytes are compared, and the key is
searched in what lies in the buckets and in Ray's files.
"""

import argparse
import hashlib
from pathlib import Path
from unittest import mock

from s3_server import open_bucket

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import SealReport, seal
from cipherlens.data.storage.url import Url
from cipherlens.keys import Key
from cipherlens.records import write_record

PORT = 5556
CIPHER = create_cipher("hill", block=4)


def hash_all(place: Url) -> dict[str, str]:
    """SHA-256 of each object below a place, by name."""
    names = place.system.find(place.path)
    return {name[len(place.path) :]: hashlib.sha256(place.system.cat_file(name)).hexdigest() for name in names}


def count_key(key: Key, bucket: Url, session: Path) -> dict[str, int]:
    """How often the key's bytes, or their digits, lie in the bucket and in Ray's files."""
    words = (key.to_bytes(), key.to_bytes().hex().encode())
    stored = [bucket.system.cat_file(name) for name in bucket.system.find(bucket.path)]
    files = [path.read_bytes() for path in session.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        name: sum(content.count(word) for content in contents for word in words)
        for name, contents in (("bucket", stored), ("ray_files", files))
    } | {"objects_searched": len(stored), "ray_files_searched": len(files)}


def seal_on(nodes: list[int], source: str, out: Url, key: Key, kill: bool = False) -> tuple[SealReport, Path]:
    """Seal on nodes with so many workers each; ``kill`` the last one after a third. Also Ray's folder."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": nodes[0], "include_dashboard": False})
    others = [cluster.add_node(num_cpus=count) for count in nodes[1:]]

    def progress(done: int, total: int) -> None:
        if kill and others and done > total / 3:
            cluster.remove_node(others.pop(), allow_graceful=False)

    report = seal(source, out, CIPHER, key, SealOptions(engine="ray", address=cluster.address), progress)
    session = Path(cluster.head_node.get_session_dir_path())
    assert not (kill and others)
    ray.shutdown()
    cluster.shutdown()
    return report, session


def measure(cifar: str, bucket: Url) -> dict:
    bucket.system.put(cifar, f"{bucket.path}/photos", recursive=True)
    source, key = str(bucket / "photos"), Key.generate()
    reports = {"local, 2 workers": seal(source, bucket / "local", CIPHER, key, SealOptions(workers=2))}
    sessions = []
    cases = (("ray, 1 node", [1], False), ("ray, 2 nodes", [1, 1], False), ("ray, a node killed", [1, 2], True))
    for name, nodes, kill in cases:
        reports[name], session = seal_on(nodes, source, bucket / name.replace(" ", "-"), key, kill)
        sessions.append(session)
        print(name, reports[name].seconds, flush=True)
    expected = hash_all(bucket / "local")
    same = {name: hash_all(bucket / name.replace(" ", "-")) == expected for name, *_ in cases}
    return {
        "images": reports["local, 2 workers"].images,
        "cipher": "hill 4x4",
        "objects": len(expected),
        "seconds": {name: report.seconds for name, report in reports.items()},
        "same_bytes_as_local": same,
        "key_found": count_key(key, bucket, sessions[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--out", type=Path, default=Path("results/ray-sealing.json"))
    options = parser.parse_args()
    with (
        open_bucket(PORT) as bucket,
        mock.patch("cipherlens.data.sealed.job.draw_id", lambda: "0" * 32),
        mock.patch("cipherlens.data.sealed.seal.tell_time", lambda: "2026-01-01T00:00:00Z"),
    ):
        results = measure(options.cifar10, bucket)
    print(results)
    write_record(options.out, "python benchmarks/measure/ray_sealing.py --cifar10 CIFAR", results)


if __name__ == "__main__":
    main()
