#!/bin/sh
# For each sector of the data, the gradient where the data lies; then their
# average, in one result CID.
#
#   gradients.sh CID
#
# A sector is a file or a directory at the top of the CID.
set -eu
[ $# = 1 ] || { echo "usage: $0 CID" >&2; exit 2; }
code=$(ipdc add -q "$(dirname "$0")")
exec ipdc job submit - <<SPEC
version: ipdc/v1
name: gradients
inputs: [{cid: "$1"}]
resources: {memory: 1GiB}
stages:
  - name: gradient
    run: {image: tensorflow, command: [python3, /code/gradient.py], code: $code}
    split: {by: entries}
  - name: average
    needs: [gradient]
    run: {image: tensorflow, command: [python3, /code/average.py], code: $code}
SPEC
