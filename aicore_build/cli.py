"""The command line: parse, call, print. Alone writes to stdout and knows exit codes.

Everything heavy is imported by the command that needs it: `--help` answers at once.
"""

import json
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aicore_build import __version__
from aicore_build.errors import AicoreBuildError, VerifyError
from aicore_build.settings import Settings, key_of, load_settings

if TYPE_CHECKING:
    from aicore_build.result import Result

Command = TypeVar("Command", bound=Callable[..., Any])

INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES = """\b
Exit codes:
   0  done
   1  a bug in aicore-build
   2  wrong usage of the command line
   3  settings: unknown, missing or unusable
   4  flow: not found, not readable, or without an image
   5  Docker Engine: not reachable
   6  build: a base image or a build step failed
   7  registry: push denied, not reachable
   8  generator: plugin missing, failed, hung
   9  S3: denied, not reachable, no such bucket
  10  code package: damaged, incomplete or unsafe
  11  output: a file can't be written
  12  lock: missing, or not what is there now
  13  lint: what SAP AI Core would reject, or nothing to check
  14  verify: what would fail on SAP AI Core, or can't be run here
 130  interrupted (Ctrl-C)
 143  terminated
"""


class _Group(click.Group):
    """Turns our errors into messages and exit codes, for all commands."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
        try:
            return super().invoke(ctx)
        except AicoreBuildError as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted. The command can simply be run again.", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=_Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="aicore-build")
@click.option("--debug", is_flag=True, help="Log what is run, and show the traceback of an error.")
def main(*, debug: bool) -> None:
    """From a Metaflow flow to images and a workflow template that SAP AI Core runs.

    Settings come from flags, from AICORE_BUILD_* variables, and from [tool.aicore-build] in
    pyproject.toml or from aicore-build.toml beside the flow, in this order.
    """
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")


def _only_options(
    _context: click.Context, _argument: click.Parameter, words: tuple[str, ...]
) -> tuple[str, ...]:
    if words and not words[0].startswith("-"):
        raise click.UsageError(f"Got unexpected extra argument ({words[0]})")
    return words


_metaflow_options = click.argument(
    "further_options",
    nargs=-1,
    type=click.UNPROCESSED,
    callback=_only_options,
    metavar="[-- METAFLOW-OPTIONS]",
)


def _with_settings(command: Command) -> Command:
    """Add a flag for each setting that has one."""
    for setting in reversed(fields(Settings)):
        if setting.metadata["flag"]:
            command = click.option(
                f"--{key_of(setting.name)}",
                setting.name,
                envvar=f"AICORE_BUILD_{setting.name.upper()}",
                metavar=setting.metadata["metavar"],
                help=setting.metadata["help"],
            )(command)
    return command


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout.")


def _of_a_build(command: Command) -> Command:
    """Add what `dev` and `prod` have in common."""
    options = (
        click.option(
            "--no-push",
            "push",
            flag_value=False,
            default=True,
            help="Build only; write no workflow template, which needs digests.",
        ),
        click.option("--force", is_flag=True, help="Build also what is up to date."),
        _json,
        click.option("-v", "--verbose", is_flag=True, help="Show the output of builds."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@click.option("--no-template", is_flag=True, help="Write no workflow template.")
@_of_a_build
@_metaflow_options
@_with_settings
def dev(*, no_template: bool, push: bool, force: bool, **given: Any) -> None:  # noqa: ANN401
    """Build and push the images for experiments.

    Where Metaflow is configured for S3, also write the workflow template, whose steps fetch the
    code from S3 when they start.
    """
    as_json, verbose = given.pop("as_json"), given.pop("verbose")
    script, settings = _load(given)
    from aicore_build.dev import dev as run  # noqa: PLC0415
    from aicore_build.progress import reporter  # noqa: PLC0415

    with reporter(verbose=verbose) as report:
        result = run(script, settings, report, push=push, template=not no_template, force=force)
    _show(result, as_json=as_json)


@main.command()
@click.option(
    "--locked",
    is_flag=True,
    help="Push and write nothing; fail if anything differs from the lock.",
)
@click.option(
    "--push-to",
    metavar="oci:DIR",
    help="Write the images into an OCI image layout, not into the registry.",
)
@click.option(
    "--offline",
    is_flag=True,
    help="Make the code package here: neither S3 nor its credentials are needed.",
)
@_of_a_build
@_metaflow_options
@_with_settings
def prod(
    *,
    push: bool,
    force: bool,
    locked: bool,
    offline: bool,
    push_to: str | None,
    **given: Any,  # noqa: ANN401
) -> None:
    """Put the flow's code into its images and push them.

    Also write the workflow template that runs them. Dev images that the registry lacks are built
    and pushed before.
    """
    as_json, verbose = given.pop("as_json"), given.pop("verbose")
    script, settings = _load(given)
    from aicore_build.prod import prod as run  # noqa: PLC0415
    from aicore_build.progress import reporter  # noqa: PLC0415

    options: dict[str, Any] = {"push": push, "force": force, "locked": locked, "offline": offline}
    if push_to is not None:
        from aicore_build.layout import layout_folder  # noqa: PLC0415

        options["push_to"] = layout_folder(push_to)
    with reporter(verbose=verbose) as report:
        result = run(script, settings, report, **options)
    _show(result, as_json=as_json)


@main.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@_json
@_with_settings
def check_lock(*, file: Path | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Ask the registry whether all that prod locked is still there, and unchanged.

    FILE is the lock; default: that of the flow.
    """
    if file:
        folder = Path(given["flow"]).expanduser().parent if given["flow"] else Path()
        settings = load_settings(given, folder.resolve())
    else:
        script, settings = _load(given)
    from aicore_build.check_lock import check_lock as run  # noqa: PLC0415
    from aicore_build.lock import lock_path, template_path  # noqa: PLC0415

    found = run(file or lock_path(template_path(script, settings)), settings)
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    found.refuse_problems()
    if not as_json:
        click.echo(
            f"{found.path}: {len(found.images)} images and the workflow template are as locked"
        )


@main.command()
@click.argument(
    "files",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    nargs=-1,
    metavar="[FILE]…",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "sarif", "github"]),
    default="text",
    help="How findings are printed. Default: text.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--strict", is_flag=True, help="Fail at warnings, too.")
@click.option(
    "--ignore", "ignored", metavar="CODE", multiple=True, help="Leave a code out; may be repeated."
)
@_with_settings
def lint(
    *,
    files: tuple[Path, ...],
    form: str,
    strict: bool,
    ignored: tuple[str, ...],
    **given: Any,  # noqa: ANN401
) -> None:
    """Find what SAP AI Core would reject or mis-run in workflow templates.

    FILE is JSON or YAML, a folder of such files, or - for stdin; default: the flow's workflow
    template.
    """
    script = None
    if files:
        folder = Path(given["flow"]).expanduser().parent if given["flow"] else Path()
        settings = load_settings(given, folder.resolve())
    else:
        script, settings = _load(given)
    from aicore_build.lint.files import flow_template, lint_files  # noqa: PLC0415
    from aicore_build.lint.output import Format, render  # noqa: PLC0415
    from aicore_build.lint.rules import check_codes  # noqa: PLC0415

    ignore = check_codes((*settings.lint_ignore, *ignored))
    paths = (flow_template(script, settings),) if script else files
    report = lint_files(paths, ignore=ignore, strict=strict)
    if shown := render(report, Format(form)):
        click.echo(shown)
    report.refuse()
    click.echo(report.summary, err=True)


@main.command()
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Ask the registry: say why each image would be built, and what changed.",
)
@_json
@_metaflow_options
@_with_settings
def plan(*, explained: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show what dev and prod would do; touch nothing.

    It needs no network; with --explain it needs the registry.
    """
    script, settings = _load(given)
    from aicore_build.overview import overview  # noqa: PLC0415

    found = overview(script, settings)
    if explained:
        from aicore_build.explain import explain  # noqa: PLC0415
        from aicore_build.progress import reporter  # noqa: PLC0415

        with reporter(verbose=False) as report:
            explanations = explain(found.flow, found.images, settings, report)
        found = replace(found, explained=explanations)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    click.echo(found.as_table(wide=not sys.stdout.isatty()), nl=False)


@main.command()
@_json
@_with_settings
def package(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """List what is in the code package, what made it big, and secrets in it.

    It is made on this machine, without S3; nothing is uploaded.
    """
    script, settings = _load(given)
    from aicore_build.contents import contents  # noqa: PLC0415

    found = contents(script, settings)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        click.echo(found.as_text(wide=not sys.stdout.isatty()), nl=False)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".aicore-build")
@click.option("--prod", "embed", is_flag=True, help="Also those of the prod images; needs S3.")
@_json
@_with_settings
def render(folder: Path, *, embed: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Write the build contexts into a FOLDER.

    They are Dockerfiles and what these copy, to read or to build by hand.

    The default, .aicore-build, is hidden, so that Metaflow doesn't pack it with the flow.
    """
    script, settings = _load(given)
    from aicore_build.progress import reporter  # noqa: PLC0415
    from aicore_build.render import render as run  # noqa: PLC0415

    with reporter(verbose=False) as report:
        folders = run(script, settings, report, folder, embed=embed)
    if as_json:
        click.echo(json.dumps({"schema": 1, "command": "render", "folders": folders}, indent=2))
    else:
        click.echo("\n".join(folders.values()))


def _pairs(
    _context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Options NAME=VALUE as a table."""
    pairs = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} is not {parameter.metavar}.")
        pairs[name] = value
    return pairs


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--quick", is_flag=True, help="Only look into the images: seconds, and no S3.")
@click.option(
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="A parameter of the workflow; may be repeated.",
)
@click.option(
    "--secret",
    "secrets",
    metavar="NAME=FILE",
    multiple=True,
    callback=_pairs,
    help="What is in a secret, a line KEY=value each. Default for the object store's: the "
    "environment's AWS variables.",
)
@click.option("--writable-root", is_flag=True, help="Let steps write wherever user 65534 may.")
@click.option(
    "--network",
    metavar="NAME",
    help="Docker network of the steps. Default: host if the store is on loopback, else bridge.",
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep what each step says in a file of its own.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report as a page.",
)
@_json
@_with_settings
def verify(  # noqa: PLR0913 - an argument for each option
    *,
    file: Path | None,
    quick: bool,
    parameters: dict[str, str],
    secrets: dict[str, str],
    writable_root: bool,
    network: str | None,
    logs: Path | None,
    html: Path | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Run a workflow template on this machine as SAP AI Core would.

    Each step runs in its image by digest, as user 65534 without any privilege, on this machine's
    Docker Engine. FILE is the workflow template; default: that of the flow.
    """
    path, settings = _template(file, given)
    from aicore_build.progress import reporter  # noqa: PLC0415
    from aicore_build.verify.options import Options  # noqa: PLC0415
    from aicore_build.verify.text import render_text  # noqa: PLC0415
    from aicore_build.verify.verify import verify as run  # noqa: PLC0415

    options = Options(
        quick=quick,
        parameters=parameters,
        secrets={name: Path(value) for name, value in secrets.items()},
        writable_root=writable_root,
        network=network,
        logs=logs,
    )
    with reporter(verbose=True) as report:
        found = run(path, settings, options, report)
    if html:
        from aicore_build.result import write_whole  # noqa: PLC0415
        from aicore_build.verify.page import render_page  # noqa: PLC0415

        write_whole(html, render_page(found))
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else render_text(found))
    if not found.ok:
        sys.exit(VerifyError.exit_code)


def _template(file: Path | None, given: dict[str, Any]) -> tuple[Path, Settings]:
    """The workflow template that is meant, and the settings of its folder."""
    if file:
        folder = Path(given["flow"]).expanduser().parent if given["flow"] else Path()
        return file, load_settings(given, folder.resolve())
    script, settings = _load(given)
    from aicore_build.lint.files import flow_template  # noqa: PLC0415

    return flow_template(script, settings), settings


def _load(given: dict[str, Any]) -> tuple[Path, Settings]:
    """Find the flow, and the settings that are its own."""
    further = given.pop("further_options", ())
    if given["flow"]:
        script = Path(given["flow"]).expanduser()
        settings = load_settings(given, script.parent.resolve())
    else:
        from aicore_build.flow import find_flow  # noqa: PLC0415

        here = Path.cwd()
        settings = load_settings(given, here)
        script = settings.flow or find_flow(here)
    return script, replace(settings, metaflow_options=(*settings.metaflow_options, *further))


def _show(result: "Result", *, as_json: bool) -> None:
    """Print what was made: one JSON document, or a line each."""
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
        return
    for image in result.images:
        click.echo(str(image.pinned or image.reference))
    if result.workflow_template:
        click.echo(str(result.workflow_template))
