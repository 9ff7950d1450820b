"""Deduplication: of the documents with one cleaned text, and of each cluster of near-duplicates, one is kept.

In: the table `judged`, the documents that no rule rejects; of those that are contaminated, with that as the rule. Out: the
table `clustered`, where documents that break no rule form clusters by the hash of their text, and the table `verdicts`,
each document with its cluster, its split, and the reason and detail of its reject. Between them stands `near`
(near/dedup.py), empty where it is off, which joins clusters. The keeper is the smallest (id, source, path, index), so it
does not depend on the order of arrival, and its id names the cluster.
"""

from __future__ import annotations

DUPLICATE, NEAR_DUPLICATE = "duplicate", "near_duplicate"

CLUSTERED = """
CREATE TABLE clustered AS
SELECT *,
       row_number() OVER copies AS copy,
       first(id) OVER copies AS cluster_id,
       first(source || ':' || path || ':' || "index") OVER copies AS keeper,
       count(*) OVER (PARTITION BY text_hash, rule IS NULL) AS cluster_size
FROM judged
WINDOW copies AS (PARTITION BY text_hash, rule IS NULL ORDER BY id, source, path, "index")
"""

VERDICTS = """
CREATE TABLE verdicts AS
WITH joined AS (
    SELECT clustered.* EXCLUDE (cluster_id, cluster_size, keeper),
           coalesce(near.cluster_id, clustered.cluster_id) AS cluster_id,
           coalesce(near.cluster_size, clustered.cluster_size) AS cluster_size,
           clustered.cluster_id || ' (' || clustered.keeper || ')' AS text_keeper,
           near.cluster_id || ' (' || near.keeper || ')' AS near_keeper,
           coalesce(near.is_keeper, true) AS is_keeper, near.similar_to, near.similarity
    FROM clustered LEFT JOIN near ON near.text_hash = clustered.text_hash AND clustered.rule IS NULL
)
SELECT filename, file_row_number, id, source, path, "index", num_bytes, cluster_id, cluster_size, {split} AS split,
       false AS is_cut, NULL::UBIGINT AS lines_cut,
       CASE WHEN rule IS NOT NULL THEN rule WHEN copy > 1 THEN 'duplicate' WHEN NOT is_keeper THEN 'near_duplicate' END
           AS reason,
       CASE WHEN rule IS NOT NULL THEN rule_detail
            WHEN copy > 1 AND is_keeper THEN 'the same text as ' || text_keeper || ', which is kept'
            WHEN copy > 1
                THEN 'the same text as ' || text_keeper || ', in the cluster of ' || near_keeper || ', which is kept'
            WHEN NOT is_keeper
                THEN printf('similarity %.4f with ', similarity) || similar_to || ', in the cluster of ' || near_keeper
                      || ', which is kept' END AS detail,
       CASE WHEN rule IS NOT NULL THEN value WHEN copy = 1 AND NOT is_keeper THEN similarity END AS value,
       CASE WHEN rule IS NOT NULL THEN threshold WHEN copy = 1 AND NOT is_keeper THEN $similarity::DOUBLE END AS threshold,
       rule IS NOT NULL AS by_rule
FROM joined
"""
"""`{split}` is splits.SPLIT_SQL, which takes the parameters $test and $validation."""
