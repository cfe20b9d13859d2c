"""Files of the Hugging Face hub: out of its cache, else fetched, without long waits offline."""

import re
from collections.abc import Sequence
from pathlib import Path

SECONDS = 4.0  # to wait for the hub's first answer; its library tries for minutes
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the best first; both are read as tensors


def split_revision(repository: str) -> tuple[str, str | None]:
    """Return the repository and the branch, tag or commit of OWNER/NAME@REVISION."""
    name, _, revision = repository.partition("@")
    return name, revision or None


def hub_url(repository: str, file: str) -> str:
    """Return where a file of a repository is fetched from."""
    from huggingface_hub import hf_hub_url

    name, revision = split_revision(repository)
    return str(hf_hub_url(name, file, revision=revision))


def cached_file(repository: str, files: Sequence[str]) -> Path | None:
    """Return the first of these files that lies in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    name, revision = split_revision(repository)
    found = (try_to_load_from_cache(name, file, revision=revision) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def hub_file(repository: str, files: Sequence[str]) -> Path:
    """Return the first of these files that the repository has, fetched where it is not cached.

    Raises `OSError`, whose text is one line, where there is none, and of these `ConnectionError`
    where the hub cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = split_revision(repository)
    try:
        if cached := cached_file(repository, files):
            return cached
        for file in files:
            try:
                get_hf_file_metadata(hub_url(repository, file), timeout=SECONDS)
            except EntryNotFoundError:
                continue
            return Path(hf_hub_download(name, file, revision=revision, etag_timeout=SECONDS))
    except HFValidationError as error:
        raise OSError(f"{name!r} is no name of a repository: it is OWNER/NAME") from error
    except GatedRepoError as error:
        raise OSError(
            f"{name} asks for consent: give it on the hub's page, then run: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise OSError(f"the hub has no repository {name}, or not for everybody") from error
    except RevisionNotFoundError as error:
        raise OSError(f"{name} has no revision {revision}") from error
    except Exception as error:  # of whatever HTTP library this release of the hub's uses
        reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error).partition("\n")[0])
        raise ConnectionError(
            f"the hub does not answer: {reason or type(error).__name__}"
        ) from error
    raise OSError(f"{name} has no {' or '.join(files)}")
