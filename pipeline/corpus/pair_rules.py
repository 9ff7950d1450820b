"""The rules that judge pairs: how long the target is beside the text, and in which language each side is."""

from __future__ import annotations

from pipeline.config.pairs import PairsConfig
from pipeline.corpus.rule import Rule


def pair_rules(config: PairsConfig) -> list[Rule]:
    """The rules for pairs, in the order in which they are tried."""
    rules = [
        Rule(
            reason="pairs.no_target",
            broken="target IS NULL",
            detail="'it has no target, and the corpus has rules for pairs'",
            values={},
        )
    ]
    limits = (
        ("min_length_ratio", "length_ratio", "<", "%.4g characters of the target per character, at least %.10g"),
        ("max_length_ratio", "length_ratio", ">", "%.4g characters of the target per character, at most %.10g"),
        ("max_target_characters", "target_characters", ">", "a target of %.0f characters, at most %.10g"),
    )
    for name, column, sign, reads in limits:
        threshold = getattr(config, name)
        if threshold is None:
            continue
        limit = f"$pairs_{name}::{'FLOAT' if column == 'length_ratio' else 'DOUBLE'}"
        rules.append(
            Rule(
                reason=f"pairs.{name}",
                broken=f"{column} {sign} {limit}",
                detail=f"printf('{reads}', {column}::DOUBLE, $pairs_{name}::DOUBLE)",
                values={f"pairs_{name}": threshold},
                value=f"{column}::DOUBLE",
                threshold=f"$pairs_{name}::DOUBLE",
            )
        )
    for name, column in (("languages", "language"), ("target_languages", "target_language")):
        wanted = getattr(config, name)
        if not wanted:
            continue
        told = f"{column} <> 'und' AND {column}_confidence >= $pairs_sure_{name}::FLOAT"
        rules.append(
            Rule(
                reason=f"pairs.{name}",
                broken=f"({told} AND NOT list_contains($pairs_{name}, {column}))",
                detail=f"'language ' || {column} || ', wanted ' || array_to_string($pairs_{name}, ', ')",
                values={f"pairs_{name}": list(wanted), f"pairs_sure_{name}": config.sure},
                value=f"{column}_confidence::DOUBLE",
                threshold=f"$pairs_sure_{name}::DOUBLE",
            )
        )
    return rules
