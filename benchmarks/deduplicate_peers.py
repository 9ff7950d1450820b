"""Near-deduplication by datasketch or datatrove, run by an interpreter that has them: `PEER FOLDER NUM_WORKERS`.

FOLDER holds `0.jsonl`, `1.jsonl`, ... with `id` and `text`. Prints seconds, versions and the clusters of several ids as
JSON. Words are split at white space by both, lower-cased and stripped of punctuation by datatrove's own simplification or
by a regular expression; 5 words a shingle, 14 bands of 8 rows, as in FineWeb.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import struct
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

BANDS, ROWS, WORDS = 14, 8, 5


def main() -> None:
    """Runs one peer over a folder."""
    peer, folder, num_workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    run = {"datasketch": run_datasketch, "datatrove": run_datatrove}[peer]
    before = cpu_seconds()
    seconds, clusters = run(folder, num_workers)
    # datatrove runs its tasks under a fork server, whose seconds are counted nowhere
    spent = None if peer == "datatrove" else cpu_seconds() - before
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": spent,
                "clusters": clusters,
                "version": importlib.metadata.version(peer),
            }
        )
    )


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_datasketch(folder: Path, num_workers: int) -> tuple[float, list[list[str]]]:
    """MinHash and its LSH, one process; clusters by union of what each query finds."""
    from datasketch import MinHash, MinHashLSH

    assert num_workers == 1, "datasketch has no workers"
    not_words = re.compile(r"[\W_]+")
    started = time.perf_counter()
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                document = json.loads(line)
                words = not_words.sub(" ", document["text"].lower()).split()
                shingles = {" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}
                if not shingles:
                    continue
                signature = MinHash(num_perm=BANDS * ROWS)
                signature.update_batch([shingle.encode() for shingle in shingles])
                key = document["id"]
                parent[key] = key
                for other in index.query(signature):
                    parent[root(other)] = root(key)
                index.insert(key, signature, check_duplication=False)
    found = defaultdict(list)
    for key in parent:
        found[root(key)].append(key)
    return time.perf_counter() - started, [sorted(cluster) for cluster in found.values() if len(cluster) > 1]


def run_datatrove(folder: Path, num_workers: int) -> tuple[float, list[list[str]]]:
    """Its four stages with the local executor, one task a file; clusters as its third stage wrote them."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    config = MinhashConfig(
        n_grams=WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64)
    )
    num_files = len(list(folder.glob("*.jsonl")))
    with tempfile.TemporaryDirectory() as work:

        def execute(number: int, tasks: int, pipeline: list[object]) -> None:
            LocalPipelineExecutor(
                pipeline=pipeline, tasks=tasks, workers=num_workers, logging_dir=f"{work}/logs{number}"
            ).run()

        started = time.perf_counter()
        signature = MinhashDedupSignature(output_folder=f"{work}/signatures", config=config)
        signature.word_tokenizer = WhitespaceTokenizer()
        execute(1, num_files, [JsonlReader(str(folder)), signature])
        execute(2, BANDS, [MinhashDedupBuckets(f"{work}/signatures", output_folder=f"{work}/buckets", config=config)])
        clusters = MinhashDedupCluster(
            f"{work}/buckets", output_folder=f"{work}/removed", config=config, save_cluster_id=True
        )
        execute(3, 1, [clusters])
        execute(
            4, num_files, [JsonlReader(str(folder)), MinhashDedupFilter(f"{work}/removed"), JsonlWriter(f"{work}/kept")]
        )
        seconds = time.perf_counter() - started
        found = defaultdict(list)
        for rank, path in enumerate(sorted(folder.glob("*.jsonl"))):
            ids = [json.loads(line)["id"] for line in path.open(encoding="utf-8")]
            listed = Path(work) / "removed" / f"{rank:06d}.clusters"
            if listed.exists():
                for position, cluster in struct.iter_unpack("<2I", listed.read_bytes()):
                    found[cluster].append(ids[position])
    return seconds, [sorted(cluster) for cluster in found.values() if len(cluster) > 1]


if __name__ == "__main__":
    main()
