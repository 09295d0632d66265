"""Generated pages of docs/ from results/*.json: python benchmarks/pages/write_results.py [--check]

With --check nothing is written, and a page that is not what would be written fails.
"""

import sys
from argparse import ArgumentParser

import attack_pages
import cipher_pages
import ercnn_results
import leaderboard_page
import leakage_plot
import privacy_utility
import question_pages
from committed import commit


def main() -> int:
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is another")
    check = parser.parse_args().check
    pages = {
        **ercnn_results.write_pages(),
        **question_pages.write_pages(),
        **attack_pages.write_pages(),
        **cipher_pages.write_pages(),
        **leaderboard_page.write_pages(),
        **leakage_plot.write_pages(),
        **privacy_utility.write_pages(),
    }
    problems = commit(pages, check)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{len(pages)} generated pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
