"""A licence other than the base model's is reported; the same licence, or an unknown base model, is not."""

from __future__ import annotations

import pytest

from llorch.formats.scan.licences import FAMILIES, licence_findings

# Licence in a card or header, base model, and whether the two contradict each other.
CASES = [
    ("mit", "meta-llama/Llama-2-7b-chat-hf", True),
    ("llama2", "meta-llama/Llama-2-7b-chat-hf", False),
    ("apache-2.0", "https://huggingface.co/meta-llama/Meta-Llama-3-8B-Instruct", True),
    ("llama3", "meta-llama/Llama-3.1-8B", True),
    ("llama3.1", "meta-llama/Meta-Llama-3.1-8B-Instruct", False),
    ("Llama 3.2 Community License", "Llama 3.2 1B", False),
    ("llama3.2", "meta-llama/Llama-3.2-1B", False),
    ("apache-2.0", "meta-llama/Llama-3.3-70B-Instruct", True),
    ("llama4", "meta-llama/Llama-4-Scout-17B-16E", False),
    ("mit", "meta-llama/Llama-4-Scout-17B-16E", True),
    ("mit", "google/gemma-2-2b-it", True),
    ("gemma", "google/gemma-3-270m", False),
    ("apache-2.0", "google/gemma-3n-E2B-it", True),
    ("apache-2.0", "google/gemma-4-E2B-it", False),
    ("gemma", "google/medgemma-4b-it", True),
    ("health-ai-developer-foundations", "google/medgemma-4b-it", False),
    ("apache-2.0", "CohereForAI/c4ai-command-r-v01", True),
    ("cc-by-nc-4.0", "CohereForAI/aya-expanse-8b", False),
    ("apache-2.0", "Qwen/Qwen2.5-3B-Instruct", True),
    ("apache-2.0", "Qwen/Qwen2.5-0.5B-Instruct", False),
    ("apache-2.0", "Qwen/Qwen2.5-32B-Instruct", False),
    ("apache-2.0", "mistralai/Codestral-22B-v0.1", True),
    ("mrl", "mistralai/Mistral-Small-Instruct-2409", False),
    ("apache-2.0", "mistralai/Mistral-Small-24B-Instruct-2501", False),
    ("apache-2.0", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", False),
    ("mit", "microsoft/Phi-3-mini-4k-instruct", False),
    ("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct", False),
    ("apache-2.0", "openlm-research/open_llama_3b", False),
]


@pytest.mark.parametrize(("licence", "base", "contradicts"), CASES, ids=[f"{a} of {b}" for a, b, _ in CASES])
def test_a_licence_is_compared_with_the_base_models(licence: str, base: str, contradicts: bool) -> None:
    found = list(licence_findings("README.md", licence, [base]))
    assert bool(found) == contradicts, [str(one) for one in found]


def test_a_licence_of_another_name_is_known_by_its_details() -> None:
    assert not list(licence_findings("README.md", "other", ["Codestral-22B-v0.1"], ["mnpl"]))
    assert list(licence_findings("README.md", "other", ["Codestral-22B-v0.1"], ["apache-2.0"]))
    assert not list(licence_findings("README.md", "other", ["Codestral-22B-v0.1"]))


def test_every_row_names_its_source() -> None:
    assert all(len(row.source) > 10 for row in FAMILIES)
