"""Trained vocabularies that several of these tests use."""

from __future__ import annotations

import io

import pytest

from tests.formats.tokenizer.vocabularies import Trained, hard_texts, read_sentencepiece


@pytest.fixture(scope="session")
def unigram() -> Trained:
    """A Unigram model with SentencePiece's own NFKC map, trained here by SentencePiece."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(hard_texts(3000, seed=6)),
        model_writer=model,
        model_type="unigram",
        vocab_size=900,
        normalization_rule_name="nmt_nfkc",
        user_defined_symbols=["<sep>"],
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        num_threads=1,
    )
    return read_sentencepiece(model.getvalue())
