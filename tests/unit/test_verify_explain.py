import time

import pytest

from aicore_build.verify.explain import explain
from aicore_build.verify.pods import NOT_STARTED, Ended
from aicore_build.verify.report import Outcome

CANNOT_FIND_METAFLOW = (
    "/usr/bin/python: Error while finding module specification for 'metaflow.mflog.save_logs' "
    "(ModuleNotFoundError: No module named 'metaflow')\n"
)
"""The last that a step of Metaflow says if it fails before its code package is there."""

DOWNLOAD = """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "/usr/lib/python3.11/site-packages/boto3/s3/inject.py", line 190, in download_file
    return transfer.download_file(
"""
CLIENT_ERROR = "botocore.exceptions.ClientError: An error occurred "
NO_TAR = "tar: job.tar: Cannot open: No such file or directory\ntar: Error is not recoverable\n"
ENDPOINT = "http://127.0.0.1:9000/bucket/metaflow/data/b9/job.tar"
OS_ENVIRON = """\
  File "/user/home/trainflow.py", line 9, in start
    os.environ["MODEL_NAME"]
    ~~~~~~~~~~^^^^^^^^^^^^^^
  File "<frozen os>", line 685, in __getitem__
KeyError: 'MODEL_NAME'
"""
OLD_OS_ENVIRON = """\
  File "/usr/lib/python3.9/os.py", line 679, in __getitem__
    raise KeyError(key) from None
KeyError: 'MODEL_NAME'
"""
PANDAS = """\
  File "/usr/lib/python3.11/site-packages/pandas/core/frame.py", line 4090, in __getitem__
    indexer = self.columns.get_loc(key)
  File "/usr/lib/python3.11/site-packages/pandas/core/indexes/base.py", line 3812, in get_loc
    raise KeyError(key) from err
KeyError: 'PRICE'
"""


def ended(output: str = "", exit_code: int = 1, **values: bool) -> Ended:
    """A container that failed."""
    return Ended(
        outcome=Outcome.FAILED,
        exit_code=exit_code,
        output=output,
        started=0.0,
        seconds=1.0,
        peak_memory=None,
        out_of_memory=values.get("out_of_memory", False),
        past_deadline=values.get("past_deadline", False),
        files={},
    )


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        pytest.param(
            "exec /usr/bin/bash: exec format error\n", "for another processor", id="arm64"
        ),
        pytest.param(
            "OCI runtime create failed: runc create failed: unable to start container process: "
            'exec: "bash": executable file not found in $PATH: unknown',
            "has no program bash.",
            id="no bash in PATH",
        ),
        pytest.param(
            'exec: "/usr/bin/tini": stat /usr/bin/tini: no such file or directory: unknown',
            "has no program /usr/bin/tini.",
            id="no such program",
        ),
        pytest.param(
            "OSError: [Errno 28] No space left on device: '/tmp/x'", "disk is full", id="disk"
        ),
        pytest.param(
            "OSError: [Errno 30] Read-only file system: '/app/model.pkl'",
            "writes to /app/model.pkl, which",
            id="read-only, Python",
        ),
        pytest.param(
            "bash: line 1: /app/log: Read-only file system",
            "writes to /app/log, which",
            id="read-only, bash",
        ),
        pytest.param(
            "touch: cannot touch '/app/my log': Read-only file system",
            "writes to /app/my log, which",
            id="read-only, coreutils",
        ),
        pytest.param(
            "PermissionError: [Errno 13] Permission denied: '/data/cache'",
            "may not use /data/cache.",
            id="denied, Python",
        ),
        pytest.param(
            "PermissionError: [Errno 13] Permission denied: b'/data/cache'",
            "may not use /data/cache.",
            id="denied, Python's bytes",
        ),
        pytest.param(
            "/bin/sh: 1: /start.sh: Permission denied", "may not use /start.sh.", id="denied, sh"
        ),
        pytest.param(
            "mkdir: cannot create directory 'metaflow': Permission denied",
            "may not use metaflow.",
            id="denied, coreutils",
        ),
        pytest.param(
            "mkdir: cannot create directory ‘/data/x’: Permission denied",  # noqa: RUF001
            "may not use /data/x.",
            id="denied, coreutils in UTF-8",
        ),
        pytest.param(
            "tar: trainflow.py: Cannot open: Permission denied",
            "may not use trainflow.py.",
            id="denied, tar",
        ),
        pytest.param(
            "python: can't open file '/home/me/flow.py': [Errno 13] Permission denied",
            "may not use /home/me/flow.py.",
            id="denied, the flow itself",
        ),
        pytest.param(
            f"{DOWNLOAD}botocore.exceptions.NoCredentialsError: Unable to locate credentials\n",
            "has no credentials for S3.",
            id="no credentials",
        ),
        pytest.param(
            f"{CLIENT_ERROR}(InvalidAccessKeyId) when calling the GetObject operation: The AWS "
            "Access Key Id you provided does not exist in our records.",
            "refuses the step's credentials (InvalidAccessKeyId).",
            id="key",
        ),
        pytest.param(
            "metaflow.plugins.datatools.s3.s3.MetaflowS3AccessDenied: s3://bucket/x",
            "refuses the step's credentials (MetaflowS3AccessDenied).",
            id="access denied, of Metaflow",
        ),
        pytest.param(
            "    S3 access denied:\n    s3://bucket/metaflow/x\n",
            "refuses the step's credentials (S3 access denied).",
            id="access denied, as Metaflow prints it",
        ),
        pytest.param(
            "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "
            f'"{ENDPOINT}"',
            f"can't be reached ({ENDPOINT}).",
            id="endpoint",
        ),
        pytest.param(
            "    Invalid address:\n    Specified S3 bucket doesn't exist.\n",
            "The S3 bucket of Metaflow's datastore does not exist.",
            id="Metaflow's bucket",
        ),
        pytest.param(
            f"{CLIENT_ERROR}(NoSuchBucket) when calling the ListObjectsV2 operation: The specified "
            "bucket does not exist",
            "bucket does not exist (NoSuchBucket).",
            id="bucket",
        ),
        pytest.param(
            f"{DOWNLOAD}{CLIENT_ERROR}(404) when calling the HeadObject operation: Not Found\n",
            "The code package, which the step fetches when it starts, is not in S3.",
            id="code package",
        ),
        pytest.param(
            "Failed to download code package from s3://bucket/job.tar after 6 tries. Exiting.",
            "The code package, which the step fetches when it starts, is not in S3.",
            id="code package, in Metaflow's words",
        ),
        pytest.param(
            CANNOT_FIND_METAFLOW,
            "Metaflow's code package is not where the step starts (metaflow is not found).",
            id="wrong WORKDIR",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'metaflow.plugins'\n",
            "(metaflow.plugins is not found).",
            id="a part of Metaflow",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'metaflow_card_html'",
            "lacks the module metaflow_card_html.",
            id="a library that is called like Metaflow",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'sklearn.tree'\n",
            "lacks the module sklearn.tree.",
            id="module",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'a.b'; 'a' is not a package",
            "lacks the module a.b.",
            id="not a package",
        ),
        pytest.param(
            "/usr/bin/python3.11: No module named pytest",
            "lacks the module pytest.",
            id="python -m",
        ),
        pytest.param(
            "python: can't open file '/user/home/trainflow.py': [Errno 2] No such file or "
            "directory",
            "flow's file /user/home/trainflow.py is not in the image",
            id="flow",
        ),
        pytest.param(OS_ENVIRON, "has no MODEL_NAME, which the code asks for.", id="variable"),
        pytest.param(OLD_OS_ENVIRON, "has no MODEL_NAME,", id="variable, older Python"),
        pytest.param(PANDAS, "It exited with 1.", id="a table's column is no variable"),
        pytest.param("bash: line 1: jq: command not found", "has no program jq.", id="bash"),
        pytest.param("bash: jq: command not found", "has no program jq.", id="older bash"),
        pytest.param("/bin/sh: 1: jq: not found", "has no program jq.", id="dash"),
        pytest.param("sh: jq: not found", "has no program jq.", id="busybox"),
        pytest.param("./run.sh: line 3: jq: command not found", "has no program jq.", id="script"),
        pytest.param("ValueError: shape mismatch\n", "It exited with 1.", id="unknown"),
        pytest.param("", "It exited with 1.", id="silent"),
    ],
)
def test_a_cause_is_known_by_what_the_step_says(output: str, cause: str) -> None:
    failure = explain("train(0)", ended(output), "starter", None)
    assert cause in failure.cause
    assert failure.subject == "train(0)"
    assert failure.fix.endswith(".")
    assert "{" not in failure.cause


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        pytest.param(
            f"mkdir: cannot create directory 'metaflow': Permission denied\n{CANNOT_FIND_METAFLOW}",
            "may not use metaflow.",
            id="a folder that can't be made, before Metaflow that isn't in it",
        ),
        pytest.param(
            f"{DOWNLOAD}botocore.exceptions.NoCredentialsError: Unable to locate credentials\n"
            f"{NO_TAR}{CANNOT_FIND_METAFLOW}",
            "no credentials",
            id="credentials, before the package",
        ),
        pytest.param(
            f"{DOWNLOAD}{CLIENT_ERROR}(403) when calling the HeadObject operation: Forbidden\n"
            f"{NO_TAR}{CANNOT_FIND_METAFLOW}",
            "refuses the step's credentials ((403)).",
            id="denied, before the package",
        ),
        pytest.param(
            f'{DOWNLOAD}Could not connect to the endpoint URL: "{ENDPOINT}"\n{NO_TAR}',
            "can't be reached",
            id="endpoint, before the package",
        ),
        pytest.param(
            f"{DOWNLOAD}{CLIENT_ERROR}(404) when calling the HeadObject operation: Not Found\n"
            f"{NO_TAR}{CANNOT_FIND_METAFLOW}",
            "code package, which the step fetches",
            id="package, before Metaflow",
        ),
        pytest.param(
            "ModuleNotFoundError: No module named 'requests'\nbash: line 1: jq: command not found",
            "lacks the module requests",
            id="module, before a program",
        ),
    ],
)
def test_what_brings_others_about_is_named(output: str, cause: str) -> None:
    assert cause in explain("start", ended(output), None, None).cause


def test_of_several_the_last_is_named() -> None:
    output = "".join(f"ModuleNotFoundError: No module named '{name}'\n" for name in "ab")
    assert "the module b." in explain("start", ended(output), None, None).cause


def test_the_fix_names_what_was_caught() -> None:
    fix = explain("start", ended(OS_ENVIRON), None, None).fix
    assert '@environment(vars={"MODEL_NAME": …})' in fix


def test_the_deadline_counts_before_memory_and_what_was_said() -> None:
    both = ended("No module named 'x'", 137, past_deadline=True, out_of_memory=True)
    failure = explain("start", both, "starter", 90.0)
    assert failure.cause == "It did not end within 90 s (activeDeadlineSeconds)."
    assert "@timeout" in failure.fix


@pytest.mark.parametrize(
    ("deadline", "cause"),
    [
        pytest.param(0.5, "It did not end within 0.5 s (activeDeadlineSeconds).", id="of the step"),
        pytest.param(
            90.0,
            "The workflow did not end within 20 s (spec.activeDeadlineSeconds).",
            id="of the workflow",
        ),
        pytest.param(
            None,
            "The workflow did not end within 20 s (spec.activeDeadlineSeconds).",
            id="of the workflow alone",
        ),
    ],
)
def test_whose_deadline_it_was(deadline: float | None, cause: str) -> None:
    after_a_second = ended(exit_code=137, past_deadline=True)
    assert explain("start", after_a_second, "starter", deadline, 20.0).cause == cause


def test_memory_counts_before_what_was_said() -> None:
    output = "ModuleNotFoundError: No module named 'x'"
    failure = explain("start", ended(output, 137, out_of_memory=True), "starter", None)
    assert failure.cause == "It needed more memory than the resource plan starter gives."


def test_a_container_that_could_not_be_started() -> None:
    failure = explain("start", ended("mount failed", NOT_STARTED), None, None)
    assert failure.cause == "The container could not be started."
    assert failure.tail == ("mount failed",)


def test_the_last_lines_are_kept() -> None:
    output = "\n".join(map(str, range(100)))
    assert explain("start", ended(output), None, None).tail == tuple(map(str, range(80, 100)))


@pytest.mark.parametrize("text", ["a", "a:", "'", "a ", "sh: ", "\n", "download_file\n"])
def test_a_megabyte_is_looked_through_in_time(text: str) -> None:
    begin = time.monotonic()
    failure = explain("start", ended(text * (1_000_000 // len(text))), None, None)
    assert failure.cause == "It exited with 1."
    assert time.monotonic() - begin < 5
