"""Installs Python packages from /inputs into /outputs.

/inputs holds one requirements file, or a directory with requirements.txt, or
one with wheels, which are then the only source. What comes out is the same for
the same versions: no time stamps, no paths of this machine, byte code that is
checked by nothing.
"""
import compileall
import glob
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys

INPUTS, OUTPUTS = os.environ["IPDC_INPUTS"], os.environ["IPDC_OUTPUTS"]
TARGET = "/deps"  # where programs find the packages
WORK = os.path.join(OUTPUTS, ".work")  # /tmp is memory, and small


def pip():
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    wheels = sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"))
    if not wheels:
        sys.exit("ERROR: the image has no pip; use the stock image python, or an image with pip")
    return [sys.executable, wheels[-1] + "/pip"]


def wanted():
    lone = os.path.join(INPUTS, "data")
    if os.listdir(INPUTS) == ["data"] and os.path.isfile(lone):
        return ["-r", lone]
    wheels = sorted(glob.glob(os.path.join(INPUTS, "**", "*.whl"), recursive=True))
    listed = os.path.join(INPUTS, "requirements.txt")
    args = []
    if wheels:
        args = ["--no-index"]
        for folder in sorted({os.path.dirname(w) for w in wheels}):
            args += ["--find-links", folder]
    if os.path.exists(listed):
        return args + ["-r", listed]
    if not wheels:
        sys.exit("ERROR: the requirements hold neither requirements.txt nor wheels (*.whl)")
    return args + wheels


def main():
    os.mkdir(WORK)
    env = dict(os.environ, TMPDIR=WORK, HOME=WORK, PIP_CONFIG_FILE=os.devnull)
    command = pip() + [
        "install", "--target", OUTPUTS, "--no-compile", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off",
        "--root-user-action", "ignore",
    ]
    if os.environ.get("ALLOW_BUILD") != "1":
        command += ["--only-binary", ":all:"]
    code = subprocess.call(command + wanted(), env=env, cwd=WORK)
    shutil.rmtree(WORK)
    if code:
        sys.exit(code)
    compileall.compile_dir(
        OUTPUTS, quiet=2, force=True, stripdir=OUTPUTS, prependdir=TARGET,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main()
