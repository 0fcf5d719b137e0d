"""Checks records of 100 bytes, in files one behind the other, as valsort does.

    ipdc job submit -f validate.py -c CID

The file "summary" says how many records there are, the sum of their CRC-32 in
hexadecimal, how many have a smaller key than the one before, and how many the
same. It is sorted when nothing is out of order and the first two are those of
the input.
"""
import os
import zlib

_RECORD, _KEY = 100, 10


def _files(root):
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(folder, name)


def _summary(paths):
    last, n, total, unordered, same = b"", 0, 0, 0, 0
    for path in paths:
        with open(path, "rb") as f:
            while record := f.read(_RECORD):
                if len(record) < _RECORD:
                    raise SystemExit(f"{path} ends with {len(record)} of {_RECORD} bytes")
                key = record[:_KEY]
                unordered += key < last
                same += key == last
                last, n, total = key, n + 1, total + zlib.crc32(record)
    return f"records {n}\nchecksum {total:x}\nunordered {unordered}\nduplicates {same}\n"


if __name__ == "__main__":
    with open(os.path.join(os.environ["IPDC_OUTPUTS"], "summary"), "w") as out:
        out.write(_summary(_files(os.environ["IPDC_INPUTS"])))
