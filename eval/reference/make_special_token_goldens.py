"""Ids and offsets under the files that declare special tokens beside a vocabulary, as `transformers` computes them.

The first line of the golden holds the vocabularies. Each line behind it holds the other files of one small tokenizer
and what its class makes of a few texts. The files are
those that `transformers` has written over the years: it reads all of them, but not always together.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizerFast

from make_token_goldens import byte_offsets

ROLES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "b", "new", "##tok", "tok", "e", "ent", "<", ">", "/", "s", "[", "]", "c", "##a", "##s", "##e", "the"]
VOCABULARY = [*ROLES, *WORDS]
FIRST = len(VOCABULARY)

TEXTS = [
    "a <s> b</s>c",
    "the NewTok newtok NEWTOK",
    "<ent>a <ENT> b <e1>  <e2>c",
    "a<img>b [MASK] c",
    "Ünew <E1>",
]


def added(content: str, **flags: bool) -> dict:
    defaults = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"content": content, **defaults, **flags}


def typed(content: str, **flags: bool) -> dict:
    return {"__type": "AddedToken", **added(content, **flags)}


def decoder(*tokens: dict, first: int = FIRST) -> dict:
    roles = {str(i): added(role) for i, role in enumerate(ROLES)}
    return {**roles, **{str(first + i): token for i, token in enumerate(tokens)}}


ENT, IMG = "<ent>", "<img>"
NEWTOK = added("NewTok", normalized=True, special=False)

# Settings of `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`; None: no such file.
CASES: list[tuple[str, dict | None, dict | None, dict | None]] = [
    ("nothing", None, None, None),
    ("bos and eos", {"bos_token": "<s>", "eos_token": "</s>"}, None, None),
    ("bos and eos in the map", {}, {"bos_token": "<s>", "eos_token": added("</s>", lstrip=True)}, None),
    ("the map overrides", {"bos_token": "<e1>", "eos_token": "</s>"}, {"bos_token": "<s>"}, None),
    ("typed bos", {"bos_token": typed("<s>", rstrip=True), "sep_token": typed("[SEP]", lstrip=True)}, None, None),
    ("additional", {"additional_special_tokens": [ENT, "<e1>"]}, None, None),
    ("additional, typed", {"additional_special_tokens": [typed(ENT, lstrip=True), "<e1>"]}, None, None),
    ("additional in the map", {}, {"additional_special_tokens": ["<e2>", ENT]}, None),
    ("additional twice", {"additional_special_tokens": ["<e2>"]}, {"additional_special_tokens": [ENT]}, None),
    ("extra", {"extra_special_tokens": ["<e1>", ENT]}, None, None),
    ("extra before additional", {"extra_special_tokens": ["<e1>"], "additional_special_tokens": [ENT]}, None, None),
    ("extra empty", {"extra_special_tokens": [], "additional_special_tokens": [ENT]}, None, None),
    ("extra in both", {"extra_special_tokens": ["<e1>"]}, {"extra_special_tokens": [ENT, "<e1>"]}, None),
    ("extra and map's additional", {"extra_special_tokens": ["<e1>"]}, {"additional_special_tokens": [ENT]}, None),
    ("extra by name", {"extra_special_tokens": {"image_token": IMG, "entity_token": ENT}}, None, None),
    ("a token of another role", {"image_token": IMG, "bos_token": "<s>"}, None, None),
    ("a word of the vocabulary", {"additional_special_tokens": ["new", "the"]}, None, None),
    ("bos, extra and a role", {"extra_special_tokens": [ENT], "image_token": IMG, "eos_token": "</s>"}, None, None),
    ("added", {}, None, {"NewTok": FIRST, ENT: FIRST + 1}),
    ("added, cased", {"do_lower_case": False}, None, {"NewTok": FIRST, ENT: FIRST + 1}),
    ("added and special", {"additional_special_tokens": [ENT]}, None, {ENT: FIRST + 1, "NewTok": FIRST}),
    ("added and special in the map", {}, {"eos_token": "</s>", "bos_token": ENT}, {ENT: FIRST, "</s>": FIRST + 1}),
    ("added roles", {}, None, {"[MASK]": 4, "NewTok": FIRST}),
    ("decoder", {"added_tokens_decoder": decoder(added(ENT), NEWTOK)}, None, None),
    ("decoder over added", {"added_tokens_decoder": decoder(added(ENT))}, None, {"NewTok": FIRST}),
    ("decoder over the map", {"added_tokens_decoder": decoder(added(ENT))}, {"eos_token": "</s>"}, None),
    (
        "decoder and additional",
        {"added_tokens_decoder": decoder(NEWTOK), "additional_special_tokens": [ENT], "bos_token": "<s>"},
        None,
        None,
    ),
    (
        "decoder gives a role its flags",
        {"added_tokens_decoder": decoder(added("<s>", lstrip=True, special=False)), "bos_token": "<s>"},
        None,
        None,
    ),
    (
        "decoder of single words",
        {"added_tokens_decoder": decoder(added("NewTok", single_word=True, normalized=True, special=False))},
        None,
        None,
    ),
    ("specials are split", {"split_special_tokens": True, "additional_special_tokens": [ENT]}, None, None),
]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


def tokenizer_json(tokens: list[dict]) -> str:
    """A tokenizer.json with some added tokens, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"vocab.txt": "\n".join(VOCABULARY) + "\n"})
        backend = BertTokenizerFast.from_pretrained(folder).backend_tokenizer
    document = json.loads(backend.to_str())
    document["added_tokens"] += [{"id": FIRST + i, **token} for i, token in enumerate(tokens)]
    text = json.dumps(document)
    Tokenizer.from_str(text)
    return text


def lines(base: str, vocabulary: dict[str, str], name: str, settings: dict[str, str]) -> dict:
    files = {**vocabulary, **settings}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files)
        configuration = json.loads(files.get("tokenizer_config.json", "{}"))
        general = configuration.get("tokenizer_class") == "PreTrainedTokenizerFast"
        tokenizer = (AutoTokenizer if general else BertTokenizerFast).from_pretrained(folder)
        texts = []
        for text in TEXTS:
            found, starts = tokenizer(text, return_offsets_mapping=True), byte_offsets(text)
            offsets = [[starts[a], starts[b]] for a, b in found.offset_mapping]
            texts.append({"text": text, "ids": found.input_ids, "offsets": offsets})
    return {"base": base, "name": name, "files": settings, "texts": texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; the file goes to its folder tokens")
    out = parser.parse_args().out / "tokens" / "special-tokens.jsonl"
    bases = [
        ("vocab.txt", {"vocab.txt": "\n".join(VOCABULARY) + "\n"}, {}),
        ("tokenizer.json", {"tokenizer.json": tokenizer_json([])}, {}),
        ("tokenizer.json with tokens", {"tokenizer.json": tokenizer_json([NEWTOK, added(IMG)])}, {}),
        (
            "tokenizer.json, general class",
            {"tokenizer.json": tokenizer_json([NEWTOK])},
            {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"},
        ),
    ]
    written = [json.dumps({name: vocabulary for name, vocabulary, _ in bases})]
    for base, vocabulary, settings in bases:
        for name, configuration, special_map, added_tokens in CASES:
            files = {}
            if configuration is not None or settings:
                files["tokenizer_config.json"] = json.dumps({**settings, **(configuration or {})})
            if special_map is not None:
                files["special_tokens_map.json"] = json.dumps(special_map)
            if added_tokens is not None:
                files["added_tokens.json"] = json.dumps(added_tokens)
            try:
                written.append(json.dumps(lines(base, vocabulary, name, files)))
            except Exception as error:  # noqa: BLE001: a case that the original itself refuses is no golden
                print(f"{base}: {name}: left out, because transformers says: {error!r}"[:300])
    out.write_text("\n".join(written) + "\n")
    print(f"{out.name}: {len(written)} lines")


if __name__ == "__main__":
    main()
