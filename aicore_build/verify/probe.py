"""Runs inside an image, as user 65534 and without network: what is there, and what can be written.

A program of its own: it is handed to the image's Python, which may be an old one, and knows nothing
of this package.
"""

import glob
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile


def _write(folder):
    """Why a folder can't be written to; None if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror


def _find(module):
    """Why a module can't be imported; None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    return None


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _differing(listing, home):
    """The files that are not as a list of hashes says."""
    differing = []
    with open(listing, encoding="utf-8") as lines:
        for line in lines:
            expected, name = line.rstrip("\n").split("  ", 1)
            try:
                if _sha256(os.path.join(home, name)) != expected:
                    differing.append(name + " has other content")
            except OSError as error:
                differing.append(name + ": " + error.strerror)
    return differing


def _check(script, environment):
    """What Metaflow says of the flow; None if it is fine."""
    # check is what the steps do first, too: import the flow's module and look at its graph.
    command = [sys.executable, script, "--quiet", "--no-pylint", "--metadata=local"]
    # @kubernetes asks for S3 when it is set up; any root will do, since nothing is fetched.
    command += ["--datastore=s3", "--datastore-root=s3://aicore-build/check"]
    command += ["--environment=" + environment, "check"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    return done.stdout[-4000:] if done.returncode else None


def main(script, environment):
    """Print what was found, as one line of JSON, the last one."""
    here = os.getcwd()
    home = os.environ.get("HOME", "")
    metaflow = os.path.join(here, ".metaflow")
    package = {
        os.path.basename(path): _differing(path, here)
        for path in glob.glob(os.path.join(os.path.dirname(here), "code-package-*.sha256"))
    }
    found = {
        "python": sys.version.split()[0],
        "workdir": here,
        "home": home,
        "bash": shutil.which("bash"),
        "modules": {name: _find(name) for name in ("boto3", "requests")},
        "folders": {
            name: _write(folder) if os.path.isdir(folder) else "there is no such folder"
            for name, folder in (("workdir", here), ("home", home), ("tmp", "/tmp"))
        },
        "metaflow": _write(metaflow) if os.path.isdir(metaflow) else None,
        "package": package,
    }
    found["flow"] = _check(script, environment) if script else None
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
