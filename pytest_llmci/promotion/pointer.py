"""``model_pointer.json``: which model a registered version is, precise enough to load it again, without its weights.

History of the schema:

llmci-model-pointer/1   first version; later with ``files``, which is empty in older ones
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

from ..engine.comparisons.release_gate import pinned_spec
from ..engine.comparisons.stored_run import StoredRun
from ..errors import StoreError
from ..records import Json, ModelSpec, from_json, to_json
from ..store.comparability import SUBJECT_FACTS

SCHEMA: Final = "llmci-model-pointer/1"
POINTER_NAME: Final = "model_pointer.json"
WEIGHTS_FOLDER: Final = "weights"
"""Artifact folder of the run that holds the weights, where they were uploaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPointer:
    """One model as a run measured it."""

    schema: str = SCHEMA
    model: str
    """Its alias in the run: what its cells are called by."""
    spec: ModelSpec
    """With the revision that was loaded: give its ``text`` to ``--llm-models`` to get this model again."""
    revision: str = ""
    """Commit of the hub repository; empty for everything else."""
    sha256: str = ""
    """Of the weights; empty where they have none, as an endpoint or a callable may."""
    sha256_of: Literal["", "file", "folder"] = ""
    """``file``: of its bytes. ``folder``: of a list of its files with the digest of each."""
    files: dict[str, str] = field(default_factory=dict)
    """Of a commit of the hub: path in the repository -> checksum of each file that was there when it was measured, git's sha1 or sha256."""
    facts: dict[str, Json] = field(default_factory=dict)
    """What else the run says of it: quantization, dtype, architecture, parameters, versions of libraries."""
    run_id: str
    """The run that measured it."""
    log_digest: str
    """Of that run's log."""
    commit: str = ""
    """Of the code that was measured; empty outside a checkout."""
    dirty: bool = False
    """Whether that checkout held changes that no commit has."""
    weights: str = ""
    """Artifact of the same MLflow run that holds the weights; empty unless they were uploaded."""

    @property
    def text(self) -> str:
        """The file."""
        return json.dumps(to_json(self), indent=1, sort_keys=True) + "\n"

    @property
    def digest(self) -> str:
        """sha256 of the file, as the version's tag holds it."""
        return sha256(self.text.encode("ascii")).hexdigest()


def pointer_of(run: StoredRun, alias: str, log_digest: str, *, weights: str = "") -> ModelPointer:
    """The pointer to one of a run's models.

    :raises StoreError: if the run never got to know that model, as where it could not be loaded.
    """
    model = run.models.get(alias)
    if model is None:
        raise StoreError(f"{run.name} does not know what model '{alias}' is: it was never loaded.")
    facts = model.subject.facts
    file, folder = (facts.get(name) for name in ("file_sha256", "manifest_sha256"))
    revision = facts.get("revision")
    git = run.environment.get("git")
    return ModelPointer(
        model=alias,
        spec=pinned_spec(model),
        revision=revision if isinstance(revision, str) else "",
        sha256=str(file or folder or ""),
        sha256_of="file" if file else "folder" if folder else "",
        files=dict(model.files),
        facts={name: facts[name] for name in SUBJECT_FACTS if name in facts},
        run_id=run.run_id,
        log_digest=log_digest,
        commit=run.commit,
        dirty=isinstance(git, dict) and bool(git.get("dirty")),
        weights=weights,
    )


def read_pointer(content: bytes, where: str) -> ModelPointer:
    """The pointer in a file's bytes.

    :param where: for messages.
    :raises StoreError: if it is none, or of a version that is not known.
    """
    try:
        data = json.loads(content)
    except ValueError as error:
        raise StoreError(f"{where}: {POINTER_NAME} is not JSON: {error}.") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise StoreError(f"{where}: the schema of {POINTER_NAME} is {schema!r}, and this version reads '{SCHEMA}'.")
    try:
        return from_json(ModelPointer, data)
    except StoreError as error:
        raise StoreError(f"{where}: {POINTER_NAME}: {error}") from error
