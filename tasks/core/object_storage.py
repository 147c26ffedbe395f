"""The client of S3 services, and its errors in words."""

from __future__ import annotations

from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import NoCredentialsError
from s3fs import S3FileSystem

_CLIENT = {"connect_timeout": 10, "read_timeout": 60, "retries": {"total_max_attempts": 2}}


def client(endpoint: str | None, anonymous: bool = False) -> S3FileSystem:
    """A client with the credentials of this moment, which lists anew each time. ``endpoint`` None is AWS's own."""
    return S3FileSystem(
        anon=anonymous,
        endpoint_url=endpoint,
        config_kwargs=_CLIENT,
        skip_instance_cache=True,
        use_listings_cache=False,
    )


def reason(error: Exception, where: str, place: str, endpoint: str, rights: str, public: str = "") -> str:
    """What an error of the client means and what to do, in one line.

    Args:
        where: the service.
        place: the field or variable of the bucket. endpoint: that of the service's address.
        rights: what is needed, in words. public: what to do where no credentials are needed.
    """
    if isinstance(error, NoCredentialsError):
        return (
            "no AWS credentials were found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the "
            f"shell that starts the worker{public}."
        )
    if isinstance(error, NoConnection):
        return f"{where} does not answer ({type(error).__name__}). Check {endpoint} and the network."
    if isinstance(error, PermissionError):
        return f"access is denied ({error}). Check the credentials, and that they may {rights}."
    if isinstance(error, FileNotFoundError) and "bucket" in str(error).lower():
        return f"there is no such bucket at {where}. Check {place} and {endpoint}."
    return f"it cannot be used ({type(error).__name__}: {error})."
