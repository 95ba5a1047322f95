"""A bucket of moto's S3 server."""

import json
import sys
from contextlib import contextmanager

from stores.keeper import Keeper
from stores.server import started

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDTESTS", "AWS_SECRET_ACCESS_KEY": "very-secret"}


class KEEPER(Keeper):
    links = False
    any_name = True

    def __init__(self, client, bucket, folder):
        super().__init__(f"s3://{bucket}/{folder}", {"endpoint_url": client.meta.endpoint_url}, KEYS)
        self.client, self.bucket, self.folder_name = client, bucket, folder
        self.client.create_bucket(Bucket=bucket)

    def _key(self, path):
        return {"Bucket": self.bucket, "Key": f"{self.folder_name}/{path}"}

    def write(self, path, data, executable=False):
        metadata = {"mode": "0100755"} if executable else {}
        self.client.put_object(**self._key(path), Body=data, Metadata=metadata)

    def read(self, path):
        return self.client.get_object(**self._key(path))["Body"].read()

    def names(self):
        """The parts of uploads that have not ended too."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        uploads = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        keys += [f"{one['Key']} (upload)" for one in uploads]
        return {key.removeprefix(f"{self.folder_name}/") for key in keys}

    def executable(self, path):
        mode = self.client.head_object(**self._key(path))["Metadata"].get("mode", "0")
        return bool(int(mode, 8) & 0o100)

    def folder(self, path):
        self.client.put_object(**self._key(f"{path}/"), Body=b"")

    @contextmanager
    def refused(self, path):
        resource = f"arn:aws:s3:::{self.bucket}/{self.folder_name}/{path}"
        refusal = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resource}
        policy = {"Version": "2012-10-17", "Statement": [refusal]}
        self.client.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))
        try:
            yield self.at(path)
        finally:
            self.client.delete_bucket_policy(Bucket=self.bucket)


@contextmanager
def serve(folder):
    from botocore.session import Session

    program = "import sys; from moto.server import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, "-H", "127.0.0.1", "-p", "0"]
    with started(words, r"Running on (http://127\.0\.0\.1:\d+)", folder / "log") as (endpoint,):
        client = Session().create_client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="AKIDOTHER",
            aws_secret_access_key="other",
        )
        yield lambda name: KEEPER(client, name.replace(" ", "-"), f"{name} #1")
        client.close()
