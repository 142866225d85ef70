"""What can go wrong for a user: one class, and one exit code, for each kind of failure.

The text of an error says what failed, why, and what to do about it. A bug is not in here: it
crashes with its traceback.
"""


class AicoreBuildError(Exception):
    """A failure that the user can do something about; `exit_code` is documented and stable."""

    exit_code = 1


class SettingsError(AicoreBuildError):
    """A setting is unknown, missing, or has a value that can't be used."""

    exit_code = 3


class FlowError(AicoreBuildError):
    """The flow can't be found or read, or asks for something that can't be built."""

    exit_code = 4


class EngineError(AicoreBuildError):
    """The Docker Engine can't be reached, or stopped answering."""

    exit_code = 5


class BuildError(AicoreBuildError):
    """An image can't be built."""

    exit_code = 6


class RegistryError(AicoreBuildError):
    """A registry refused, can't be reached, or doesn't hold what was pushed."""

    exit_code = 7


class GeneratorError(AicoreBuildError):
    """The generator is not installed, failed, hung, or wrote what can't be used."""

    exit_code = 8


class StoreError(AicoreBuildError):
    """S3 refused, can't be reached, or doesn't hold the code package."""

    exit_code = 9


class PackageError(AicoreBuildError):
    """The code package is not what it should be: wrong hash, unsafe or missing members."""

    exit_code = 10


class OutputError(AicoreBuildError):
    """A result can't be written to this machine's disk."""

    exit_code = 11


class LockError(AicoreBuildError):
    """There is no lock, or what is there now is not what was locked."""

    exit_code = 12


class LintError(AicoreBuildError):
    """SAP AI Core would reject a workflow template, or there is none to check."""

    exit_code = 13


class VerifyError(AicoreBuildError):
    """The workflow template would fail on AI Core, or can't be run on this machine."""

    exit_code = 14
