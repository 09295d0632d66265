"""The tables of docs/attacks.md and docs/ciphers.md: every attack and every cipher, with its page."""

from attack_pages import PARTS, WITH_MODEL, list_ciphers, read_part, split
from leakage_rows import MODELS, choose_best, excess, link_attack, link_cipher, of_cipher
from record_tables import table

from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import ATTACKS
from cipherlens.ciphers import CIPHERS, create_cipher

FEW = 5
"""So many ciphers are named in the table of attacks."""


def list_attacks() -> str:
    found: dict[str, Attack | type[Attack]] = {**ATTACKS, **{attack.name: attack for attack in WITH_MODEL}}
    rows = []
    for name, attack in sorted(found.items(), key=lambda item: list(MODELS).index(item[1].threat_model.name)):
        facts, _ = read_part(PARTS / f"{name}.md")
        ciphers = split(facts.get("ciphers", "")) or list_ciphers(attack)
        few = len(ciphers) <= FEW
        shown = (
            ", ".join(link_cipher(cipher, "ciphers/") for cipher in ciphers) if few else f"{len(ciphers)} ciphers"
        )
        rows.append([link_attack(name, "attacks/"), MODELS[attack.threat_model.name], attack.summary, shown])
    return table(["attack", "attacker has", "what it does", "ciphers"], rows)


def list_all_ciphers() -> str:
    rows = [
        [
            link_cipher(name, "ciphers/"),
            create_cipher(name).summary,
            *(describe_worst(name, model) for model in ("coa", "kpa")),
        ]
        for name in CIPHERS
    ]
    return table(["cipher", "what it does", "from ciphertexts alone", "with known pictures"], rows)


def describe_worst(name: str, model: str) -> str:
    """The attack that is farthest above guessing, one key for all, under whatever parameters."""
    mine = [row for row in of_cipher(name) if not row["apart"] and row["threat_model"] == model]
    read = [row for row in choose_best(mine) if row["beats_guessing"]]
    if not read:
        return ""
    row = max(read, key=excess)
    units = "ciphertexts" if model == "coa" else "pictures"
    return f"SSIM {row['ssim']['mean']:.2f} with {row['budget']:,} {units if row['budget'] > 1 else units[:-1]}"
