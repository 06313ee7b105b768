"""How a base model does on the general probe: by family, by the two ways to compare options, and bits per byte.

    python -m tests.benchmarks.quality.general_probe [--model MODEL]

A family that the base answers nearly always, or no better than by guessing (0.25), can show little forgetting.
"""

import argparse
from collections import defaultdict

from finetune.likelihood import Likelihoods
from finetune.probing import is_right, probe_folder, read_probe
from rag.models import default_cache, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a base model on the general probe.")
    parser.add_argument("--model", default="SmolLM2-135M-Instruct", help="a model that was fetched")
    reference = parser.parse_args().model
    probe = read_probe(probe_folder())
    likelihoods = Likelihoods(resolve(reference, default_cache()), reference)
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for item, values in zip(probe.items, likelihoods.of_options(probe.items), strict=True):
        by_sum = max(range(len(values)), key=values.__getitem__) == item.answer
        found[item.family].append((is_right(item, values), by_sum))
    print("| family | items | mean over bytes | sum |\n| --- | --- | --- | --- |")
    for family, right in [*found.items(), ("all", [each for some in found.values() for each in some])]:
        means = (sum(each[way] for each in right) / len(right) for way in (0, 1))
        print(f"| {family} | {len(right)} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    bits = likelihoods.bits_per_byte(probe.texts)
    print(f"\nbits per byte of {len(bits)} held-out paragraphs: {sum(bits) / len(bits):.3f}")


if __name__ == "__main__":
    main()
