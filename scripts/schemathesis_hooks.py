"""What schemathesis has to know of the API beyond its OpenAPI document.

scripts/schemathesis.sh loads this file. Uploads are CARs of an empty
directory, as they are, with a byte changed, or cut, and plain noise.
"""

import hashlib

import schemathesis
from hypothesis import strategies as st

TYPE_CAR = "application/vnd.ipld.car"

BLOCK = b"\x0a\x02\x08\x01"  # UnixFS: a directory without entries
CID = b"\x01\x70\x12\x20" + hashlib.sha256(BLOCK).digest()
HEADER = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + CID + b"\x67version\x01"
CAR = bytes([len(HEADER)]) + HEADER + bytes([len(CID) + len(BLOCK)]) + CID + BLOCK


def changed(at, value):
    return CAR[:at] + bytes([value]) + CAR[at + 1 :]


cars = st.one_of(
    st.just(CAR),
    st.builds(changed, st.integers(0, len(CAR) - 1), st.integers(0, 255)),
    st.builds(lambda n: CAR[:n], st.integers(0, len(CAR))),
    st.binary(max_size=200),
)
schemathesis.openapi.media_type(TYPE_CAR, cars)


@schemathesis.serializer(TYPE_CAR)
def upload(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode()
