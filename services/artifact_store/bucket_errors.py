"""What a bucket's refusals mean, in this package's errors: each names the place and the remedy.

No text of the service itself is passed on: some quote the request, with its signature.
"""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from artifact_store.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    ArtifactStoreFullError,
)

_MISSING = {"NoSuchKey", "NotFound", "404", "NoSuchUpload"}
_FULL = {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
_KEYS = "name valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role"
_REMEDIES = {
    "NoSuchBucket": "there is no such bucket; create it, or correct --artifact-root",
    "InvalidBucketName": "no bucket can have this name; correct --artifact-root",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "AccessDenied": (
        "the credentials do not allow this call; allow s3:GetObject, s3:PutObject, "
        "s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload, "
        "s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts"
    ),
    "InvalidAccessKeyId": f"the access key is not known; {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key does not fit the access key; {_KEYS}",
    "ExpiredToken": f"the credentials have expired; {_KEYS}",
    "CredentialRetrievalError": f"no credentials come from where they are configured; {_KEYS}",
    "InvalidRegionError": "AWS_REGION names no region; write one like eu-central-1",
    "SSLError": "its certificate is not trusted; name its authority's file by AWS_CA_BUNDLE",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it by NTP",
    "SlowDown": "it asks for fewer requests; it is tried again",
}
_SAME = {
    "403": "AccessDenied",
    "301": "PermanentRedirect",
    "ExpiredTokenException": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "InvalidToken": "ExpiredToken",
    "SSOTokenLoadError": "ExpiredToken",
    "UnauthorizedSSOTokenError": "ExpiredToken",
    "TokenRetrievalError": "CredentialRetrievalError",
    "Throttling": "SlowDown",
    "503": "SlowDown",
}


def code_of(error: BaseException | None) -> str:
    """Return the service's code of a refusal, or the name of another error's class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def store_error(place: str, key: str, code: str) -> ArtifactError:
    """Return the error that a caller gets for the refusal `code` of a call about `key`."""
    if code in _MISSING:
        return ArtifactNotFoundError(key)
    if code in _FULL:
        return ArtifactStoreFullError(key)
    code = _SAME.get(code, code)
    if code in {each.__name__ for each in (NoCredentialsError, PartialCredentialsError)}:
        return ArtifactStoreAwayError(f"{place} cannot be used: credentials are missing; {_KEYS}")
    if code == ProfileNotFound.__name__:
        return ArtifactStoreAwayError(f"{place} cannot be used: AWS_PROFILE names no profile")
    remedy = _REMEDIES.get(code, "check the address (AWS_ENDPOINT_URL_S3) and the service's log")
    return ArtifactStoreAwayError(f"{place} answers {code}: {remedy}")
