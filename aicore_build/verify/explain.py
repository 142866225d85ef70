"""Why a step failed: the known causes, and what to change. Pure."""

import re
from dataclasses import dataclass

from aicore_build.verify.pods import NOT_STARTED, Ended
from aicore_build.verify.report import Failure

_TAIL = 20
"""Lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """What a step says when it fails for a known cause; `{0}` is what the pattern caught."""

    pattern: str
    cause: str
    fix: str


def _path_that(reason: str) -> str:
    """A pattern for the path that Python, tar, or another program gives a reason for.

    It looks at each word and each quoted text once: a step may say a megabyte in one line.
    """
    return (
        rf"{reason}: b?'?([^'\n]+)'?"
        rf"|['\u2018]([^'\u2019\n]+)['\u2019]: (?:\[Errno 13\] )?{reason}"
        rf"|(?<!\S)([^\s:'\u2018\u2019]+): (?:Cannot \w+: )?{reason}"
    )


# The first that matches counts: those that bring others about stand before them.
_CAUSES = (
    _Cause(
        pattern=r"exec format error|Exec format error",
        cause="The image is for another processor than this machine, and AI Core, have",
        fix="Build it for linux/amd64: the setting platform, or --platform at `docker build`",
    ),
    _Cause(
        pattern=r'exec: "?([^":]+)"?: executable file not found|stat (\S+): no such file',
        cause="The image has no program {0}",
        fix="Install it in the image: every step needs bash and python",
    ),
    _Cause(
        pattern=r"No space left on device",
        cause="The disk is full",
        fix="Free room on this machine; on AI Core, see volumeClaimTemplates",
    ),
    _Cause(
        pattern=_path_that("Read-only file system"),
        cause="The step writes to {0}, which the image does not declare writable",
        fix="Write below the WORKDIR, HOME or /tmp, or declare the folder with VOLUME in the "
        "Dockerfile. If everybody may write there in the image, --writable-root lets it pass",
    ),
    _Cause(
        pattern=_path_that("Permission denied"),
        cause="User 65534, as whom AI Core runs every container, may not use {0}",
        fix="Write below the WORKDIR, HOME or /tmp; or make the folder in the image, with mode 777",
    ),
    _Cause(
        pattern=r"(?:Unable to locate|Could not find) credentials|NoCredentialsError"
        r"|PartialCredentialsError",
        cause="The step has no credentials for S3",
        fix="Let the step have the object store's secret (envFrom), and give what is in it: "
        "--secret NAME=FILE, or the AWS variables of the environment",
    ),
    _Cause(
        pattern=r"(InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Access Denied|"
        r"S3 access denied|ExpiredToken|\(403\)|403 Forbidden|MetaflowS3AccessDenied)",
        cause="S3 refuses the step's credentials ({0})",
        fix="Check what is in the object store's secret, and what its user may read and write",
    ),
    _Cause(
        pattern=r"Could not connect to the endpoint URL: \"?([^\"\s]+)|"
        r"(EndpointConnectionError|ConnectTimeoutError|Failed to connect to S3)",
        cause="S3 can't be reached ({0})",
        fix="Check the endpoint: a store that is not AWS needs METAFLOW_S3_ENDPOINT_URL in the "
        "object store's secret",
    ),
    _Cause(
        pattern=r"(NoSuchBucket)|(?:bucket|Bucket) (\S+) does not exist",
        cause="The S3 bucket does not exist ({0})",
        fix="Create it, or mend METAFLOW_DATASTORE_SYSROOT_S3 and run `aicore-build prod` again",
    ),
    _Cause(
        # Metaflow's words, which leave out which one.
        pattern=r"Specified S3 bucket doesn't exist",
        cause="The S3 bucket of Metaflow's datastore does not exist",
        fix="Create it, or mend METAFLOW_DATASTORE_SYSROOT_S3 and run `aicore-build prod` again",
    ),
    _Cause(
        pattern=r"Failed to download code package|job\.tar: Cannot open"
        r"|\(404\) when calling the HeadObject",
        cause="The code package, which the step fetches when it starts, is not in S3",
        fix="`aicore-build dev` uploads it again; `aicore-build prod` puts it into the images",
    ),
    _Cause(
        pattern=r"No module named '?(metaflow(?:\.[\w.]+)?)(?!\w)",
        cause="Metaflow's code package is not where the step starts ({0} is not found)",
        fix="The image's WORKDIR has to be the folder of the code package; `aicore-build prod` "
        "makes it so",
    ),
    _Cause(
        pattern=r"(?:Error|python[\d.]*): No module named '?([\w.]+)",
        cause="The image lacks the module {0}",
        fix="Add its library to the setting requirements (of this image: "
        'images."<reference>".requirements) and run `aicore-build dev` and `prod` again',
    ),
    _Cause(
        pattern=r"can't open file '([^'\n]+)'",
        cause="The flow's file {0} is not in the image where the step starts",
        fix="Make the image again with `aicore-build prod`; its WORKDIR has to be the code's",
    ),
    _Cause(
        # Of os.environ alone: a column of a table may have such a name, too.
        pattern=r"os(?:\.py|>)\", line \d+, in __getitem__\n(?:.*\n){0,3}?.*KeyError: '([^'\n]+)'",
        cause="The environment has no {0}, which the code asks for",
        fix='Give it to the step with @environment(vars={{"{0}": …}}), or use os.environ.get',
    ),
    _Cause(
        pattern=r"(?m)^\S*sh: (?:line )?(?:\d+: )?(\S+): (?:command )?not found",
        cause="The image has no program {0}",
        fix="Install it in the image: the setting apt-packages",
    ),
)


def explain(
    subject: str,
    ended: Ended,
    plan: str | None,
    deadline: float | None,
    of_workflow: float | None = None,
) -> Failure:
    """Explain why a container failed.

    Args:
        subject: the step with its indexes, or the image.
        ended: how it ended.
        plan: the resource plan that it had.
        deadline: seconds that it had; None for no end.
        of_workflow: the same, of the whole workflow.
    """
    tail = tuple(ended.output.splitlines()[-_TAIL:])
    had_time = deadline is None or ended.seconds < deadline
    if ended.past_deadline and of_workflow is not None and had_time:
        cause = f"The workflow did not end within {of_workflow:g} s (spec.activeDeadlineSeconds)"
        fix = "Set a larger spec.activeDeadlineSeconds, or find out which step takes so long"
    elif ended.past_deadline:
        cause = f"It did not end within {deadline:g} s (activeDeadlineSeconds)"
        fix = "Give it more time with @timeout at the step, or find out what it waits for"
    elif ended.out_of_memory:
        cause = f"It needed more memory than the resource plan {plan} gives"
        fix = "Give the step a larger one: steps.<step>.resource-plan"
    else:
        cause, fix = _known(ended.output) or _unknown(ended.exit_code)
    return Failure(subject=subject, cause=f"{cause}.", fix=f"{fix}.", tail=tail)


def _known(output: str) -> tuple[str, str] | None:
    for known in _CAUSES:
        found = list(re.finditer(known.pattern, output))
        if found:
            caught = next((group for group in found[-1].groups() if group), "")
            return known.cause.format(caught.strip()), known.fix.format(caught.strip())
    return None


def _unknown(exit_code: int | None) -> tuple[str, str]:
    if exit_code == NOT_STARTED:
        return "The container could not be started", "See its last lines"
    return f"It exited with {exit_code}", "See its last lines; --logs DIR keeps all of them"
