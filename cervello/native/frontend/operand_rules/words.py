"""Counts of words."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of

_MOST_SKIPPED = 1 << 16  # each is a turn over all words


@operands_of("TfIdfVectorizer")
def _tf_idf(o: Operands) -> None:
    o.choice("mode", None, ("TF", "IDF", "TFIDF"))
    least, most = o.at_least("min_gram_length", 1), o.at_least("max_gram_length", 1)
    if least > most:
        o.fail(f"a min_gram_length of at most {most}", least)
    if o.at_least("max_skip_count", 0) > _MOST_SKIPPED:
        o.fail(f"a max_skip_count of at most {_MOST_SKIPPED}", o.attribute("max_skip_count"))
