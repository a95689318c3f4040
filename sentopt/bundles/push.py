"""A bundle in a repository of the Hugging Face Hub, with a model card."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

from sentopt.bundles import card
from sentopt.errors import PublishError
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import read_files


def push(
    bundle: Path,
    repository: str,
    *,
    private: bool = False,
    revision: str = "main",
    license_id: str = "",
    message: str = "",
) -> str:
    """Check the bundle, upload it in one commit, and return the address of that commit.

    The repository is created if it does not exist. The token is that of `hf auth login`, or HF_TOKEN.

    Raises:
        BundleError: no bundle, damaged files, or golden texts that are answered differently here.
        PublishError: the hub cannot be reached, or refuses the name or the token.
    """
    description, files = read_files(bundle)
    Classifier.load(files).check_golden()  # without the FP32 fallback of `check=True`
    files["README.md"] = card.write(description, license_id=license_id).encode()
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    api = HfApi(library_name="sentopt")
    try:
        api.create_repo(repository, private=private, exist_ok=True, repo_type="model")
        done = api.create_commit(
            repository,
            operations,
            commit_message=message or f"{description.name}: {description.variant}",
            revision=revision,
        )
    except HFValidationError as error:
        raise PublishError(f"{repository!r} is no name of a repository, expected OWNER/NAME: {error}") from error
    except Exception as error:  # the hub client passes on those of its HTTP library: requests, httpx or httpx2
        raise PublishError(f"cannot push to {repository} at {api.endpoint}: {error}\n{_advice(error)}") from error
    return str(done.commit_url)


def _advice(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status in (401, 403):
        return "Pushing needs a token with write access: `hf auth login`, or HF_TOKEN in the environment."
    if status is None:
        return "Nothing was uploaded. Check that this machine can reach the hub."
    return "Nothing was committed."
