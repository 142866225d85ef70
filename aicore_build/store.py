"""S3, where Metaflow keeps code packages; the only module that knows boto3."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aicore_build.errors import StoreError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client


def download(bucket: str, key: str, endpoint: str | None, path: Path) -> None:
    """Download an object to a file.

    Args:
        bucket: its bucket.
        key: its key.
        endpoint: of a store that is not AWS; None is what boto3 finds in its own configuration.
        path: the file to write.

    Raises:
        StoreError: S3 refused, can't be reached, or has no such object.
    """
    with _errors(f"download s3://{bucket}/{key}"):
        _client(endpoint).download_file(bucket, key, str(path))


def check_bucket(root: str, endpoint: str | None) -> None:
    """Ask whether the bucket of `s3://bucket/prefix` is there for us.

    Raises:
        StoreError: it is not.
    """
    bucket = root.removeprefix("s3://").partition("/")[0]
    with _errors(f"use the bucket {bucket}"):
        _client(endpoint).head_bucket(Bucket=bucket)


def _client(endpoint: str | None) -> "S3Client":
    import boto3  # takes 0.3 s  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 3},
        user_agent_extra="aicore-build",
    )
    return boto3.client("s3", endpoint_url=endpoint, config=config)


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    import botocore.exceptions as aws  # noqa: PLC0415

    try:
        yield
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound) as error:
        raise StoreError(
            f"Could not {what}: {error}.\n"
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from error
    except aws.ClientError as error:
        raise StoreError(f"Could not {what}: {_reason(error)}") from error
    except (aws.BotoCoreError, OSError, ValueError) as error:
        raise StoreError(
            f"Could not {what}: {error}.\n"
            "Check the network, and METAFLOW_S3_ENDPOINT_URL if the store is not AWS."
        ) from error


def _reason(error: "ClientError") -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in {"404", "NoSuchBucket", "NoSuchKey"}:
        return (
            f"it does not exist ({code}).\n"
            "Create the bucket, or mend METAFLOW_DATASTORE_SYSROOT_S3 in Metaflow's configuration."
        )
    if code in {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
        return (
            f"access is denied ({code}).\n"
            "Check the AWS credentials and that they may read and write there."
        )
    return f"{error}."
