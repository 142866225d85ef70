"""A report as text: what was done, a line for each thing, and last what is wrong."""

from collections.abc import Iterator

from aicore_build.verify.report import Report, StepRun

_MB = 1000 * 1000


def render_text(report: Report) -> str:
    """Render it for a terminal; it ends with the verdict."""
    return "\n".join((*_lines(report), _verdict(report)))


def _lines(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield f"{finding.severity} {finding.code} {finding.where}: {finding.message}"
        yield f"  {finding.fix}"
    for image in report.images:
        yield f"image {image.reference} ({image.size / _MB:.0f} MB): {', '.join(image.steps)}"
        for check in image.checks:
            if check.problem:
                yield _indented(f"✗ {check.problem}", 2)
                yield _indented(check.fix, 4)
            else:
                yield f"  ✓ {check.about}"
    for run in report.runs:
        yield _run(run)
    for note in report.notes:
        yield f"note: {note}"
    if report.failure:
        failure = report.failure
        yield f"The first failure: {failure.subject}"
        yield _indented("\n".join(failure.tail), 4)
        yield f"  {failure.cause}"
        yield f"  {failure.fix}"


def _run(run: StepRun) -> str:
    parts = [f"step {run.name}: {run.outcome} after {run.seconds:.1f} s"]
    if run.attempt:
        parts.append(f"attempt {run.attempt + 1}")
    if run.exit_code:
        parts.append(f"exit code {run.exit_code}")
    if run.peak_memory is not None:
        parts.append(f"{run.peak_memory / _MB:.0f} MB at most")
    return ", ".join(parts)


def _verdict(report: Report) -> str:
    if not report.ok:
        return f"{report.name} would fail on SAP AI Core."
    if report.quick:
        return f"{report.name}: its steps can run in its images."
    steps = len({run.name for run in report.runs})
    return f"{report.name} ran to its end: {steps} steps, {len(report.runs)} containers."


def _indented(text: str, width: int) -> str:
    return "\n".join(f"{' ' * width}{line}".rstrip() for line in text.splitlines())
