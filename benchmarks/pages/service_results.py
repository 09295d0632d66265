"""The part of docs/ on a server of sealed images."""

from record_tables import hardware, load, table


def section() -> str:
    found = [part for part in (load_test(), overload(), photos()) if part]
    return "## A server of sealed images\n\n" + "\n".join(found) if found else ""


def load_test() -> str:
    record = load("service-load.json")
    if record is None:
        return ""
    rows = [
        [
            f"{r['name']} {r['options'] and '(' + r['options'] + ')'}".strip(),
            f"{r['requests']:,} of {r['images_a_request']}",
            f"{r['lost']}, {r['wrong']}",
            "none, bit by bit" if not r["not_bit_by_bit"] else f"{r['relative_error']:.0e}",
            f"{r['p50_ms']:.0f}, {r['p99_ms']:.0f}",
            f"{r['images_per_second']:.0f}",
            f"{r['ratio']:.2f}",
        ]
        for r in record["results"]["rows"]
    ]
    header = [
        *("network", "requests of images", "lost, wrong", "largest error", "p50, p99 ms"),
        *("images/s", "of in-process speed"),
    ]
    return (
        f"Requests in binary form, {record['results']['in_flight']} in flight; server and client share a machine. "
        "*Wrong*: another class than in this process. Errors are of probabilities, relative to the largest. "
        f"In-process speed is that of batches of {record['results']['batch']}, the median of rounds before and "
        "after.\n\n"
        f"{table(header, rows)}\n\n{hardware(record)}\n"
    )


def overload() -> str:
    record = load("service-overload.json")
    if record is None:
        return ""
    found, memory = record["results"]["overload"], record["results"]["memory"]
    rows = [
        [
            width,
            {"200": "answered", "429": "refused"}[status],
            f"{r['requests']:,}",
            *(f"{r[name]:.0f}" for name in ("p50_ms", "p99_ms", "longest_ms")),
        ]
        for width, statuses in found.items()
        if isinstance(statuses, dict)
        for status, r in statuses.items()
    ]
    sizes = memory["resident_mb"]
    return (
        f"Overload: requests of {found['images_a_request']} images for a ResNet-20 and room for "
        f"{found['max_queue']} images. The smaller crowd just fills that room; a refused connection comes again "
        f"after {found['pause_s']:g} s.\n\n"
        f"{table(['crowd', 'requests', 'number', 'p50 ms', 'p99 ms', 'longest ms'], rows)}\n\n"
        f"Memory: {sizes[0]:.0f} MB after {memory['every']:,} requests, {sizes[-1]:.0f} MB after "
        f"{memory['answered']:,}.\n\n{hardware(record)}\n"
    )


def photos() -> str:
    record = load("service-photos.json")
    if record is None:
        return ""
    r = record["results"]
    return (
        f"EfficientNet-Lite0 with ImageNet's weights, locked, in a server process with TLS and a token: of "
        f"{r['photos']:,} sealed imagenette photos {r['same']:,} got the decision of the same network in the "
        f"client's process, {r['right'] / r['photos']:.2%} the right class of 1,000. {r['photos_per_second']:.0f} "
        f"photos/s with decoding and sealing.\n\n{hardware(record)}\n"
    )
