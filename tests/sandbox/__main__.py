"""The sandbox from the command line: progress on stderr, variables on stdout."""

import argparse
import sys

from tests.sandbox.lifecycle import current, start, stop
from tests.sandbox.report import SandboxError, say

NOT_RUNNING = "not running: start it with `make sandbox`"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start", help="start what does not run yet and print the variables")
    commands.add_parser("stop", help="end what was started")
    commands.add_parser("env", help="print the variables, as lines for a shell's eval")
    commands.add_parser("status", help="say what runs; exit code 1 if not all of it does")
    try:
        return run(parser.parse_args().command)
    except SandboxError as error:
        say(str(error))
        return 1


def run(command: str) -> int:
    if command == "stop":
        stop()
        return 0
    sandbox = start() if command == "start" else current()
    if sandbox is None:
        say(NOT_RUNNING)
        return 1
    if command == "status":
        print(f"engine    {sandbox.docker_host or 'the one of this machine'}")
        print(f"registry  {sandbox.registry}")
        print(f"S3        {sandbox.s3_endpoint} (bucket {sandbox.bucket})")
        print(f"base      {sandbox.base_image}")
        print(f"folder    {sandbox.folder}")
    else:
        print(sandbox.exports())
    return 0


if __name__ == "__main__":
    sys.exit(main())
