"""The decoded size of a Parquet column, from the headers of its pages, before it is decoded.

The sizes in a file's metadata may be forged. pyarrow allocates the size that a page's header states, so 1.5 KB can
become gigabytes. pyarrow gives no access to these headers, so this module reads them. They are structs in Thrift's
compact encoding (Apache Parquet format, ``parquet.thrift``: FileMetaData and PageHeader).
"""

import os
from typing import Any, BinaryIO

# Numbers of types, then fields (number, type) of the file's metadata and of page headers, from parquet.thrift.
_INT32, _INT64, _BINARY, _LISTS, _LIST, _STRUCT = 5, 6, 8, (9, 10), 9, 12
_ROW_GROUPS, _COLUMNS, _DESCRIPTION = (4, _LIST), (1, _LIST), (3, _STRUCT)
_CHUNK_BYTES, _FIRST_PAGE, _DICTIONARY = (7, _INT64), (9, _INT64), (11, _INT64)
_UNCOMPRESSED_BYTES, _COMPRESSED_BYTES = (2, _INT32), (3, _INT32)
_MAX_HEADER = 16 << 20  # as pyarrow
_MAX_FIELD = 100
"""Higher field numbers are refused; those of parquet.thrift are lower. Chosen by hand."""

_Struct = dict[tuple[int, int], Any]


def measure_column(file: BinaryIO, column: int) -> tuple[int, int]:
    """Decompressed bytes of a Parquet column: of all its pages, and of the largest page.

    Raises ValueError or another Exception for a file that is not Parquet.
    """
    total = largest = 0
    for group in _read_struct(_read_summary(file), 0)[0][_ROW_GROUPS]:
        chunk: _Struct = group[_COLUMNS][column][_DESCRIPTION]
        at, dictionary = chunk[_FIRST_PAGE], chunk.get(_DICTIONARY, 0)
        if 0 < dictionary < at:
            at = dictionary
        end = at + chunk[_CHUNK_BYTES]
        while at < end:
            header, size = _read_header(file, at)
            if min(header[_UNCOMPRESSED_BYTES], header[_COMPRESSED_BYTES]) < 0:
                raise ValueError("a page of negative size")
            total, largest = total + header[_UNCOMPRESSED_BYTES], max(largest, header[_UNCOMPRESSED_BYTES])
            at += size + header[_COMPRESSED_BYTES]
    return total, largest


def _read_summary(file: BinaryIO) -> bytes:
    """FileMetaData: at the end of a file, before its length and the magic number, 4 bytes each."""
    end = file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(end - length)
    return file.read(length)


def _read_header(file: BinaryIO, at: int) -> tuple[_Struct, int]:
    window = 4096
    while True:
        file.seek(at)
        data = file.read(window)
        try:
            return _read_struct(data, 0)
        except IndexError:
            if len(data) < window or window >= _MAX_HEADER:
                raise ValueError("a page header without end") from None
            window *= 16


def _read_struct(data: bytes, at: int) -> tuple[_Struct, int]:
    """Fields of a struct in Thrift's compact encoding, and where it ends.

    It is strict, so that it reads the same values as pyarrow's own parser.
    """
    fields: _Struct = {}
    number = 0
    while head := data[at]:
        step, kind = head >> 4, head & 15
        number, at = (number + step, at + 1) if step else _read_int(data, at + 1)
        if not 0 < number < _MAX_FIELD or any(number == known for known, _ in fields):
            raise ValueError("an odd field in the Parquet metadata")
        # The type of a boolean field is its value.
        fields[number, kind], at = (None, at) if kind in (1, 2) else _read_value(data, at, kind)
    return fields, at + 1


def _read_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """An integer, a struct or a list; None for other values, which are skipped."""
    if kind in (4, _INT32, _INT64):
        return _read_int(data, at, 64 if kind == _INT64 else 32)
    if kind == _STRUCT:
        return _read_struct(data, at)
    if kind == _BINARY:
        size, at = _read_varint(data, at)
        return None, at + size
    if kind in _LISTS:
        return _read_list(data, at)
    if kind in (1, 2, 3, 7):
        return None, at + (8 if kind == 7 else 1)
    raise ValueError("an odd type in the Parquet metadata")


def _read_list(data: bytes, at: int) -> tuple[list[Any], int]:
    size, kind = data[at] >> 4, data[at] & 15
    size, at = (size, at + 1) if size < 15 else _read_varint(data, at + 1)
    values = []
    for _ in range(size):
        value, at = _read_value(data, at, kind)
        values.append(value)
    return values, at


def _read_int(data: bytes, at: int, bits: int = 32) -> tuple[int, int]:
    value, at = _read_varint(data, at, bits)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int, bits: int = 32) -> tuple[int, int]:
    value = 0
    for position in range(bits // 7 + 1):
        byte = data[at + position]
        value |= (byte & 127) << 7 * position
        if byte < 128 and not value >> bits:
            return value, at + position + 1
    raise ValueError("a number too long for the Parquet metadata")
