"""Rule set `fineweb2`: how often its decisions are those of datatrove's filters with FineWeb-2's settings, by language.

    python benchmarks/languages.py --peer-python PYTHON [--corpora FOLDER] [--texts PARQUET --texts-are WORDS]

The text is the Declaration of Human Rights in each language, in pieces of several sizes and in worsened copies, the
articles of XQuAD in German, and column `text` of PARQUET. Each document is judged by the language that we identify.
PYTHON (or TEXTMILL_PEERS_PYTHON) is an interpreter with datatrove, spacy, jieba, indic-nlp-library and pyarrow. Writes
results/languages.json, which the tests hold our verdicts against, and languages.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import duckdb  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from pipeline.cleaning.clean import clean_batch  # noqa: E402
from pipeline.config import CorpusConfig  # noqa: E402
from pipeline.config.fineweb2 import TABLE, fineweb2  # noqa: E402
from pipeline.corpus.rules import judging, rules_of  # noqa: E402
from pipeline.records import RAW_SCHEMA, document_id  # noqa: E402

PEER = Path(__file__).with_name("languages_peer.py")
DECLARATIONS = {
    "ar": ("Arabic_Alarabia-Arabic", "cp1256"),
    "bg": ("Bulgarian_Balgarski-UTF8", "utf-8"),
    "bn": ("Bengali-UTF8", "utf-8"),
    "ca": ("Catalan_Catala-Latin1", "latin-1"),
    "cs": ("Czech_Cesky-UTF8", "cp1250"),
    "da": ("Danish_Dansk-Latin1", "latin-1"),
    "de": ("German_Deutsch-Latin1", "latin-1"),
    "el": ("Greek_Ellinika-UTF8", "utf-8"),
    "es": ("Spanish_Espanol-Latin1", "latin-1"),
    "et": ("Estonian_Eesti-Latin1", "latin-1"),
    "eu": ("Basque_Euskara-Latin1", "latin-1"),
    "fa": ("Farsi_Persian-v2-UTF8", "utf-8"),
    "fi": ("Finnish_Suomi-Latin1", "latin-1"),
    "fr": ("French_Francais-Latin1", "latin-1"),
    "he": ("Hebrew_Ivrit-UTF8", "utf-8"),
    "hi": ("Hindi-UTF8", "utf-8"),
    "hr": ("Croatian_Hrvatski-Latin2", "iso8859-2"),
    "hu": ("Hungarian_Magyar-UTF8", "utf-8"),
    "id": ("Indonesian-Latin1", "latin-1"),
    "is": ("Icelandic_Yslenska-Latin1", "latin-1"),
    "it": ("Italian_Italiano-Latin1", "latin-1"),
    "lt": ("Lithuanian_Lietuviskai-Baltic", "iso8859-4"),
    "mk": ("Macedonian-UTF8", "utf-8"),
    "nl": ("Dutch_Nederlands-Latin1", "latin-1"),
    "nn": ("Norwegian_Norsk-Nynorsk-Latin1", "latin-1"),
    "no": ("Norwegian_Norsk-Bokmal-Latin1", "latin-1"),
    "pl": ("Polish_Polski-Latin2", "cp1250"),
    "pt": ("Portuguese_Portugues-Latin1", "latin-1"),
    "ro": ("Romanian_Romana-Latin2", "iso8859-2"),
    "ru": ("Russian_Russky-UTF8", "utf-8"),
    "sk": ("Slovak_Slovencina-Latin2", "iso8859-2"),
    "sl": ("Slovenian_Slovenscina-Latin2", "iso8859-2"),
    "sv": ("Swedish_Svenska-Latin1", "latin-1"),
    "tr": ("Turkish_Turkce-UTF8", "utf-8"),
    "uk": ("Ukrainian-UTF8", "utf-8"),
    "zh": ("Chinese_Mandarin-UTF8", "utf-8"),
}
"""Language -> the file of udhr.zip that is written with all its letters, and its encoding; lv and ur have none."""


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--peer-python", default=os.environ.get("TEXTMILL_PEERS_PYTHON"), required=False)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--texts-are", default="more texts", help="what PARQUET holds, for the report")
    options = parser.parse_args()
    declarations = declaration_texts(options.corpora)
    texts = declarations + article_texts(options.corpora)
    if options.texts:
        texts += pq.read_table(options.texts, columns=["text"])["text"].to_pylist()
    with tempfile.TemporaryDirectory() as work:
        ours = judge(Path(work), texts)
        theirs = ask_peer(Path(work), options.peer_python)
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "texts": options.texts_are if options.texts else None,
        **{name: theirs[name] for name in ("datatrove", "spacy")},
        "languages": compare(ours, theirs["rejected"]),
        "declarations": verdicts_on(declarations, ours, theirs["rejected"]),
    }
    results = Path(__file__).parent / "results"
    (results / "languages.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (results / "languages.md").write_text(render(found), encoding="utf-8")
    print(render(found))


def declaration_texts(corpora: Path) -> list[str]:
    """Pieces of 8 and 24 lines of every declaration, and of the latter copies with numbers, cut short and repetitive."""
    texts = []
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        for name, encoding in DECLARATIONS.values():
            lines = [line.strip() for line in archive.read(f"udhr/{name}").decode(encoding, "ignore").splitlines()]
            lines = [line for line in lines if line]
            small, large = ([lines[i : i + size] for i in range(0, len(lines), size)] for size in (8, 24))
            texts += ["\n".join(piece) for piece in small]
            for number, piece in enumerate(large):
                words = [line.split() for line in piece]
                numbered = [" ".join(_numbered(line, every=2 + number)) for line in words]
                cut = [" ".join(line[: 3 + number]) for line in words]
                worse = (piece, numbered, cut, piece + piece[: 2 + 2 * number])
                texts += ["\n".join(lines) for lines in worse]
    return list(dict.fromkeys(texts))


def _numbered(words: list[str], *, every: int) -> list[str]:
    return [f"{word} {place}" if place % every == 0 else word for place, word in enumerate(words)]


def article_texts(corpora: Path) -> list[str]:
    """The contexts of XQuAD in German."""
    articles = json.loads((corpora / "xquad" / "de.json").read_text(encoding="utf-8"))["data"]
    return [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]


def judge(folder: Path, texts: list[str]) -> dict[str, tuple[str, str | None]]:
    """Id of each text that is read -> its language, and the rule that rejects it; writes documents.parquet."""
    ids = list(map(document_id, texts))
    rows = [
        {"id": identifier, "source": "s", "path": "p", "index": index, "text": text, "num_bytes": 1}
        for index, (identifier, text) in enumerate(zip(ids, texts, strict=True))
    ]
    table = pa.Table.from_pylist(rows, RAW_SCHEMA)
    kept = [clean_batch(batch)[0] for batch in table.to_batches(max_chunksize=1024)]
    pq.write_table(pa.Table.from_batches(kept), folder / "documents.parquet")
    config = CorpusConfig.model_validate({"sources": {"s": 1}, "quality": {"rules": ["fineweb2"]}})
    statement, values = judging(rules_of(config))
    with duckdb.connect() as connection:
        connection.execute(statement, {"files": [str(folder / "documents.parquet")], **values})
        rules = dict(connection.execute("SELECT id, rule FROM judged").fetchall())
    languages = {row["id"]: row["language"] for batch in kept for row in batch.select(["id", "language"]).to_pylist()}
    return {name: (languages[name], rule) for name, rule in rules.items() if languages[name] in fineweb2()}


def ask_peer(folder: Path, python: str) -> dict[str, Any]:
    """What datatrove rejects of documents.parquet."""
    done = subprocess.run(
        [python, str(PEER), str(folder / "documents.parquet"), str(TABLE)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{PEER.name} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(ours: dict[str, tuple[str, str | None]], theirs: dict[str, str]) -> list[dict[str, Any]]:
    """One row a language."""
    rows = []
    for language in sorted({language for language, _ in ours.values()}):
        rules = {name: rule for name, (spoken, rule) in ours.items() if spoken == language}
        apart = Counter(
            f"{theirs.get(name, 'kept')} / {(rule or 'kept').rpartition('.')[2]}"
            for name, rule in rules.items()
            if (rule is None) != (name not in theirs)
        )
        rows.append(
            {
                "language": language,
                "documents": len(rules),
                "rejected_by_ours": sum(rule is not None for rule in rules.values()),
                "rejected_by_datatrove": sum(name in theirs for name in rules),
                "agreement": round(1 - apart.total() / len(rules), 4),
                "apart": dict(apart.most_common()),
            }
        )
    return rows


def verdicts_on(texts: list[str], ours: dict[str, tuple[str, str | None]], theirs: dict[str, str]) -> dict[str, str]:
    """Language -> datatrove's verdict on each of its pieces of a declaration, in order: 1 kept, 0 rejected."""
    verdicts: dict[str, str] = {}
    for name in map(document_id, texts):
        if name in ours:
            language = ours[name][0]
            verdicts[language] = verdicts.get(language, "") + "01"[name not in theirs]
    return dict(sorted(verdicts.items()))


def render(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = found["languages"]
    total = sum(row["documents"] for row in rows)
    agreement = sum(row["documents"] * row["agreement"] for row in rows) / total
    also = f" and {found['texts']}" if found["texts"] else ""
    lines = [
        "# `fineweb2` by language",
        "",
        f"Of {total:,} documents in {len(rows)} languages, {agreement:.1%} are kept by both or rejected by both: ours, and "
        f"datatrove {found['datatrove']} with FineWeb-2's settings and its own word splitters (spaCy {found['spacy']}; the "
        "Indic NLP library for bn, hi, ur; jieba for zh). They are pieces of the Declaration of Human Rights, articles of "
        f"XQuAD{also}. {found['date']}.",
        "",
        "| language | documents | rejected by ours | by datatrove | agreement | what differs: datatrove / ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        kinds = "; ".join(f"{kind} {count}" for kind, count in [*row["apart"].items()][:3])
        lines.append(
            f"| {row['language']} | {row['documents']:,} | {row['rejected_by_ours']:,} | "
            f"{row['rejected_by_datatrove']:,} | {row['agreement']:.1%} | {kinds} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
