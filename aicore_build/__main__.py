"""`python -m aicore_build`."""

from aicore_build.cli import main

main(prog_name="aicore-build")
