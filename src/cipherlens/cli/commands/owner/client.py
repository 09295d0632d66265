"""The client's commands: keygen, encrypt, decrypt, inspect. None of them needs torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cipherlens.api.photos import note_remarks, note_unopened
from cipherlens.ciphers import Cipher, create_cipher, list_ciphers
from cipherlens.ciphers.broken import describe_breaks, find_breaks
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.registry import PLUGINS
from cipherlens.cli.console import emit, progress_bar, say, say_discarded, say_if_unchecked
from cipherlens.cli.options.ciphers import CipherOptions
from cipherlens.cli.options.images import ImageOptions, SelectionOptions
from cipherlens.cli.options.keys import ClientKey, GivenKey, ask_passphrase
from cipherlens.cli.options.types import IMAGES, KEY, WORK, Discard, Flag, Json, OptionalWhole, SealedSet
from cipherlens.data.partial import discard_leftovers
from cipherlens.data.sealed.job import plan_job
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import SealReport, seal
from cipherlens.data.sealed.unseal import read_with_map, unseal
from cipherlens.data.sources.registry import canonical_source
from cipherlens.data.sources.subsets import parse_classes
from cipherlens.errors import PartialResultError, UsageError
from cipherlens.keys import Key
from cipherlens.keys.passphrase import read_passphrase


def keygen(
    keyfile: Path,
    /,
    *,
    passphrase_file: Annotated[Path | None, Parameter(group=KEY)] = None,
    ask: Annotated[Flag, Parameter(name="--ask-passphrase", group=KEY)] = False,
    comment: str = "",
    as_json: Json = False,
) -> None:
    """Make a new secret key.

    Parameters
    ----------
    keyfile
        File to create, readable by you only. Whoever holds it can decrypt.
    passphrase_file
        Protect the key file with the passphrase in the first line of this file; /dev/fd/3 for a descriptor.
    ask
        Protect it with a passphrase that you are asked for.
    comment
        One line to remember the key by.
    """
    if ask and passphrase_file is not None:
        raise UsageError("a passphrase is asked for, or read from a file", hint="give one of the two options")
    passphrase = ask_passphrase() if ask else read_passphrase(passphrase_file)
    key = Key.generate()
    key.save(keyfile, passphrase, comment)
    emit(
        {"keyfile": str(keyfile), "fingerprint": key.fingerprint, "protected": passphrase is not None},
        as_json,
        [
            f"{keyfile}: key {key.fingerprint}",
            "Keep it secret and keep a backup: without it nothing can be decrypted.",
        ],
    )


def encrypt(
    source: str,
    destination: SealedSet,
    /,
    *,
    keys: ClientKey,
    scheme: CipherOptions = CipherOptions(),
    images: ImageOptions = ImageOptions(),
    pad: Annotated[Flag, Parameter(group=IMAGES)] = False,
    selection: SelectionOptions = SelectionOptions(),
    workers: Annotated[OptionalWhole, Parameter(group=WORK)] = None,
    engine: Annotated[Literal["local", "ray"], Parameter(group=WORK)] = "local",
    address: Annotated[str | None, Parameter(group=WORK)] = None,
    dry_run: Annotated[Flag, Parameter(group=WORK)] = False,
    as_json: Json = False,
) -> None:
    """Seal images: encrypt them with a key into a data set that can be handed to a provider.

    Interrupted, the same command continues where it was.

    Parameters
    ----------
    source
        Image folder (a folder per class), image, Parquet file or folder, cifar10:PATH, cifar100:PATH, hf:PATH,
        synthetic:NAME. FOLDER?hold_out=10 keeps every tenth image of each class for testing. Folders and Parquet
        files may be URLs of object storage (s3://BUCKET/PHOTOS); credentials come from the environment.
    destination
        New folder for the sealed data set, or a URL.
    pad
        Fill sides up to multiples of the block.
    workers
        Worker processes; all cores by default.
    engine
        local: this machine. ray: a Ray cluster, all of whose nodes see source and destination; the same data set.
    address
        Of the Ray cluster; by default RAY_ADDRESS, or one that is started on this machine.
    dry_run
        Check everything and say what would be done.
    """
    chosen = scheme.create()
    secret = keys.load()
    subset = () if selection.classes is None else parse_classes(selection.classes)
    splits = selection.split or []
    options = SealOptions(
        images.prepare(pad),
        tuple(splits),
        selection.limit,
        selection.on_error,
        selection.keep_names,
        workers,
        selection.augment,
        subset,
        selection.hold_out,
        engine,
        address,
    )
    if dry_run:
        job = plan_job(canonical_source(source), chosen, secret, options)
        public = {**asdict(job.spec), "shards": len(job.tasks)}
        emit(public, as_json, [f"{name}: {value}" for name, value in public.items()])
        return
    say(f"note: {chosen.threat_note}", f"broken by: {describe_breaks(chosen)}")
    with progress_bar("encrypting") as progress:
        report = seal(source, destination, chosen, secret, options, progress)
    _report_sealing(report, destination, secret, as_json)


def _report_sealing(report: SealReport, destination: object, key: Key, as_json: bool) -> None:
    for name, reason in report.skipped:
        say(f"skipped {name}: {reason}")
    note_remarks(report.remarks)
    note_unopened(report.unopened)
    reused = f", {report.reused} of them from an earlier run" if report.reused else ""
    emit(
        {"destination": str(destination), "fingerprint": key.fingerprint, **asdict(report)},
        as_json,
        [
            f"{destination}: {report.images} images sealed with key {key.fingerprint}",
            f"{report.shards} shards{reused}, {report.seconds:.1f} s",
        ],
    )
    left = [f"{report.skipped_images} images could not be used"] * bool(report.skipped_images)
    left += [f"{sum(report.unopened.values())} files were not opened"] * bool(report.unopened)
    if left:
        raise PartialResultError(" and ".join(left), hint="the sealed data set holds all other images")


def decrypt(
    sealed: SealedSet,
    destination: Path,
    /,
    *,
    keys: GivenKey = GivenKey(),
    map_file: Annotated[Path | None, Parameter(name="--map")] = None,
    discard: Discard = False,
    as_json: Json = False,
) -> None:
    """Turn a sealed data set back into image files, which only you can read.

    Parameters
    ----------
    sealed
        Folder made by encrypt.
    destination
        New folder; images go to SPLIT/CLASS/POSITION.png.
    map_file
        Instead of a key: a map that an attack has found (attack --save-map), for what an eavesdropper reads.
    """
    left = discard_leftovers(destination.parent)
    say_discarded(left)
    if discard:
        emit({"discarded": list(map(str, left))}, as_json, [f"{len(left)} unfinished results removed"])
        return
    if (keys.key is None) == (map_file is None):
        raise UsageError("decrypt takes the client's --key, or a --map that an attack has found", hint="give one")
    with progress_bar("decrypting") as progress:
        secret = keys.load()
        if secret is not None:
            count, how = unseal(sealed, destination, secret, progress), "decrypted"
        else:
            assert map_file is not None
            say_if_unchecked(secret, sealed)
            inverse = EstimatedInverse.load(map_file)
            count, how = (
                read_with_map(sealed, destination, inverse, progress),
                "read without the key",
            )
    emit({"destination": str(destination), "images": count}, as_json, [f"{destination}: {count} images {how}"])


def ciphers(*, as_json: Json = False) -> None:
    """List the ciphers and what an eavesdropper can do to each."""
    rows = {name: _describe(create_cipher(name)) for name in list_ciphers()}
    width = max(map(len, rows))
    lines = [
        f"{start:{width}}  {text}"
        for name, row in rows.items()
        for start, text in (
            (name, row["summary"]),
            ("", row["threat"]),
            ("", f"broken by: {describe_breaks(create_cipher(name))}"),
            ("", f"parameters {row['parameters']}; {_describe_key_bits(row['key_space_bits_32x32'])}"),
            *([] if row["package"] == "cipherlens" else [("", f"from the package {row['package']}")]),
        )
    ]
    lines.append("a+b applies a, then b. The size of a key space is no measure of strength.")
    emit(rows, as_json, lines)


def _describe(cipher: Cipher) -> dict[str, Any]:
    try:
        bits = round(cipher.key_bits((3, 32, 32)))
    except NotImplementedError:  # a cipher of another package need not say
        bits = None
    return {
        "summary": cipher.summary,
        "threat": cipher.threat_note,
        "broken_by": find_breaks(cipher),
        "parameters": cipher.params,
        "key_space_bits_32x32": bits,
        "package": PLUGINS.find_package(cipher.name),
    }


def _describe_key_bits(bits: int | None) -> str:
    return "it does not say how many transforms there are" if bits is None else f"2^{bits} transforms of 32x32"
