"""A bucket's door: where it is, who asks, and what its refusals mean.

botocore knows the places where credentials are (environment, profiles, single sign-on, a machine's role), renews those
that end, and asks for what obstore has no word for. obstore moves the bytes, with the same credentials.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import obstore.exceptions
import obstore.store
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.config import Config
from botocore.session import Session

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, PilotageError, UsageError

AWS = (".amazonaws.com", ".amazonaws.com.cn")
RENEWAL = timedelta(minutes=5)
"""How long obstore may use credentials before it asks again; botocore renews them ten minutes before their end."""
PART = 16 << 20
"""Bytes that are sent at once."""
SLOWEST = 100_000
"""Bytes a second below which an upload's piece is taken for one that hangs."""
CONNECT = 20
"""Seconds to wait for a connection, where ``silence`` is not less."""

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_AGAIN = {
    "SlowDown",
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}
_UNKNOWN = {
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
    "InvalidClientTokenId",
}
_NO_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.TokenRetrievalError,
    boto.SSOError, boto.NoAuthTokenError, boto.RefreshWithMFAUnsupportedError, boto.MetadataRetrievalError,
)  # fmt: skip
_STATUS = re.compile(r"status(?: code:)? (\d{3})")
_CODE, _WORDS = re.compile(r"<Code>([^<]*)</Code>"), re.compile(r"<Message>([^<]*)</Message>")


class ExpiredError(DeniedError):
    """The credentials have ended; others may be there by now."""


class Door:
    """Clients of one bucket, made when they are first needed and anew when the credentials have ended.

    Parameters
    ----------
    bucket: its name.
    options: ``endpoint_url``, ``profile``, ``region``, ``addressing`` ("path" or "virtual"; by itself, path below an
        endpoint that is not Amazon's), ``anonymous``, ``silence`` in seconds.
    connections: as many as are used at once.
    """

    def __init__(self, bucket: str, options: Mapping[str, Any], connections: int) -> None:
        self.bucket = bucket
        self._options = options
        self._connections = connections
        self._silence = float(options.get("silence", 60))
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._client: Any = None
        self._fast: dict[bool, obstore.store.S3Store] = {}
        self._session: Any = None
        self._credentials: Any = None
        self._refused: Exception | None = None

    @property
    def client(self) -> Any:
        """botocore's client."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def fast(self, path: str, uploads: bool = False) -> obstore.store.S3Store | None:
        """Return obstore's client, or None where it does not understand the bucket or the name.

        An upload's answer comes only after all its bytes, so that it is waited for longer.
        """
        if self.bucket.startswith("arn:") or self.bucket.endswith("--x-s3"):
            return None
        if any(part in ("", ".", "..") for part in path.split("/")) or any(
            ord(one) < 32 or ord(one) == 127 for one in path
        ):
            return None
        with self._lock:
            if uploads not in self._fast:
                self._fast[uploads] = self._connect_fast(uploads)
            return self._fast[uploads]

    def renew(self, seen: object) -> None:
        """Look for credentials again, unless somebody has since ``seen`` was the client."""
        with self._lock:
            if self._client is seen:
                self._forget()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._forget()

    def _connect(self) -> Any:
        self._session = Session(profile=self._options.get("profile"))
        region = self._options.get("region")
        client = self._client_in(region)
        if not self._options.get("anonymous"):
            self._credentials = self._session.get_credentials()
        if not region and self._is_aws(client) and not self.bucket.startswith("arn:"):
            # obstore follows no redirection to the region that a bucket is in, and botocore would for each request
            found = self._region_of_bucket(client)
            if found not in (None, client.meta.region_name):
                client = self._client_in(found)
        return client

    def _client_in(self, region: str | None) -> Any:
        config = Config(
            connect_timeout=min(CONNECT, self._silence),
            read_timeout=self._silence,
            retries={"total_max_attempts": 1},  # `patiently` tries again
            max_pool_connections=self._connections,
            # what newer ones of Amazon want by default, and many others do not know
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # the server compares the content with what is signed, with or without TLS
            s3={"payload_signing_enabled": True, "addressing_style": self._options.get("addressing", "auto")},
            **({"signature_version": UNSIGNED} if self._options.get("anonymous") else {}),
        )
        region = region or self._session.get_config_variable("region")
        return self._session.create_client(
            "s3", region_name=region or "us-east-1", endpoint_url=self._options.get("endpoint_url"), config=config
        )

    @staticmethod
    def _is_aws(client: Any) -> bool:
        return (urlsplit(client.meta.endpoint_url).hostname or "").endswith(AWS)

    def _region_of_bucket(self, client: Any) -> str | None:
        try:
            answer = client.head_bucket(Bucket=self.bucket)
        except boto.ClientError as error:  # it is told with a refusal too
            answer = error.response
        found: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        return found

    def _connect_fast(self, uploads: bool) -> obstore.store.S3Store:
        client = self.client
        endpoint = client.meta.endpoint_url.rstrip("/")
        addressing = self._options.get("addressing") or (
            "virtual" if self._is_aws(client) and "." not in self.bucket else "path"
        )
        if addressing == "virtual":
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{self.bucket}.{host}"
        patience = timedelta(seconds=self._silence)
        if uploads:
            patience += timedelta(seconds=PART / SLOWEST)
        options: dict[str, Any] = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(CONNECT, self._silence)),
            "read_timeout": patience,
            "timeout": timedelta(days=1),
        }
        bundle = self._session.get_config_variable("ca_bundle")
        if bundle:
            try:
                with open(bundle, "rb") as file:
                    options["root_certificate"] = file.read()
            except OSError as error:
                raise UsageError(f"the certificates cannot be read: {error}", where=bundle) from error
        who: dict[str, Any] = {"skip_signature": True}
        if not self._options.get("anonymous"):
            if self._credentials is None:
                raise boto.NoCredentialsError
            self._credential()  # what it raises is clearer from here than through obstore
            who = {"credential_provider": self._credential}
        return obstore.store.S3Store(
            self.bucket,
            endpoint=endpoint,
            region=client.meta.region_name,
            virtual_hosted_style_request=addressing == "virtual",
            client_options=options,  # type: ignore[arg-type]
            retry_config={"max_retries": 0},
            **who,
        )

    def _credential(self) -> Any:
        """Return what obstore signs with."""
        try:
            now = self._credentials.get_frozen_credentials()
        except Exception as error:
            self._refused = error
            raise
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + RENEWAL,
        }

    def who(self) -> str:
        """Return in words whose credentials are used."""
        if self._options.get("anonymous"):
            return "anonymous, as the option says"
        method = getattr(self._credentials, "method", None)
        if method is None:
            return "no credentials"
        if method == "env":
            return "the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if method in ("iam-role", "container-role"):
            return "the role of this machine"
        return f"profile {self._session.profile or 'default'} ({method})"

    @contextmanager
    def told(self, path: str) -> Iterator[None]:
        """Turn what botocore and obstore raise within into a DataError that names the URL."""
        where = f"s3://{self.bucket}/{path}"
        try:
            yield
        except boto.ClientError as error:
            answer = error.response
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise self._meant(status, **_words(answer.get("Error", {})), where=where) from error
        except obstore.exceptions.BaseError as error:
            raise self._of_obstore(error, where) from error
        except FileNotFoundError as error:  # which is what obstore raises
            raise self._of_obstore(error, where) from error
        except _NO_CREDENTIALS as error:
            raise self._no_credentials(error, where) from error
        except boto.ProfileNotFound as error:
            raise UsageError(f"there is no profile {self._options.get('profile')!r}: {error}", where=where) from error
        except (boto.ParamValidationError, boto.NoRegionError, ValueError) as error:
            raise UsageError(f"it cannot be asked for: {error}", where=where) from error
        except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
            raise BrokenTransferError(f"the connection broke: {error}", where=where) from error
        except boto.BotoCoreError as error:
            raise DataError(f"it cannot be asked for: {error}", where=where) from error

    def _no_credentials(self, error: Exception, where: str) -> DeniedError:
        return DeniedError(
            f"there are no credentials that can be used: {error}",
            where=where,
            hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with aws sso login; "
            "of a public bucket: anonymous = true",
        )

    def _of_obstore(self, error: Exception, where: str) -> PilotageError:
        if self._refused is not None:
            refused, self._refused = self._refused, None
            return self._no_credentials(refused, where)
        text = str(error).partition("\n\nDebug source")[0]
        found = _STATUS.search(text)
        if found is None and "incorrectly configured region" in text:
            return self._meant(301, "PermanentRedirect", "", where)
        if found is None:
            return BrokenTransferError(f"the connection broke: {text.rpartition(' - ')[2]}", where=where)
        code, words = _CODE.search(text), _WORDS.search(text)
        return self._meant(int(found[1]), code[1] if code else "", words[1] if words else "", where)

    def _meant(self, status: int, code: str, words: str, where: str) -> PilotageError:
        """Return the error that an answer stands for."""
        said = ": ".join(part for part in (code, words) if part) or f"status {status}"
        if code in _EXPIRED:
            return ExpiredError(
                f"{said} (with {self.who()})", where=where, hint="renew them, such as with aws sso login"
            )
        if code == "InvalidObjectState":
            return DeniedError(said, where=where, hint="it is archived; restore it first: aws s3api restore-object")
        if status in (401, 403) or code in _UNKNOWN:
            return DeniedError(f"{said} (with {self.who()})", where=where)
        if code in ("NoSuchBucket", "NoSuchKey", "NoSuchUpload") or status == 404:
            words = "there is no such bucket" if code == "NoSuchBucket" else "there is no such object"
            return NotThereError(words, where=where)
        if status == 412:
            return BrokenTransferError("it was replaced while it was read", where=where)
        if status == 416:
            return BrokenTransferError("it became shorter while it was read", where=where)
        if status >= 500 or status == 429 or code in _AGAIN:
            return BrokenTransferError(said, where=where)
        if status == 301 or code == "PermanentRedirect":
            return DataError(f"{said}: it is in another region", where=where, hint="leave out the option region")
        return DataError(said, where=where)


def _words(error: Mapping[str, Any]) -> dict[str, str]:
    """Return code and words of botocore's error; of an answer without a body it makes a code of the status."""
    code, words = str(error.get("Code", "")), str(error.get("Message", ""))
    return {"code": "" if code.isdigit() else code, "words": words}
