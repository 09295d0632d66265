"""The part of docs/ on mutated inputs."""

from collections import Counter

from record_tables import hardware, load, table

_FAILURES = ("crash", "wrong", "altered")


def section() -> str:
    record, requests = load("fuzz.json"), load("fuzz-requests.json")
    if record is None or requests is None:
        return ""
    seeds, limits = record["results"]["seeds"], record["results"]["limits"]
    runs = [*seeds.values(), *requests["results"]["seeds"].values()]
    counts: dict[str, Counter[str]] = {}
    for seed in runs:
        for target, found in seed["targets"].items():
            counts.setdefault(target, Counter()).update(found)
    rows = []
    for target, found in counts.items():
        refused = sum(count for kind, count in found.items() if kind.startswith("exit"))
        shown = (found["accepted"], refused, *(found[name] for name in _FAILURES))
        rows.append([target, f"{sum(found.values()):,}", *(f"{number:,}" for number in shown)])
    total = sum(seed["inputs"] for seed in runs)
    megabytes = limits["growth_bytes"] // 1_000_000
    return (
        "## Inputs that nobody should have sent\n\n"
        f"{total:,} mutated inputs in process ({len(seeds)} seeds, and one of requests to a server alone). "
        "*Accepted* are inputs that say what the original says, or that nothing authenticates (maps, photos, sets "
        "without the key). *Crash* includes hangs, child processes, the network, and memory: a process may grow by "
        f"four times the input and {megabytes} MB, or {limits['growth_decoding_bytes'] / 1e9:.1f} GB where "
        "pictures are decoded. *Wrong* is an exit code of another kind, *altered* is other data, or another key, "
        "taken for the original.\n\n"
        f"{table(['input', 'tried', 'accepted', 'refused', *_FAILURES], rows)}\n\n"
        f"{hardware(record)}\n\n{hardware(requests)}\n"
    )
