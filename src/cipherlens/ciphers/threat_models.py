"""What an attacker has. Scheme and parameters are always public, the key never is (Kerckhoffs)."""

from dataclasses import dataclass

MAX_QUERIES = 1000
"""Budget of chosen pictures where nobody sets one. No attack here asks for as many."""
_MAX_CIPHERTEXTS = 10_000
"""Largest default budget of ciphertexts: a limit on time."""


@dataclass(frozen=True)
class ThreatModel:
    """One kind of attacker. ``name`` is its name in records, ``unit`` what its budget counts (singular)."""

    name: str
    summary: str
    budget_unit: str
    unit: str
    knows_labels: bool = False
    knows_pairs: bool = False
    chooses: bool = False
    holds_model: bool = False

    @property
    def sees_budget(self) -> bool:
        """Whether the budget counts the ciphertexts that it sees, all of which are scored."""
        return not (self.knows_pairs or self.chooses or self.holds_model)

    def count_spent(self, budget: int) -> int:
        """How many images of a target must be there besides one that is scored."""
        return budget if self.knows_pairs else budget - 1 if self.sees_budget else 0

    def default_budgets(self, total: int, least: int, most: int) -> list[int]:
        """1, 10, 100, ... and all of ``total`` images; the queries, or the model, where images are no budget.

        ``least`` and ``most``: images without which an attack says nothing, and beyond which it is too slow.
        """
        if self.chooses:
            return [MAX_QUERIES]
        if self.holds_model:
            return [1]
        limit = min(total, _MAX_CIPHERTEXTS, most) if self.sees_budget else total - 1
        powers = [10**k for k in range(5) if least <= 10**k < limit]
        return [*powers, limit] if self.sees_budget else powers[:3] or [limit]


CIPHERTEXT_ONLY = ThreatModel("coa", "sees only encrypted images", "ciphertexts", "ciphertext")
LABELLED = ThreatModel(
    "labels", "also knows the labels of the encrypted images", "ciphertexts", "ciphertext", knows_labels=True
)
KNOWN_PLAINTEXT = ThreatModel(
    "kpa", "also knows some original pictures with their encrypted form", "known pairs", "pair", knows_pairs=True
)
CHOSEN_PLAINTEXT = ThreatModel(
    "cpa", "can have pictures of their choice encrypted", "oracle queries", "chosen picture", chooses=True
)
MODEL_IN_HAND = ThreatModel("model", "holds the keyed model", "models", "model", holds_model=True)

THREAT_MODELS = {
    model.name: model for model in (CIPHERTEXT_ONLY, LABELLED, KNOWN_PLAINTEXT, CHOSEN_PLAINTEXT, MODEL_IN_HAND)
}
"""By name, the weakest attacker first."""
