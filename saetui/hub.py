"""Files of a repository on the Hugging Face hub, or of the local hub cache where there is no network."""

from pathlib import Path

from saetui.errors import UserError


def snapshot(repo: str, patterns: list[str], kind: str = "model") -> Path:
    """Folder with the files of ``repo`` that match any of ``patterns``, downloaded if need be.

    ``kind`` is ``model`` or ``dataset``. With no network, or with ``HF_HUB_OFFLINE=1``, it is what the
    local hub cache holds. UserError where that is nothing, or where the hub knows no such repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import httpx  # whichever of its versions the hub client speaks with

    try:
        return Path(snapshot_download(repo, repo_type=kind, allow_patterns=patterns))
    except HFValidationError:
        raise UserError(
            f"{repo!r} is neither a folder nor the name of a hub repository (owner/name)"
        ) from None
    except GatedRepoError:
        raise UserError(f"the hub repository {repo} asks for a login: run `hf auth login`") from None
    except RepositoryNotFoundError:
        raise UserError(f"the hub has no {kind} {repo}") from None
    except LocalEntryNotFoundError:
        command = f"hf download {repo}" + (" --repo-type dataset" if kind == "dataset" else "")
        raise UserError(
            f"{repo} is not (wholly) in the local hub cache and the hub cannot be reached: "
            f"run `{command}` where there is a network"
        ) from None
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise UserError(f"cannot get {repo} from the hub: {' '.join(str(error).split())[:200]}") from None
