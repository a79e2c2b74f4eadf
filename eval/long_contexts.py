#!/usr/bin/env python3
"""Measures how well questions are answered when only a few windows of a long context are read.

The contexts are the articles of SQuAD v1.1: all paragraphs of one, joined. The gold answers are those of the question's
own paragraph, as texts. Scores are exact match and F1 of the official script. Each setting runs the command once for
each article, so its time holds a share of starting the command, loading the model and tokenising the article.

    python3 eval/long_contexts.py dev-v1.1.json target/release/mobilebert --questions 5 --limits all 16 8 4 2 1
"""

import argparse
import collections
import json
import re
import string
import subprocess
import time


def words(text):
    """The words of a text as the official script of SQuAD compares them."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(found, gold):
    found, gold = words(found), words(gold)
    common = sum((collections.Counter(found) & collections.Counter(gold)).values())
    if not found or not gold:
        return float(found == gold)
    return 2 * common / (len(found) + len(gold)) if common else 0.0


def spread(items, count):
    """Takes so many items at equal distances, or all if there are fewer."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("squad", help="dev-v1.1.json")
    parser.add_argument("command", help="the program mobilebert")
    parser.add_argument("--questions", type=int, default=5, help="questions of each article")
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--limits", nargs="+", default=["all", "16", "8", "4", "2", "1"])
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    with open(args.squad, encoding="utf-8") as file:
        articles = spread(json.load(file)["data"], args.articles)
    print(f"{'windows':>8} {'read':>7} {'EM':>6} {'F1':>6} {'ms a question':>14}")
    for limit in args.limits:
        options = [] if limit == "all" else ["--max-windows", limit]
        seconds, read, exact, score, total = 0.0, [], 0, 0.0, 0
        for article in articles:
            context = "\n".join(paragraph["context"] for paragraph in article["paragraphs"])
            asked = spread([qa for p in article["paragraphs"] for qa in p["qas"]], args.questions)
            command = [args.command, "answer", "--context", "-", "--json", "--threads", args.threads, *options]
            command += [f"--question={qa['question']}" for qa in asked]
            begin = time.perf_counter()
            output = subprocess.run(command, input=context, text=True, capture_output=True, check=True).stdout
            seconds += time.perf_counter() - begin
            for qa, line in zip(asked, output.splitlines(), strict=True):
                found = json.loads(line)
                gold = [answer["text"] for answer in qa["answers"]]
                exact += max(words(found["answer"]) == words(text) for text in gold)
                score += max(f1(found["answer"], text) for text in gold)
                read.append(found["windows_read"] / found["windows"] if "windows" in found else 1.0)
                total += 1
        share = 100 * sum(read) / total
        print(
            f"{limit:>8} {share:6.1f}% {100 * exact / total:6.2f} {100 * score / total:6.2f} "
            f"{1000 * seconds / total:14.1f}",
            flush=True,
        )
    print(f"{total} questions on {len(articles)} articles")


if __name__ == "__main__":
    main()
