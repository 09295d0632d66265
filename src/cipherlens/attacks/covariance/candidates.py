"""Which prior to believe: photos as they are, in several forms, the parametric one, or those measured elsewhere.

Photos of the same kind as the sealed ones agree with them as well as with each other, once the right map is found.
Others do not; then the priors that could be better are tried, and the sparsest pictures win. So it is without any.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np

from cipherlens.attacks.base import Images
from cipherlens.attacks.covariance.forms import pool, vary
from cipherlens.attacks.covariance.measured import BLOCKS, STORED, measured_statistics
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.search import Recovery, compare
from cipherlens.attacks.covariance.sparsity import measure_sparsity
from cipherlens.attacks.covariance.statistics import BlockStatistics, block_statistics
from cipherlens.errors import DataError

PHOTOS, FORMS, PARAMETRIC = "photos", "photos in several forms", "parametric"
"""Names of the priors, in the details of an attack."""
_ALIKE = 0.8
"""Share of the photos' agreement with each other that photos of the same kind reach with the ciphertexts.

Measured on CIFAR-10, imagenette and CamVid, blocks of 4 and 8: 0.82 or more for the same origin where photos tell
anything, 0.77 or less for others.
"""
_TELLS = 0.5
"""Agreement of photos with each other below which there are too few to tell anything. Set by hand."""
_LEAST_SIDE = 0.5
"""Photos smaller than this share of the sealed images show other detail: they are not used in other forms."""
_REFINED = 2
"""At most so many results are refined before one is chosen: a limit on time, set by hand."""
_SAME = 0.01
"""Objectives that differ by less count as the same minimum; the steps of a search end near one, not in it."""
_VALUES = 40_000_000
"""At most this many values of photos are put into several forms: a limit on memory, 265 photos of 224x224."""


def are_alike(found: Recovery, public: Images, count: int, joint: bool) -> bool | None:
    """Whether the photos are of the same kind as ``count`` ciphertexts, by the map found with them as prior.

    None where too few photos or ciphertexts tell nothing.
    """
    few = min(count, len(public) // 2)
    if few == 0:
        return None
    chosen = np.linspace(0, len(public), few, endpoint=False).astype(int)
    parts = (np.delete(public, chosen, axis=0), public[chosen])
    try:
        among = compare(*(block_statistics(part, found.block, joint) for part in parts))
    except DataError:  # photos without any detail
        return None
    return found.agreement >= _ALIKE * among if among >= _TELLS else None


def list_forms(photos: BlockStatistics, public: Images, ct: Images) -> dict[str, BlockStatistics]:
    """The prior of the photos in several forms, pooled; none where they are much smaller than the ciphertexts.

    ``photos`` are the statistics of ``public`` as it is.
    """
    if min(public.shape[2:]) < _LEAST_SIDE * min(ct.shape[2:]):
        return {}
    size = int(np.prod(public.shape[1:]))
    forms = vary(_take_some(public, max(1, _VALUES // size)), photos.block)
    return {FORMS: pool(forms, photos.block, photos.joint)}


def list_priors(origins: Sequence[str], block: int, channels: int, joint: bool) -> dict[str, BlockStatistics]:
    """The parametric prior, and those measured on photos of ``origins`` where there are any for such blocks."""
    priors = {PARAMETRIC: parametric_statistics(block, channels, joint)}
    if block in BLOCKS and channels in (1, 3):
        for origin in origins:
            for form in STORED:
                priors[f"{origin}, {form}"] = measured_statistics(origin, form, block, channels, joint)
    return priors


def choose(
    priors: dict[str, BlockStatistics],
    begin: Callable[[BlockStatistics], Iterator[Recovery]],
    settle: Callable[[Recovery, BlockStatistics], Recovery],
    known: dict[str, Recovery],
) -> tuple[Recovery, BlockStatistics, str]:
    """The result with the sparsest pictures, refined, its prior and the prior's name.

    ``begin`` gives the results of searches with a prior, one by one; ``settle`` refines one. Each prior has one
    search, but for those whose result is ``known``. The sparsest results are refined, and the search goes on with
    the prior of the best.
    """
    searches = {name: begin(prior) for name, prior in priors.items() if name not in known}
    first = known | {name: next(found) for name, found in searches.items()}
    name, refined = settle_best(first, priors, settle)
    more = search_until_agreed(chain([first[name]], searches.get(name, ())))
    best = min(more, key=lambda one: one.objective)
    return refined if best is first[name] else settle(best, priors[name]), priors[name], name


def settle_best(
    results: dict[str, Recovery],
    priors: dict[str, BlockStatistics],
    settle: Callable[[Recovery, BlockStatistics], Recovery],
) -> tuple[str, Recovery]:
    """The sparsest results are refined, and the sparsest then is taken: its prior's name, and the result."""

    def judge(found: Recovery) -> float:
        return measure_sparsity(found.reconstruction, found.block)

    few = sorted(results, key=lambda name: judge(results[name]))[:_REFINED]
    settled = {name: settle(results[name], priors[name]) for name in few}
    name = min(settled, key=lambda name: judge(settled[name]))
    return name, settled[name]


def search_until_agreed(searches: Iterator[Recovery], all_of_them: bool = False) -> list[Recovery]:
    """Results of the searches until two have reached the same best minimum, which is then hardly a chance one."""
    found: list[Recovery] = []
    for recovery in searches:
        found.append(recovery)
        best, *rest = sorted(one.objective for one in found)
        if rest and rest[0] - best < _SAME and not all_of_them:
            break
    return found


def _take_some(images: Images, most: int) -> Images:
    return images[:: -(-len(images) // most)]
