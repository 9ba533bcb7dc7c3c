"""WikiText's token files as plain text: python training/wikitext.py wikitext-103.valid.tokens.gz OUT.jsonl

The files hold words set apart by spaces, which no other text looks like. Here the spaces are taken out again:
` @-@ `, ` @,@ ` and ` @.@ ` become -, comma and point; punctuation, brackets and quotes go back to their words;
headings lose their `=`; an article is a document, its paragraphs set apart as in Wikipedia's text. `<unk>` stays as
the five characters it is. Perplexity per word of the original is exp(nll / words), where the words are those of the
file and one end for each line: 217,646 in the validation set, as the paper counts them.
"""

import argparse
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from errors import RecipeError, run_command

ARTICLE = re.compile(r" = (?!= ).+ = \n?")

REPAIRS = [
    (re.compile(r" @([-,.])@ "), r"\1"),
    (re.compile(r" ([,.;:!?%)\]}])"), r"\1"),
    (re.compile(r"([(\[{$£€#]) "), r"\1"),
    (re.compile(r' " ([^"]*) "'), r' "\1"'),
    (re.compile(r"^\" ([^\"]*) \""), r'"\1"'),
    (re.compile(r" ('(?:s|t|d|m|ll|ve|re)?)(?= |$)"), r"\1"),
    (re.compile(r" n't"), "n't"),
]


def detokenize(line: str) -> str:
    text = line.strip()
    while text.startswith("= ") and text.endswith(" ="):
        text = text[2:-2].strip()
    for pattern, repaired in REPAIRS:
        text = pattern.sub(repaired, text)
    return text


def articles(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """-> title and text of each article"""
    paragraphs: list[str] = []
    for line in lines:
        if ARTICLE.fullmatch(line) and paragraphs:
            yield paragraphs[0], "\n\n".join(paragraphs)
            paragraphs = []
        if text := detokenize(line):
            paragraphs.append(text)
    if paragraphs:
        yield paragraphs[0], "\n\n".join(paragraphs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", type=Path, help="a .tokens file of WikiText, also .gz")
    parser.add_argument("out", type=Path, help="new .jsonl file")
    args = parser.parse_args()
    if not args.tokens.is_file():
        raise RecipeError(f"There is no file {args.tokens}. Name one of WikiText's .tokens files.")
    opened = gzip.open(args.tokens, "rt", encoding="utf-8") if args.tokens.suffix == ".gz" else open(args.tokens)
    with opened as file:
        lines = file.readlines()
    with open(args.out, "w", encoding="utf-8") as out:
        for title, text in articles(lines):
            out.write(json.dumps({"id": title, "text": text}, ensure_ascii=False) + "\n")
    print(json.dumps({"words": sum(len(line.split()) + 1 for line in lines)}))


if __name__ == "__main__":
    run_command(main)
