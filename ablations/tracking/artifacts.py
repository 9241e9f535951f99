"""Files of a parent run, which are made only if they must be sent."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

FIGURES = "figures"
"""Folder of the pictures among a run's artifacts."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that is costly to make, and how to tell that it has changed without making it."""

    digest: str
    """Differs if the content does; a figure's is that of the data that it plots."""

    render: Callable[[], str | bytes]
    """Makes the content."""


AnyArtifact = Artifact | str | bytes
"""A file's content, or how to make it."""


def place_artifacts(artifacts: Mapping[str, AnyArtifact]) -> dict[str, Artifact]:
    """The files by path: pictures in a folder of their own, what people read at the root.

    >>> list(place_artifacts({"errors.png": b"", "errors.svg": "", "table.tex": ""}))
    ['figures/errors.png', 'errors.svg', 'table.tex']
    """
    return {
        f"{FIGURES}/{name}" if PurePosixPath(name).suffix == ".png" else name: _wrap(artifact)
        for name, artifact in artifacts.items()
    }


def _wrap(artifact: AnyArtifact) -> Artifact:
    if isinstance(artifact, Artifact):
        return artifact
    content = artifact if isinstance(artifact, bytes) else artifact.encode()
    return Artifact(digest=hashlib.sha256(content).hexdigest(), render=lambda: artifact)
