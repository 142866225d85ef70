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
from aicore_build.errors import AicoreBuildError
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
@_of_a_build
@_metaflow_options
@_with_settings
def prod(
    *,
    push: bool,
    force: bool,
    locked: bool,
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

    options: dict[str, Any] = {"push": push, "force": force, "locked": locked}
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
@_json
@_metaflow_options
@_with_settings
def plan(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Show what dev and prod would do; touch nothing."""
    script, settings = _load(given)
    from aicore_build.overview import overview  # noqa: PLC0415

    found = overview(script, settings)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    click.echo(found.as_table(wide=not sys.stdout.isatty()), nl=False)


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
