"""`hf://org/name@revision`: the Hugging Face hub, read only. The only module that knows huggingface_hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retune_stores.base import Entry, Place, sha256_file
from retune_stores.errors import InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DATASETS = "datasets/"


class HfStore:
    """Files of one repository at one commit."""

    def __init__(self, place: Place, *, kind: Literal["model", "dataset"]) -> None:
        """`kind` says what is meant when the URI itself does not (`hf://datasets/…` does)."""
        rest = place.uri.removeprefix("hf://").strip("/")
        self._place = place
        self.uri = place.uri.rstrip("/")
        self._kind: Literal["model", "dataset"] = "dataset" if rest.startswith(DATASETS) else kind
        segments = rest.removeprefix(DATASETS).split("/")
        if len(segments) < 2 or not all(segments):
            cure = "write hf://ORG/NAME@REVISION"
            raise InputError("ConfigInvalid", place.field, f"{place.uri!r} names no repository; {cure}")
        name, _, revision = segments[1].partition("@")
        self._repo = f"{segments[0]}/{name}"
        self._revision = revision or "main"
        self._folder = "/".join(segments[2:])

    @cached_property
    def _token(self) -> str | Literal[False]:
        return self._place.credentials.get("HF_TOKEN") or False

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=self._token)

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        uri = f"{self.uri}/{path}" if path else self.uri
        try:
            yield
        except GatedRepoError:
            raise self._place.rejected("its licence must be accepted, and HF_TOKEN be of who did") from None
        except LocalEntryNotFoundError as error:
            # Said, in spite of its name, when the hub cannot be reached and nothing is cached.
            raise StoreError(self._place.field, f"{uri} could not be reached: {error}") from None
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
            detail = "or is private: then its secretRef needs HF_TOKEN" if not self._token else ""
            raise NotFoundError(uri, detail) from None
        except HFValidationError as error:
            raise InputError("ConfigInvalid", self._place.field, f"{uri}: {error}") from None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in {401, 403}:
                raise self._place.rejected(f"the hub answered {status}") from None
            raise StoreError(self._place.field, f"{uri}: the hub answered {status}") from None
        except OSError as error:
            raise StoreError(self._place.field, f"{uri} could not be reached: {error}") from None

    @cached_property
    def _listing(self) -> tuple[str, list[Entry]]:
        with self._errors():
            info = self._api.repo_info(self._repo, revision=self._revision, repo_type=self._kind, files_metadata=True)
        folder = f"{self._folder}/" if self._folder else ""
        found = [
            Entry(file.rfilename.removeprefix(folder), file.size or 0, file.blob_id or "")
            for file in getattr(info, "siblings", None) or []
            if file.rfilename.startswith(folder)
        ]
        return str(info.sha), sorted(found)

    def entries(self, prefix: str = "") -> list[Entry]:
        """Every file of the commit whose path starts with `prefix`."""
        return [entry for entry in self._listing[1] if entry.path.startswith(prefix)]

    def identity(self) -> str:
        """The commit: a branch or tag may move, a commit does not."""
        return f"hf:{self._listing[0]}"

    def _fetch(self, path: str) -> Path:
        name = f"{self._folder}/{path}" if self._folder else path
        with self._errors(path):
            return Path(self._api.hf_hub_download(self._repo, name, revision=self._listing[0], repo_type=self._kind))

    def read(self, path: str) -> bytes:
        """A small file, whole."""
        return self._fetch(path).read_bytes()

    def download(self, path: str, target: Path) -> str:
        """Through the hub's own cache, into which the target then links."""
        cached = self._fetch(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(cached)
        return sha256_file(target)

    def put(self, path: str, content: bytes | Path, *, if_absent: bool = False) -> bool:
        """Refused: a repository's history is no place for checkpoints, and it has no conditional write."""
        del content, if_absent
        raise self._place.not_writable(f"{path} would have to be committed; use s3:// or pvc://")

    def delete(self, paths: Iterable[str]) -> None:
        """Refused, like `put`."""
        raise self._place.not_writable(f"nothing is deleted there ({', '.join(paths)})")
