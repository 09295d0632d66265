"""Format version 2: an id that is in the MAC, in every line of the journal and in every image's own key."""

import json
import re

import numpy as np
import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.per_image import BoundPerImage
from cipherlens.data.sealed import job, manifest
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.journal import Journal
from cipherlens.data.sealed.manifest import Manifest, parse_manifest, write_manifest
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.unseal import unseal
from cipherlens.data.storage.opening import open_storage
from cipherlens.errors import DataError
from cipherlens.keys import Key

SOURCE = "synthetic:tiny?n=40&test=20&size=16"
OTHER = "synthetic:tiny?n=40&test=20&size=16&seed=5"
KEY = Key(bytes([7]) * 32)
HILL = create_cipher("hill", block=4)
ALONE = create_cipher("negpos", per_image=True)


class Stop(Exception):
    pass


def interrupt(out, source=SOURCE, shards=2, cipher=HILL):
    done = 0

    def stop(*_):
        nonlocal done
        done += 1
        if done == shards:
            raise Stop

    with pytest.raises(Stop):
        seal(source, out, cipher, KEY, SealOptions(), stop)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 20_000)


def test_a_set_has_an_id_a_time_and_a_counter(tmp_path, call):
    ids = set()
    for name in ("a", "b"):
        seal(SOURCE, tmp_path / name, HILL, KEY)
        manifest = SealedDataset.open(tmp_path / name, KEY).manifest
        assert re.fullmatch("[0-9a-f]{32}", manifest.spec.id) and manifest.counter == 1
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest.created)
        ids.add(manifest.spec.id)
    assert len(ids) == 2
    facts = json.loads(call("inspect", tmp_path / "a", "--json")[1])
    assert facts["id"] in ids and facts["created"] and facts["counter"] == 1


@pytest.mark.parametrize("change", [{"counter": 2}, {"created": "2020-01-01T00:00:00Z"}, {"id": "0" * 32}])
def test_what_was_changed_is_noticed_with_the_key(tmp_path, change):
    """An adversary makes the checksum right; without the key nobody makes the MAC."""
    from hashlib import sha256

    from cipherlens.files import canonical_json

    seal(SOURCE, tmp_path / "set", HILL, KEY)
    path = tmp_path / "set" / "manifest.json"
    facts = json.loads(path.read_text())
    mac, _ = facts.pop("mac"), facts.pop("checksum")
    (facts["plan"] if "id" in change else facts).update(change)
    facts["checksum"] = sha256(canonical_json(facts)).hexdigest()
    path.write_text(json.dumps(facts | {"mac": mac}))
    SealedDataset.open(tmp_path / "set")
    with pytest.raises(DataError, match="was altered"):
        SealedDataset.open(tmp_path / "set", KEY)


def test_version_and_id_belong_together(tmp_path):
    seal(SOURCE, tmp_path / "set", HILL, KEY)
    facts = json.loads((tmp_path / "set" / "manifest.json").read_text())
    content = {name: facts[name] for name in ("format", "version", "plan", "shards", "created", "counter")}
    assert parse_manifest(tmp_path, content).counter == 1
    old = {name: content[name] for name in ("format", "plan", "shards")} | {"version": 1}
    wrong = [
        old,
        content | {"plan": content["plan"] | {"id": ""}},
        content | {"plan": content["plan"] | {"id": "xyz"}},
        content | {"created": ""},
        content | {"created": "yesterday"},
        content | {"counter": -1},
        {name: value for name, value in content.items() if name != "created"},
    ]
    for changed in wrong:
        with pytest.raises(DataError):
            parse_manifest(tmp_path, changed)
    without = {name: value for name, value in content["plan"].items() if name != "id"}
    assert parse_manifest(tmp_path, old | {"plan": without}).spec.id == ""


def test_two_sets_share_no_images_key(tmp_path, monkeypatch, call):
    """Two data sets, with variants of images, and two questions to a model: every key is used once."""
    used: list[object] = []
    bind = BoundPerImage._bind_image

    def note(self, image_id):
        used.append(image_id)
        return bind(self, image_id)

    options = SealOptions(augment=1)
    seal(SOURCE, tmp_path / "a", ALONE, KEY, options)
    seal(SOURCE, tmp_path / "b", ALONE, KEY, options)
    sets = [SealedDataset.open(tmp_path / name, KEY) for name in "ab"]
    first, second = (one.split("train").read_all() for one in sets)
    assert (first != second).reshape(len(first), -1).any(axis=1).all()
    monkeypatch.setattr(BoundPerImage, "_bind_image", note)
    for name in "ab":
        assert unseal(tmp_path / name, tmp_path / f"{name}-back", KEY) == 100
    pictures = [sorted((tmp_path / f"{name}-back").rglob("*.png")) for name in "ab"]
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
    pytest.importorskip("torch")
    import cipherlens as cl

    KEY.save(tmp_path / "client.key")
    cl.train(sets[0], cl.TrainConfig("preresnet20", epochs=1, threads=1), out=tmp_path / "run")
    for _ in range(2):
        assert call("predict", tmp_path / "run", pictures[0][0], "--key", tmp_path / "client.key")[0] == 0
    named = [image_id for image_id in used if image_id != 0]  # 0 is bound to learn shapes, and encrypts nothing
    assert len(named) == 202 == len(set(named))


def test_a_line_of_another_job_is_refused(tmp_path, small_shards):
    """The same key, another source of the same shape: before, its shard was taken for one of this job."""
    interrupt(tmp_path / "a")
    interrupt(tmp_path / "b", OTHER)
    lines = [(tmp_path / name / "journal.jsonl").read_bytes().splitlines(keepends=True) for name in "ab"]
    shard = next(iter((tmp_path / "b" / "shards").iterdir()))
    (tmp_path / "a" / "shards" / shard.name).write_bytes(shard.read_bytes())
    (tmp_path / "a" / "journal.jsonl").write_bytes(b"".join([lines[0][0], lines[1][1]]))
    with pytest.raises(DataError, match="was altered"):
        seal(SOURCE, tmp_path / "a", HILL, KEY)


@pytest.mark.parametrize("order", [(0, 2, 1), (0, 1, 1), (0, 2), (1, 2), (0, 1, 2, 2)])
def test_lines_have_their_places(tmp_path, small_shards, order):
    interrupt(tmp_path / "a", shards=2)
    path = tmp_path / "a" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    path.write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(DataError, match=r"was altered|other settings"):
        seal(SOURCE, tmp_path / "a", HILL, KEY)


def test_a_continued_job_keeps_its_id(tmp_path, small_shards):
    interrupt(tmp_path / "a", cipher=ALONE, shards=1)
    begun = json.loads((tmp_path / "a" / "journal.jsonl").read_bytes().splitlines()[0])["record"]["plan"]["id"]
    interrupt(tmp_path / "a", cipher=ALONE, shards=1)
    report = seal(SOURCE, tmp_path / "a", ALONE, KEY)
    assert report.reused == 2 and SealedDataset.open(tmp_path / "a", KEY).spec.id == begun
    assert seal(SOURCE, tmp_path / "a", ALONE, KEY).reused == report.shards
    assert unseal(tmp_path / "a", tmp_path / "back", KEY) == 60
    seal(SOURCE, tmp_path / "whole", create_cipher("identity"), KEY)
    plain = SealedDataset.open(tmp_path / "whole", KEY)
    from PIL import Image

    back = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "back" / "test").rglob("*.png"))]
    wanted = {image.transpose(1, 2, 0).tobytes() for image in plain.split("test").read_all()}
    assert {np.ascontiguousarray(image).tobytes() for image in back} == wanted


def test_a_job_of_version_one_ends_as_such(tmp_path):
    seal(SOURCE, tmp_path / "new", HILL, KEY)
    manifest = SealedDataset.open(tmp_path / "new", KEY).manifest
    from dataclasses import replace

    old = Manifest(replace(manifest.spec, id=""), manifest.shards)
    write_manifest(open_storage(tmp_path / "new"), old, KEY)
    assert json.loads((tmp_path / "new" / "manifest.json").read_text())["version"] == 1
    assert SealedDataset.open(tmp_path / "new", KEY).manifest == old
    journal = Journal(open_storage(tmp_path), KEY)
    journal.start(old.spec)
    journal.add(old.shards[0])
    records = [json.loads(line)["record"] for line in (tmp_path / "journal.jsonl").read_bytes().splitlines()]
    assert [set(record) for record in records] == [{"plan"}, {"shard"}]
    assert Journal(open_storage(tmp_path), KEY).resume((old.spec,))[1] == {old.shards[0].file: old.shards[0]}


def test_tag_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces as at once, whatever the number of rows."""
    monkeypatch.setattr(manifest, "_ROWS", 3)
    for count in (0, 1, 3, 4, 9):
        rows = tuple((f"ä{number}", number, -number) for number in range(count))
        assert manifest.tag_rows(KEY, ["a", True], rows) == manifest.tag(KEY, ["a", True, rows])
