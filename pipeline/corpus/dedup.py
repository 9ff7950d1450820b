"""Exact deduplication: of the documents with one cleaned text, one is kept.

In: the table `judged`, every clean document's signals with the rule it breaks, if any. Out: the table `verdicts`, each
document with its cluster, its split, and the reason and detail of its reject. Only documents that break no rule form
clusters, by the hash of their text. The keeper is the smallest (id, source, path, index), so it does not depend on the
order of arrival, and its id names the cluster.
"""

from __future__ import annotations

DUPLICATE = "duplicate"

VERDICTS = """
CREATE TABLE verdicts AS
WITH clustered AS (
    SELECT *,
           row_number() OVER copies AS copy,
           first(id) OVER copies AS cluster_id,
           first(source || ':' || path || ':' || "index") OVER copies AS keeper,
           count(*) OVER (PARTITION BY text_hash, rule IS NULL) AS cluster_size
    FROM judged
    WINDOW copies AS (PARTITION BY text_hash, rule IS NULL ORDER BY id, source, path, "index")
)
SELECT filename, file_row_number, id, source, path, "index", num_bytes, cluster_id, cluster_size, {split} AS split,
       CASE WHEN rule IS NOT NULL THEN rule WHEN copy > 1 THEN 'duplicate' END AS reason,
       CASE WHEN rule IS NOT NULL THEN rule_detail
            WHEN copy > 1 THEN 'the same text as ' || cluster_id || ' (' || keeper || '), which is kept' END AS detail,
       value, threshold, rule IS NOT NULL AS by_rule
FROM clustered
"""
"""`{split}` is splits.SPLIT_SQL, which takes the parameters $test and $validation."""
