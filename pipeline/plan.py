"""The chain as data: what exists for each name in the project file, what it is built from, and what would run.

In: a checked project and its storage folder. Out: nodes in topological order, the version each would have today, and
one sentence of reason for each that is not up to date. Imports neither torch, Dagster nor MLflow, so that
`textmill check` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from pipeline import cleaning, corpus, evaluation, ingestion, registry, shards, stats, tokenizer, training
from pipeline.artifacts import Artifact, ArtifactRef, ArtifactStore, Draft
from pipeline.config import DatasetConfig, NgramConfig, Project
from pipeline.config.starting import StartSettings
from pipeline.corpus.expectation import judge_kept
from pipeline.errors import ArtifactDamaged, ArtifactMissing, ConfigurationError, InputError
from pipeline.files import fingerprint, sha256_file
from pipeline.ingestion.parts import list_parts
from pipeline.progress import Progress
from pipeline.registry.connection import database_file, named_server, tracking_uri
from pipeline.training.start_folder import arpa_content, folder_content

NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})
RAW, CLEAN, CORPUS, STATS = "raw_documents", "clean_documents", "corpus", "corpus_stats"
TOKENIZER, SHARDS = "tokenizer", "token_shards"
MODEL, EVALUATION, REGISTERED = "trained_model", "evaluation", "registered_model"
AGAINST = "against:"
"""Before the role of a text that a corpus is decontaminated against; no source has a colon in its name."""
START, START_CORPUS = "start", "start_corpus"
"""The roles of what a model begins with, and of the text that that has read."""

CODE_VERSIONS: Mapping[str, str] = {
    RAW: ingestion.CODE_VERSION,
    CLEAN: cleaning.CODE_VERSION,
    CORPUS: corpus.CODE_VERSION,
    STATS: stats.CODE_VERSION,
    TOKENIZER: tokenizer.CODE_VERSION,
    SHARDS: shards.CODE_VERSION,
    MODEL: training.CODE_VERSION,
    EVALUATION: evaluation.CODE_VERSION,
    REGISTERED: registry.CODE_VERSION,
}
"""Stage -> code version, in data-flow order; raising one rebuilds that stage and what depends on its content."""

STAGES = tuple(CODE_VERSIONS)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """`stage/name`: the asset key, and what the command line takes."""

    stage: str
    name: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One asset."""

    key: Key
    inputs: Mapping[str, Key]
    """Role -> what it reads."""
    literals: Callable[[], dict[str, Any]]
    """The settings that change the result; for a source this reads its files' hashes."""
    loose: frozenset[str] = field(default=frozenset())
    """Roles whose content does not change the version: a tokenizer that stays as its corpus grows."""
    through: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NOTHING)
    """Role -> another role, and the way from that to what it was built from: a model is measured on the corpus that it was
    trained on, also when another one is in use by now."""

    @property
    def code_version(self) -> str:
        return CODE_VERSIONS[self.key.stage]

    def version(self, inputs: Mapping[str, ArtifactRef], literals: Mapping[str, Any]) -> str:
        """The version these inputs and settings give."""
        content = {role: ref.content_hash for role, ref in inputs.items() if role not in self.loose}
        return fingerprint([self.key.stage, self.code_version, dict(literals), content])


def build_nodes(project: Project) -> dict[Key, Node]:
    """Every asset of the project file, each after what it reads."""
    nodes: list[Node] = []

    def add(
        stage: str,
        name: str,
        inputs: Mapping[str, Key],
        literals: Callable[[], dict[str, Any]],
        loose: frozenset[str] = frozenset(),
        through: Mapping[str, tuple[str, ...]] = NOTHING,
    ) -> None:
        nodes.append(Node(key=Key(stage, name), inputs=inputs, literals=literals, loose=loose, through=through))

    for name in project.sources:
        add(RAW, name, {}, partial(_source_literals, project, name))
    for name in project.sources:
        add(CLEAN, name, {"raw": Key(RAW, name)}, project.sources[name].cleaning_literals)
    for name in project.corpora_in_order():
        corpus_config = project.corpora[name]
        read = {source: Key(CLEAN, source) for source in corpus_config.sources}
        for other in corpus_config.decontaminate.against if corpus_config.decontaminate else ():
            read[f"{AGAINST}{other}"] = Key(CORPUS if other in project.corpora else CLEAN, other)
        add(CORPUS, name, read, partial(_corpus_literals, project, name))
    for name, corpus_config in project.corpora.items():
        # the sources' rejects are counted too, so the statistics read the stages before the corpus
        upstream = {f"raw_{source}": Key(RAW, source) for source in corpus_config.sources}
        upstream |= {f"clean_{source}": Key(CLEAN, source) for source in corpus_config.sources}
        add(STATS, name, {"corpus": Key(CORPUS, name), **upstream}, dict)
    for name, tokenizer_config in project.tokenizers.items():
        loose = frozenset({"corpus"}) if tokenizer_config.refit == "on_change" else frozenset[str]()
        read = {"corpus": Key(CORPUS, tokenizer_config.corpus)}
        add(TOKENIZER, name, read, partial(_tokenizer_literals, project, name), loose)
    for name, dataset in project.datasets.items():
        inputs = {"corpus": Key(CORPUS, dataset.corpus), **_tokenizers(dataset)}
        add(SHARDS, name, inputs, dataset.literals)
    for name in _models_in_order(project):
        model = project.models[name]
        dataset = project.datasets[model.dataset]
        corpus_key, shards_key, model_key = Key(CORPUS, dataset.corpus), Key(SHARDS, model.dataset), Key(MODEL, name)
        inputs, loose = {"shards": shards_key, **_tokenizers(dataset)}, frozenset[str]()
        through: Mapping[str, tuple[str, ...]] = NOTHING
        if (begun := _start_model(project, name)) is not None:
            inputs[START] = Key(MODEL, begun)
            inputs[START_CORPUS] = Key(CORPUS, project.datasets[project.models[begun].dataset].corpus)
            loose, through = frozenset({START_CORPUS}), {START_CORPUS: (START, "shards", "corpus")}
        elif (waited := _start_registered(project, name)) is not None:
            # only the version that the reference then means counts, by its content, see _training_literals
            inputs[START], loose = Key(REGISTERED, waited), frozenset({START})
        add(MODEL, name, inputs, partial(_training_literals, project, name), loose, through)
        inputs = {"model": model_key, "corpus": corpus_key, "shards": shards_key}
        through = {"shards": ("model", "shards"), "corpus": ("shards", "corpus")}
        add(EVALUATION, name, inputs, partial(_evaluation_literals, project, name), through=through)
        inputs = {"evaluation": Key(EVALUATION, name), "model": model_key, "corpus": corpus_key, "shards": shards_key}
        if model.promote.must_beat != "unigram":
            inputs["baseline"] = Key(REGISTERED, model.promote.must_beat)
        # the champion a challenger meets is outside the version: what was decided once is not decided again
        through = {role: ("evaluation", role) for role in ("model", "shards", "corpus")}
        add(
            REGISTERED,
            name,
            inputs,
            partial(_promotion_literals, project, name),
            frozenset({"baseline"}),
            through,
        )
    return {node.key: node for node in _after_what_they_read(nodes)}


def _after_what_they_read(nodes: list[Node]) -> list[Node]:
    """The nodes in the order given, but each after its inputs."""
    pending = {node.key: node for node in nodes}
    ordered: dict[Key, Node] = {}

    def place(key: Key) -> None:
        if (node := pending.pop(key, None)) is not None:
            for upstream in node.inputs.values():
                place(upstream)
            ordered[key] = node

    for node in nodes:
        place(node.key)
    return list(ordered.values())


def _start_model(project: Project, name: str) -> str | None:
    """The model of the file that a model begins with."""
    model = project.models[name]
    return model.start_model if isinstance(model, StartSettings) else None


def _start_registered(project: Project, name: str) -> str | None:
    """The model of the file whose registry version a model begins with; not itself, whose old versions are there already."""
    model = project.models[name]
    reference = model.registry_reference if isinstance(model, StartSettings) else None
    return reference.name if reference and reference.name in project.models and reference.name != name else None


def _training_literals(project: Project, name: str) -> dict[str, Any]:
    """The settings, and of weights to begin with that no asset makes, their content."""
    model = project.models[name]
    literals = model.training_literals()
    if isinstance(model, NgramConfig):
        literals["ngram_code_version"] = training.NGRAM_CODE_VERSION
        if model.init_from is not None:
            literals["init_from"] = {"content_hash": _start_content(project, name, model.init_from, arpa_content)}
        return literals
    if not isinstance(model, StartSettings):
        return literals
    if (reference := model.registry_reference) is not None:
        from pipeline.registry.starting import resolve_start

        found = resolve_start(tracking_uri(project.storage_folder), reference)
        literals["init_from"] = {"content_hash": found.content_hash}
    elif model.start_folder is not None:
        literals["init_from"] = {"content_hash": _start_content(project, name, model.start_folder, folder_content)}
    return literals


def _start_content(project: Project, name: str, path: str, digest: Callable[..., str]) -> str:
    try:
        return digest(project.folder / path, cache_folder=project.storage_folder)
    except InputError as error:
        raise InputError(f"{project.file.name}: models.{name}.init_from: {error}") from error


def _corpus_literals(project: Project, name: str) -> dict[str, Any]:
    """Its own settings, without rules for pairs where there are none, and the splits that its sources fix."""
    literals = {key: value for key, value in project.corpora[name].literals().items() if key != "pairs" or value}
    fixed = project.fixed_splits(name)
    return {**literals, "fixed_splits": fixed} if fixed else literals


def _tokenizer_literals(project: Project, name: str) -> dict[str, Any]:
    """The settings that it is trained by, or the content of a file that is there already."""
    config = project.tokenizers[name]
    if config.file is None:
        return config.literals()
    try:
        return {"file": sha256_file(project.folder / config.file), "learns_from": config.learns_from}
    except OSError as error:
        raise InputError(
            f"{project.file.name}: tokenizers.{name}.file is {config.file!r}, which cannot be read ({error.strerror}). "
            "Correct it."
        ) from error


def _tokenizers(dataset: DatasetConfig) -> dict[str, Key]:
    """By role: one, or one for each side of pairs."""
    found = {"tokenizer": Key(TOKENIZER, dataset.tokenizer)}
    if dataset.target_tokenizer is not None:
        found["target_tokenizer"] = Key(TOKENIZER, dataset.target_tokenizer)
    return found


def _source_literals(project: Project, name: str) -> dict[str, Any]:
    config = project.sources[name]
    try:
        parts = list_parts(config, folder=project.folder, cache_folder=project.storage_folder)
    except InputError as error:
        raise InputError(f"{project.file.name}: sources.{name}.{error}") from error
    return {"source": name, **config.literals(), "parts": [part.key for part in parts]}


def _promotion_literals(project: Project, name: str) -> dict[str, Any]:
    """The gate's settings and the registry: what is registered on one server is not there on another."""
    return {**project.models[name].promote.literals(), "server": named_server()}


def _evaluation_literals(project: Project, name: str) -> dict[str, Any]:
    """The settings, and what stands in the files of benchmarks today."""
    config = project.models[name].evaluate
    literals = config.literals()
    for benchmark, settings in config.benchmarks.items():
        try:
            literals["benchmarks"][benchmark]["content"] = sha256_file(project.folder / settings.path)
        except OSError as error:
            raise InputError(
                f"{project.file.name}: models.{name}.evaluate.benchmarks.{benchmark}.path is {settings.path!r}, which cannot "
                f"be read ({error.strerror}). Correct it."
            ) from error
    return literals


def _models_in_order(project: Project) -> list[str]:
    """Models, each after the one it must beat."""
    ordered: list[str] = []
    pending = list(project.models)
    while pending:
        name = pending.pop(0)
        rival = project.models[name].promote.must_beat
        if rival in ("unigram", *ordered):
            ordered.append(name)
        else:
            pending.append(name)
    return ordered


def select(nodes: Mapping[Key, Node], names: tuple[str, ...]) -> list[Key]:
    """What a run of these names covers, in order; no name means everything.

    A name is `stage/name`, which runs that asset and all it reads, or a bare name, which runs every asset of it.

    Raises:
        ConfigurationError: a name that is no asset.
    """
    if not names:
        return list(nodes)
    wanted: set[Key] = set()
    for name in names:
        found = [key for key in nodes if name in (str(key), key.name)]
        if not found:
            raise ConfigurationError(
                f"{name!r} is no asset of this project. Known: {', '.join(sorted({key.name for key in nodes}))}; "
                "`textmill check` lists them all."
            )
        wanted.update(found)
    pending = list(wanted)
    while pending:
        for upstream in nodes[pending.pop()].inputs.values():
            if upstream not in wanted:
                wanted.add(upstream)
                pending.append(upstream)
    return [key for key in nodes if key in wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a run would do with one asset."""

    key: Key
    status: Literal["up to date", "would run", "depends"]
    """`depends`: something it reads would run, and equal content there means nothing to do here."""
    reason: str


def make_plan(project: Project, store: ArtifactStore, names: tuple[str, ...] = ()) -> list[Step]:
    """What `textmill run` would do with today's files and settings, and why."""
    nodes = build_nodes(project)
    steps: dict[Key, Step] = {}
    for key in select(nodes, names):
        node = nodes[key]
        waiting = [
            upstream
            for role, upstream in node.inputs.items()
            if steps[upstream].status != "up to date" and (role not in node.loose or role == START)
        ]
        current = store.current(key.stage, key.name)
        if waiting:
            _look_for_files(project, node)
            status: Literal["would run", "depends"] = "would run" if current is None else "depends"
            steps[key] = Step(key=key, status=status, reason=f"after {', '.join(map(str, waiting))}")
            continue
        inputs = {role: found.ref for role, found in inputs_of(node, store).items()}
        literals = node.literals()
        version = node.version(inputs, literals)
        if current is not None and current.ref.version == version and _lost_its_registry(project, key):
            steps[key] = Step(key=key, status="would run", reason="the registry's database is gone")
        elif current is not None and current.ref.version == version and (problem := _unexpected(project, current)):
            steps[key] = Step(key=key, status="would run", reason=f"its check would fail: {problem}")
        elif current is not None and current.ref.version == version:
            steps[key] = Step(key=key, status="up to date", reason=f"version {version}")
        elif store.find(key.stage, key.name, version) is not None:
            steps[key] = Step(key=key, status="would run", reason=f"takes up version {version}, which was built before")
        else:
            steps[key] = Step(key=key, status="would run", reason=_why(node, current, inputs, literals))
    return list(steps.values())


def _look_for_files(project: Project, node: Node) -> None:
    """Raises InputError where a tokenizer's file, or one that a model begins with or is asked from, is not there, before hours of
    work lead to it."""
    model = project.models.get(node.key.name)
    begins_in_registry = isinstance(model, StartSettings) and model.registry_reference is not None
    if node.key.stage in (TOKENIZER, EVALUATION) or (node.key.stage == MODEL and not begins_in_registry):
        node.literals()


def _lost_its_registry(project: Project, key: Key) -> bool:
    database = database_file(tracking_uri(project.storage_folder))
    return key.stage == REGISTERED and database is not None and not database.is_file()


def _unexpected(project: Project, artifact: Artifact) -> str | None:
    """What `expect` has against a corpus that is there: it is no part of the version, and may have been set since."""
    if artifact.ref.stage != CORPUS:
        return None
    is_expected, sentence = judge_kept(artifact, project.corpora[artifact.ref.name].expect)
    return None if is_expected else sentence


def _why(node: Node, current: Artifact | None, inputs: Mapping[str, ArtifactRef], literals: Mapping[str, Any]) -> str:
    if current is None:
        return "never built"
    manifest = current.manifest
    if manifest.code_version != node.code_version:
        return f"the stage's code changed from {manifest.code_version} to {node.code_version}"
    changed = changed_settings(manifest.literals, literals)
    for role, ref in inputs.items():
        old_ref = manifest.inputs.get(role)
        if role not in node.loose and (old_ref is None or old_ref.content_hash != ref.content_hash):
            changed.append(f"{ref.stage}/{ref.name} changed")
    return "; ".join(changed) or "its files are gone or damaged"


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between the literals of two versions, a few words each."""
    changed = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key == "parts":
            added, gone = len(set(new or ()) - set(old or ())), len(set(old or ()) - set(new or ()))
            changed.append(f"{added} new or changed files, {gone} gone or replaced")
        elif isinstance(old, dict) and isinstance(new, dict):
            changed += [
                f"{key}.{k} {old.get(k)} -> {new.get(k)}" for k in sorted(old | new) if old.get(k) != new.get(k)
            ]
        else:
            changed.append(f"{key} {old} -> {new}")
    return changed


def inputs_of(node: Node, store: ArtifactStore) -> dict[str, Artifact]:
    """What a node would read today, by role, unverified; what is not there is left out."""
    in_use = {role: store.current(upstream.stage, upstream.name) for role, upstream in node.inputs.items()}
    found = {role: artifact for role, artifact in in_use.items() if artifact is not None}
    for role, (owner, *way) in node.through.items():
        artifact, ref = found.get(owner), None
        for step in way:
            ref = None if artifact is None else artifact.manifest.inputs[step]
            artifact = None if ref is None else store.find(ref.stage, ref.name, ref.version)
        if ref is not None and role in found and ref.content_hash == found[role].ref.content_hash:
            continue  # equal, and made from what is in use
        if artifact is not None:
            found[role] = artifact
        else:
            found.pop(role, None)
    return found


def _verified_inputs(node: Node, store: ArtifactStore) -> dict[str, Artifact]:
    found = inputs_of(node, store)
    for role in (*(role for role in node.inputs if role not in node.through), *node.through):
        upstream = node.inputs[role]
        if role not in found:
            in_use = store.require(upstream.stage, upstream.name)
            owner = node.inputs[node.through[role][0]]
            raise ArtifactMissing(
                f"{owner} was built from another {upstream} than {in_use.ref}, and that one is gone; run `textmill run {owner}`."
            )
        store.verify(found[role])
    return {role: found[role] for role in node.inputs}


def find_or_build(
    node: Node,
    store: ArtifactStore,
    build: Callable[[Draft, Mapping[str, Artifact]], Artifact],
    progress: Progress,
    *,
    still_holds: Callable[[Artifact], bool] = lambda artifact: True,
) -> tuple[Artifact, bool]:
    """The node's artifact for today's inputs and settings, made the current one; True when it was there already.

    `build` writes into the draft, given the verified inputs by role, and returns what `draft.commit` gave. `still_holds` says
    of one that is there whether the world outside is as it says; else it is built again.

    Raises:
        ArtifactMissing: an input was never built.
        ArtifactDamaged: an input does not match its manifest.
    """
    key = node.key
    inputs = _verified_inputs(node, store)
    refs = {role: artifact.ref for role, artifact in inputs.items()}
    literals = node.literals()
    version = node.version(refs, literals)
    with store.building(key.stage, key.name, version):
        existing = store.find(key.stage, key.name, version)
        if existing is not None:
            try:
                store.verify(existing)
                if still_holds(existing):
                    store.set_current(existing)
                    return existing, True
                store.set_aside(existing)
            except ArtifactDamaged as damage:
                progress.note(f"{damage} Rebuilding now.")
        with store.draft(
            stage=key.stage,
            name=key.name,
            version=version,
            code_version=node.code_version,
            literals=literals,
            inputs=refs,
        ) as draft:
            artifact = build(draft, inputs)
    store.set_current(artifact)
    return artifact, False
