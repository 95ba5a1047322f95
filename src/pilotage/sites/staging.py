"""What a site says of the files and folders of its tasks: ``[site.NAME.staging]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pilotage.errors import SiteValueError
from pilotage.sites.base import Absolute, Line, Model
from pilotage.sites.keeping import size

Copies = Literal["worker", "driver"]
SECRETS = ("key", "secret", "token", "password", "passwd", "credential")
"""What the name of an option has that holds a secret; ``key_filename`` and the like are no secrets."""


class Scheme(Model):
    """What holds for one scheme."""

    copied_by: Copies = "worker"
    """Who copies: the ``worker``, in the task's own slot, or the ``driver``, where only that has credentials."""
    silence: Annotated[float, Field(gt=0)] | None = None
    """Seconds without a byte after which a transfer is begun anew; 60 when not given."""


class S3(Scheme):
    """Buckets of S3, and of what speaks as it does."""

    endpoint_url: Line | None = None
    """The server, where it is not Amazon's."""
    profile: Line | None = None
    """Profile in ``~/.aws``, where the copying is done."""
    region: Line | None = None
    """Region of the bucket."""
    anonymous: bool | None = None
    """Whether the bucket is public, and asked without credentials."""


class GS(Scheme):
    """Buckets of Google Cloud Storage."""

    endpoint_url: Line | None = None
    """The server, where it is not Google's."""
    project: Line | None = None
    """Project that pays."""
    anonymous: bool | None = None
    """Whether the bucket is public, and asked without credentials."""


class Staging(Model):
    """How files and folders are brought to tasks and from them; credentials come from where they usually are."""

    shared_filesystem: bool | None = None
    """Whether workers see the driver's files under the same paths; by the site's kind when not given."""
    cache: Absolute | None = None
    """Folder on the nodes in which inputs are kept for later runs; without it they are gone with the block."""
    cache_size: Line = "20GB"
    """What is kept there at most."""
    keep: Absolute | None = None
    """Folder on the nodes for those of failed tasks that are kept."""
    s3: S3 = Field(default_factory=S3)
    """``s3://BUCKET/KEY``."""
    gs: GS = Field(default_factory=GS)
    """``gs://BUCKET/NAME``."""
    ssh: Scheme = Field(default_factory=Scheme)
    """``ssh://HOST/PATH`` and ``sftp://``."""
    http: Scheme = Field(default_factory=Scheme)
    """``http://`` and ``https://``."""
    fsspec: dict[str, dict[str, Line | int | float | bool]] = Field(default_factory=dict)
    """Of any other protocol of fsspec, what its filesystem takes; ``copied_by`` beside it."""

    @field_validator("cache_size")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        try:
            size(value)
        except SiteValueError as error:  # which is told with file and line
            raise ValueError(f"{error.message}: {error.hint}") from error
        return value

    @field_validator("fsspec")
    @classmethod
    def _no_secrets(
        cls, value: dict[str, dict[str, Line | int | float | bool]]
    ) -> dict[str, dict[str, Line | int | float | bool]]:
        for protocol, options in value.items():
            for name, given in options.items():
                if any(name.lower().endswith(word) for word in SECRETS):
                    raise ValueError(f"{protocol}.{name}: no secret belongs into a site file, which commands show")
                if name == "copied_by" and given not in ("worker", "driver"):
                    raise ValueError(f"{protocol}.copied_by: expected 'worker' or 'driver'")
        return value

    def options(self) -> dict[str, dict[str, Line | int | float | bool]]:
        """Return what each scheme's store is told."""
        tables = {name: getattr(self, name).model_dump(exclude_none=True) for name in ("s3", "gs", "ssh", "http")}
        tables["https"] = tables["http"]
        every = {**tables, **self.fsspec}
        found = {
            scheme: {name: value for name, value in options.items() if name != "copied_by"}
            for scheme, options in every.items()
        }
        return {scheme: options for scheme, options in found.items() if options}

    def copies(self) -> dict[str, str]:
        """Return the schemes that the driver copies."""
        found = {name: getattr(self, name).copied_by for name in ("s3", "gs", "ssh", "http")}
        found["https"] = found["http"]
        found.update({name: str(options.get("copied_by", "worker")) for name, options in self.fsspec.items()})
        return {scheme: who for scheme, who in found.items() if who == "driver"}
