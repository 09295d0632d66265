"""How long the sentences of docs/ are: python benchmarks/pages/sentences.py [PAGE...]

Code, tables, formulas and what is generated and folded away do not count. A page fails with a sentence of more than
40 words, with a median above 18, or with more than 1,500 words.
"""

import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
LONGEST, MEDIAN, WORDS = 40, 18, 1500
LEFT_OUT = (
    re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL),
    re.compile(r"<details.*?</details>", re.DOTALL),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"^\|.*$|^#.*$|^:::.*$|^ {4}\w+:.*$", re.MULTILINE),
    re.compile(r"!\[[^]]*]\([^)]*\)|</?\w[^>]*>"),
)
LINK = re.compile(r"\[([^]]*)]\([^)]*\)")
CODE, FORMULA = re.compile(r"`[^`\n]+`"), re.compile(r"\$[^$\n]+\$")
BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*>]|\d+\.) )")
END = re.compile(r"(?<=[.!?])[*_)\"]*\s+(?=[*_(\"`\[]*[A-Z0-9`])")
ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|cf|vs|Fig|Eq|al|No)\.$")
WORD = re.compile(r"[\w'][\w'.,%/-]*")


def list_sentences(text: str) -> Iterator[str]:
    for pattern in LEFT_OUT:
        text = pattern.sub("", text)
    text = FORMULA.sub("X", CODE.sub("Code", LINK.sub(r"\1", text)))
    for block in BLOCK.split(text):
        held = ""
        for part in END.split(" ".join(re.sub(r"^\s*(?:[-*>]|\d+\.) +", "", block).split())):
            held = f"{held} {part}".strip()
            if held and not ABBREVIATED.search(held):
                yield held
                held = ""


def count_words(sentence: str) -> int:
    return len(WORD.findall(sentence))


def judge(page: Path) -> tuple[str, list[str]]:
    """A line on a page, and what is too long on it."""
    counted = [(count_words(sentence), sentence) for sentence in list_sentences(page.read_text())]
    lengths = [length for length, _ in counted if length]
    if not lengths:
        return f"{page.name}: no prose", []
    median, total = statistics.median(lengths), sum(lengths)
    problems = [f"{length} words: {sentence}" for length, sentence in counted if length > LONGEST]
    problems += [f"median {median:g} words"] if median > MEDIAN else []
    problems += [f"{total:,} words"] if total > WORDS else []
    return f"{total:6,} words, median {median:4g}, longest {max(lengths):3}", problems


def main() -> int:
    pages = [Path(name) for name in sys.argv[1:]] or sorted(DOCS.rglob("*.md"))
    failed = False
    for page in pages:
        line, problems = judge(page)
        print(f"{line}  {page.relative_to(DOCS) if page.is_relative_to(DOCS) else page}")
        for problem in problems:
            print(f"  too long: {problem}", file=sys.stderr)
        failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
