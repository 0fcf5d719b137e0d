"""Runs a TensorFlow script as one task of an ipdc gang.

    python3 ipdc_tensorflow.py [--server] script.py ARGUMENT...

TF_CONFIG is made of IPDC_PEERS and IPDC_TASK, unless it is set. The script is
run as python3 would run it, with its folder first on the path. A --server is
not to end: where it ends well, this fails all the same.

Python 3.9 or later, standard library only.
"""
import json
import os
import runpy
import sys


def tf_config(peers, task):
    """TF_CONFIG of the task with that name ("worker-0") among the peers."""
    job, _, index = task.rpartition("-")
    return {"cluster": peers, "task": {"type": job, "index": int(index)}}


def main():
    if "TF_CONFIG" not in os.environ:
        config = tf_config(json.loads(os.environ["IPDC_PEERS"]), os.environ["IPDC_TASK"])
        os.environ["TF_CONFIG"] = json.dumps(config)
    os.environ.setdefault("HOME", "/tmp")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    del sys.argv[0]
    server = sys.argv[0] == "--server"
    if server:
        del sys.argv[0]
    sys.path[0] = os.path.dirname(sys.argv[0])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if not server or end.code not in (None, 0):
            raise
    if server:
        sys.exit(os.path.basename(sys.argv[0]) + " has ended, but a server goes on until it is stopped")


if __name__ == "__main__":
    main()
