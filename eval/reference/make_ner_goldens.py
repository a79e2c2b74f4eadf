"""What the pipeline of `transformers` finds with `models/ner`: each token's tag, and entities (aggregation `simple`)."""

import argparse
import json
from pathlib import Path

import torch
from make_answers import load
from transformers import AutoModelForTokenClassification, BertTokenizerFast, TokenClassificationPipeline

TEXTS = (
    "Ada Lovelace worked with Charles Babbage in London.",
    "The Bank of England raised its rates, but Siemens and the University of Zurich had borrowed before.",
    "chelsea beat leeds united in cardiff, said the bbc",
    "It rained for two days, and nobody came.",
    "Zo\u00eb flew from M\u00fcnchen to S\u00e3o Paulo \U0001f600 for Bayern M\u00fcnchen.",
    "The Beatles recorded for Parlophone at Abbey Road; Ringo Starr's drums came from Drum City.",
    "Volkswagenwerk's Wolfsburg plant, O'Brien & Sons, U.S. Steel and St. John's, N.L.",
    "Mr. and Mrs. Nguy\u1ec5n of 12 Elm Street, Springfield, thank the fire department.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; the file goes to its folder answers")
    parser.add_argument("--model", type=Path, required=True, help="this repository's folder models/ner")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load(AutoModelForTokenClassification, arguments.model)
    tokenizer = BertTokenizerFast.from_pretrained(arguments.model)
    pipeline = TokenClassificationPipeline(model=model, tokenizer=tokenizer)

    def entities(text: str, **options: object) -> list[dict]:
        """Labels, scores and places in characters."""
        return [
            {
                "label": e.get("entity_group", e.get("entity")),
                "score": round(float(e["score"]), 6),
                "start": e["start"],
                "end": e["end"],
            }
            for e in pipeline(text, **options)
        ]

    texts = [
        {
            "text": text,
            "tokens": entities(text, aggregation_strategy="none", ignore_labels=[]),
            "entities": entities(text, aggregation_strategy="simple"),
        }
        for text in TEXTS
    ]
    path = arguments.out / "answers" / "ner.json"
    path.write_text(json.dumps({"texts": texts}) + "\n")
    print(f"{path.name}: {len(texts)} texts, {sum(len(text['entities']) for text in texts)} entities")


if __name__ == "__main__":
    main()
