"""A real Docker Engine, registry, S3 server and base image, all on loopback.

`python -m tests.sandbox start|stop|env|status`, or from Python:

    sandbox = start()
    subprocess.run(command, env={**os.environ, **sandbox.environment})

It outlives the process that starts it and is shared by all checkouts of one user.
"""

from tests.sandbox.environment import Sandbox
from tests.sandbox.lifecycle import is_running, start, stop
from tests.sandbox.report import SandboxError

__all__ = ["Sandbox", "SandboxError", "is_running", "start", "stop"]
