#!/usr/bin/env bash
# moto 5.2.5: put_object and delete_object obey IfMatch; multipart uploads, copies and delete_objects do not.
#
# S3 has conditions for all of these calls ("Conditional requests" in its user guide) and refuses one that
# does not hold. moto asks some of them. With a wrong ETag complete_multipart_upload replaces the object,
# copy_object copies (CopySourceIfMatch, IfMatch and IfNoneMatch alike) and delete_objects deletes. So a test
# of a compare-and-swap passes in which both writers win, as soon as the file is large enough for parts.
# Here: the artifact store's conditions are in put_object and get_object, where moto obeys them.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "moto[s3]==5.2.5" boto3==1.44.8
cd "$folder"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1
seen=$("$folder/venv/bin/python" - <<'P'
import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

WRONG = '"00000000000000000000000000000000"'
KEY = {"Bucket": "bucket", "Key": "key"}


def complete(**condition):
    upload = KEY | {"UploadId": s3.create_multipart_upload(**KEY)["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"new")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)


def copy(**condition):
    s3.copy_object(**KEY, CopySource="bucket/other", **condition)


def delete_objects():
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "key", "ETag": WRONG}]})
    if answer.get("Errors"):
        raise ClientError({"Error": {"Code": answer["Errors"][0]["Code"]}}, "DeleteObjects")


with mock_aws():
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bucket")
    for name, call in (
        ("put_object IfMatch", lambda: s3.put_object(**KEY, Body=b"new", IfMatch=WRONG)),
        ("delete_object IfMatch", lambda: s3.delete_object(**KEY, IfMatch=WRONG)),
        ("complete_multipart_upload IfNoneMatch", lambda: complete(IfNoneMatch="*")),
        ("complete_multipart_upload IfMatch", lambda: complete(IfMatch=WRONG)),
        ("copy_object CopySourceIfMatch", lambda: copy(CopySourceIfMatch=WRONG)),
        ("copy_object IfMatch", lambda: copy(IfMatch=WRONG)),
        ("copy_object IfNoneMatch", lambda: copy(IfNoneMatch="*")),
        ("delete_objects ETag", delete_objects),
    ):
        s3.put_object(**KEY, Body=b"old")
        s3.put_object(Bucket="bucket", Key="other", Body=b"other")
        try:
            call()
            answer = "done"
        except ClientError as error:
            answer = error.response["Error"]["Code"]
        print(f"{name}: {answer}")
P
)
echo "$seen"
expected="put_object IfMatch: PreconditionFailed
delete_object IfMatch: PreconditionFailed
complete_multipart_upload IfNoneMatch: PreconditionFailed
complete_multipart_upload IfMatch: done
copy_object CopySourceIfMatch: done
copy_object IfMatch: done
copy_object IfNoneMatch: done
delete_objects ETag: done"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
