"""Approach two: classes outside a pretraining set, by synset, and images held out for testing."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sources.imagenet21k import Hierarchy, choose_classes, choose_from, read_synsets
from cipherlens.data.sources.registry import canonical_source, open_source
from cipherlens.data.sources.subsets import parse_classes
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key

# animal > (dog > (poodle, hound), cat > tabby), tool > hammer; made up, with WordNet's form of number.
ANIMAL, DOG, POODLE, HOUND, CAT, TABBY, TOOL, HAMMER = (f"n0000000{i}" for i in range(1, 9))
PAIRS = [(ANIMAL, DOG), (DOG, POODLE), (DOG, HOUND), (ANIMAL, CAT), (CAT, TABBY), (TOOL, HAMMER)]
ALL = (ANIMAL, DOG, POODLE, HOUND, CAT, TABBY, TOOL, HAMMER)
IMAGES = {DOG: 4, HOUND: 9, CAT: 9, TABBY: 9, TOOL: 9, HAMMER: 3, POODLE: 9}


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "is_a.txt"
    path.write_text("".join(f"{parent} {child}\n" for parent, child in PAIRS))
    return path


@pytest.fixture
def tree(tmp_path):
    """A folder of images, a class a synset, without splits."""
    rng = np.random.default_rng(0)
    for synset, count in IMAGES.items():
        (tmp_path / "tree" / synset).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tree" / synset / f"{number}.png")
    return tmp_path / "tree"


@pytest.fixture
def pretraining(tmp_path):
    path = tmp_path / "seen.txt"
    path.write_text(f"{POODLE}\n")
    return path


def test_hypernyms_and_hyponyms_of_the_pretraining_set_are_left_out(pairs):
    hierarchy = Hierarchy.read(pairs)
    assert hierarchy.find_ancestors(POODLE) == {DOG, ANIMAL}
    choice = choose_classes(ALL, [POODLE], hierarchy)
    # dog and animal are above poodle; cat and tool mix the kinds below them.
    assert choice.chosen == (HOUND, TABBY, HAMMER)
    assert choice.left_out == {"pretraining": 1, "related": 2, "few": 0, "mixed": 2}
    assert choose_classes(ALL, [DOG], hierarchy).chosen == (TABBY, HAMMER)  # hound is a dog
    assert choose_classes(ALL, [POODLE]).chosen == tuple(s for s in ALL if s != POODLE)


def test_a_class_with_too_few_images_shuts_out_no_other(pairs):
    choice = choose_classes(ALL, [POODLE], Hierarchy.read(pairs), IMAGES, 5)
    assert choice.chosen == (HOUND, TABBY, TOOL)  # hammer has three images, so tool is of one kind
    assert choice.left_out == {"pretraining": 1, "related": 2, "few": 1, "mixed": 1}


def test_a_hierarchy_of_other_synsets_is_refused(pairs):
    with pytest.raises(UsageError, match="does not know 3 of 4"):
        choose_classes(["n09000001", "n09000002", "n09000003"], [POODLE], Hierarchy.read(pairs))


def test_a_circle_in_the_hierarchy_ends():
    circle = Hierarchy({DOG: frozenset({CAT}), CAT: frozenset({DOG})})
    assert circle.find_ancestors(DOG) == {CAT, DOG}


def test_wordnets_own_format_is_read(tmp_path):
    lines = [
        "  1 This software and database is being provided to you  ",
        f"{DOG[1:]} 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 003 @ {ANIMAL[1:]} n 0000 "
        f"~ {POODLE[1:]} n 0000 %p 02158846 n 0000 | a member of the genus Canis  ",
        f"{POODLE[1:]} 05 n 01 poodle 0 002 @i {DOG[1:]} n 0000 -c 00000099 n 0000 | an intelligent dog  ",
    ]
    path = tmp_path / "data.noun"
    path.write_text("\n".join(lines) + "\n")
    assert Hierarchy.read(path).parents == {DOG: frozenset({ANIMAL}), POODLE: frozenset({DOG})}
    path.write_text(lines[1].replace("003 @", "004 @"))
    with pytest.raises(DataError, match="line 1"):
        Hierarchy.read(path)


@pytest.mark.parametrize("content", ["n00000001", "dog animal", "n1 n2", "n00000001 n00000002 n00000003"])
def test_what_is_no_hierarchy_is_refused(tmp_path, content):
    (tmp_path / "pairs.txt").write_text(f"{ANIMAL} {DOG}\n{content}\n")
    with pytest.raises(DataError, match="line 2"):
        Hierarchy.read(tmp_path / "pairs.txt")
    with pytest.raises(DataError, match="cannot read"):
        Hierarchy.read(tmp_path / "missing.txt")


def test_sets_known_by_name():
    pytest.importorskip("timm")
    small, large = read_synsets("imagenet-1k"), read_synsets("imagenet-21k")
    assert (len(small), len(large)) == (1000, 21843)
    choice = choose_from("imagenet-21k", "imagenet-1k")
    assert len(choice.chosen) == 20844  # all but 999: the teddy bear of the small set is not in the large one
    assert not set(choice.chosen) & set(small)
    with pytest.raises(UsageError, match="imagenet-2k"):
        read_synsets("imagenet-2k")
    with pytest.raises(UsageError, match="how many images"):
        choose_from("imagenet-21k", "imagenet-1k", least=5)


def test_choosing_from_a_folder_counts_its_images(tree, pairs, pretraining, tmp_path):
    choice = choose_from(str(tree), str(pretraining), pairs, least=5)
    assert choice.chosen == (HOUND, TABBY, TOOL)
    assert choose_from(str(tree), str(pretraining), pairs, least=5, count=2).chosen == (HOUND, TABBY)
    with pytest.raises(UsageError, match="count"):
        choose_from(str(tree), str(pretraining), pairs, count=0)
    with pytest.raises(UsageError, match="no class is left: 1 in the pretraining set"):
        choose_from(str(tree), str(pretraining), pairs, least=50)
    (tree / "dog").mkdir()
    Image.new("RGB", (16, 16)).save(tree / "dog" / "0.png")
    with pytest.raises(UsageError, match="no synsets"):
        choose_from(str(tree), str(pretraining))
    (tmp_path / "bad.txt").write_text("dog\n")
    with pytest.raises(DataError, match="no list of synsets"):
        read_synsets(str(tmp_path / "bad.txt"))


def test_every_third_image_of_each_class_is_held_out(tree):
    whole, cut = open_source(str(tree)), open_source(f"{tree}?hold_out=3")
    assert cut.classes == whole.classes
    assert sum(cut.splits.values()) == whole.splits["all"]
    expected = [count // 3 for _, count in sorted(IMAGES.items())]
    assert np.bincount(cut.read_labels("test")).tolist() == expected
    names = {split: [item.name for item in cut.read(split, range(cut.splits[split]))] for split in cut.splits}
    assert sorted(names["train"] + names["test"]) == sorted(
        item.name for item in whole.read("all", range(whole.splits["all"]))
    )
    for split in cut.splits:
        items = cut.read(split, range(cut.splits[split]))
        assert cut.read_labels(split).tolist() == [item.label for item in items]
    for bad in (f"{tree}?hold_out={n}" for n in ("1", "x", "100")):
        with pytest.raises(UsageError, match="hold"):
            open_source(bad)
    with pytest.raises(UsageError, match="splits already"):
        open_source("synthetic:tiny?hold_out=3")


def test_from_the_folder_to_a_sealed_data_set(call, tree, pairs, pretraining, tmp_path):
    chosen = tmp_path / "classes.txt"
    options = ("--hierarchy", pairs, "--least", 5)
    code, out, _ = call("classes", tree, "--pretrained-on", pretraining, *options, "--out", chosen, "--json")
    assert code == 0
    assert list(json.loads(out)["classes"]) == [HOUND, TABBY, TOOL] == chosen.read_text().split()
    Key.generate().save(tmp_path / "k")
    source = f"{tree}?hold_out=3"
    assert call("encrypt", source, tmp_path / "s", "--key", tmp_path / "k", "--classes", f"@{chosen}")[0] == 0
    dataset = SealedDataset.open(tmp_path / "s")
    assert dataset.spec.classes == (HOUND, TABBY, TOOL)
    assert dataset.spec.counts == {"train": 18, "test": 9}
    _, text, _ = call("classes", tree, "--pretrained-on", pretraining, *options)
    assert "3 classes; left out: 1 in the pretraining set, 1 above or below" in text
    assert canonical_source(f"{tree}?hold_out=3") == f"{tree.resolve()}?hold_out=3"


def test_classes_from_a_file_that_is_not_there():
    assert parse_classes("a, b,") == ("a", "b")
    with pytest.raises(DataError, match="cannot read the classes"):
        parse_classes("@nowhere.txt")
    with pytest.raises(UsageError, match="no classes are named"):
        parse_classes(" ,")


def test_the_experiment_encrypts_classes_outside(tree, pairs, pretraining, tmp_path):
    pytest.importorskip("accelerate")
    from cipherlens.experiments.decryption import run_decryption
    from cipherlens.experiments.reporting import Reporter
    from cipherlens.experiments.settings import Settings

    common = {"model": "preresnet20", "epochs": 1, "batch_size": 6, "precision": "float32"}
    options = {
        "cipher": {"name": "hill", "block": 4},
        "seeds": [0],
        "outside": {"pretrained_on": str(pretraining), "hierarchy": str(pairs), "least": 5, "count": 2},
        "recogniser": common,
        "train": {**common, "rounds": 2},
        "attacked": 4,
    }
    settings = Settings("two", "smoke", "decryption", "two", f"{tree}?hold_out=3", options, {})
    silent = Reporter(print, lambda _: nullcontext(lambda *_: None), lambda *_: None)
    results = run_decryption(settings, tmp_path / "out", 1, silent)
    assert SealedDataset.open(tmp_path / "out" / "sealed").spec.classes == (HOUND, TABBY)
    assert {row["name"] for row in results["rows"]} >= {"covariance", "adaptation, round 2"}
