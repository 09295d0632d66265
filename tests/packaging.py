"""Checks what would be published: python -m tests.packaging DIST

The wheel is installed alone, without extras, into an environment of its own; there it seals and opens a folder of
photos. Beside it comes the list of its dependencies (CycloneDX), with their licences.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import cipherlens as cl
from tests.conftest import smooth_images

ROOT = Path(__file__).parents[1]
LARGE = ("numpy", "pyarrow")
"""Packages that most people have anyway; the others together stay below the limit."""
LIMIT = 60_000_000
FREE = re.compile(r"\b(MIT|BSD|Apache|PSF|Python|ISC|MPL|Unlicense|HPND|Zlib|0BSD|CC0)\b")
"""Words in the names of licences that put no condition on a user's own code."""


def main(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (source,) = dist.glob("*.tar.gz")
    assert wheel.name.startswith(f"cipherlens-{cl.__version__}-") and source.name.startswith("cipherlens-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    for needed in (
        *("cipherlens/py.typed", "licenses/LICENSE", "experiments/configs/privdl-access.toml"),
        *("desk/web/static/htmx.min.js", "desk/web/templates/page.html.j2"),
    ):
        assert any(name.endswith(needed) for name in names), f"{needed} is not in {wheel.name}"
    assert not any(name.startswith(("tests", "benchmarks", "results")) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        python = install(wheel, Path(folder) / "client")
        size, largest = measure(python)
        print(f"{size / 1e6:.1f} MB besides {' and '.join(LARGE)}; the largest: {largest}")
        assert size < LIMIT, f"the client's packages have {size / 1e6:.0f} MB"
        use(python.parent / "cipherlens", Path(folder))
        loads_no_torch(python)
        listed = list_dependencies(python, dist / f"cipherlens-{cl.__version__}.cdx.json")
    print(f"{wheel.name}: seals and opens; {listed} packages, each with a free licence")


def install(wheel: Path, place: Path) -> Path:
    """A new environment with the wheel, and what it says it needs; gives its Python."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--require-hashes", "-r", ROOT / "requirements/client.txt")
    run(*pip, "install", "--no-deps", wheel)
    run(*pip, "check")
    run(*pip, "uninstall", "--yes", "hatchling", "editables", "pathspec", "pluggy", "trove-classifiers")
    run(python, "-c", "import cipherlens.cli.main")
    return python


def measure(python: Path) -> tuple[int, str]:
    """Bytes of all packages but the large ones, as they are shipped (no bytecode), and the three largest."""
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    sizes: dict[str, int] = {}
    for path in packages.iterdir():
        name = path.name.partition("-")[0].partition(".")[0].lower()
        if name in (*LARGE, "pip", "setuptools", "pkg_resources", "_distutils_hack"):
            continue
        files = path.rglob("*") if path.is_dir() else [path]
        sizes[name] = sizes.get(name, 0) + sum(
            f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc"
        )
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:3]
    return sum(sizes.values()), ", ".join(f"{name} {sizes[name] / 1e6:.1f}" for name in largest)


def use(program: Path, folder: Path) -> None:
    """Seal and open a folder of photos; every pixel comes back."""
    photos = folder / "photos" / "cat"
    photos.mkdir(parents=True)
    plain = smooth_images(6, size=32)
    for number, image in enumerate(plain):
        Image.fromarray(image.transpose(1, 2, 0)).save(photos / f"{number}.png")
    key, sealed, back = (folder / name for name in ("client.key", "sealed", "back"))
    run(program, "keygen", key)
    cipher = ("--cipher", "shf", "--block", "8", "--hold-out", "0")
    run(program, "encrypt", photos.parent, sealed, "--key", key, *cipher)
    run(program, "inspect", sealed)
    run(program, "decrypt", sealed, back, "--key", key)
    opened = [np.asarray(Image.open(path)).transpose(2, 0, 1) for path in sorted(back.rglob("*.png"))]
    assert (np.stack(opened) == plain).all()


def loads_no_torch(python: Path) -> None:
    script = "import sys, cipherlens; assert not {'torch', 'timm'} & set(sys.modules)"
    run(python, "-c", script)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode


def list_dependencies(python: Path, out: Path) -> int:
    """Write the SBOM, and hold its licences against those that are free."""
    make = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", ROOT / "pyproject.toml"]
    run(*make, "--output-reproducible", "--gather-license-texts", "--of", "JSON", "-o", out, python)
    facts = json.loads(out.read_text())
    facts["metadata"]["component"]["version"] = cl.__version__
    components = [part for part in facts["components"] if part["name"] not in ("pip", "setuptools")]
    out.write_text(json.dumps(facts | {"components": components}, indent=1))
    for component in components:
        parts = [part.get("license", {}) | part for part in component.get("licenses", ())]
        said = [str(part.get("expression") or part.get("id") or part.get("name")) for part in parts]
        said = [name for name in said if not name.startswith("declared license file")]
        assert said and all(map(FREE.search, said)), f"{component['name']}: licence {said}"
    return len(components)


def run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
