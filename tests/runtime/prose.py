"""English text and questions for the real model: on random tokens, differences look larger than they are."""

from __future__ import annotations

TEXT = """The lighthouse at the end of the harbour was built in 1871, after three ships had been lost on the rocks in
a single winter. It stands forty metres above the water, and its light can be seen for twenty miles on a
clear night. For more than a century a keeper lived there with his family. He trimmed the lamp, wound the
clockwork that turned the lens, and wrote down the weather every four hours. In 1989 the light was made
automatic, and the last keeper moved to the village. Today the tower is a small museum. Visitors climb the
192 steps to the gallery, from where one sees the whole bay: the fishing boats, the ferry to the islands,
and, far out, the tankers waiting for the tide. The old lens is still in its place. It weighs two tons,
floats in a bath of mercury, and can be turned with one finger. A guide explains how the prisms bend the
light of a single lamp into a beam. Children like the foghorn best, which is sounded every Sunday at noon,
and can be heard in the next valley. In the evening, when the visitors have left, the caretaker locks the
door and walks home along the beach, as the keepers did before him."""

QUESTIONS = (
    "Why is the sky blue?",
    "Write a haiku about autumn leaves.",
    "What is 17 times 23?",
    "List three uses of copper.",
    "Explain photosynthesis to a child.",
    "Translate 'good morning' into French.",
    "What does the Python keyword 'yield' do?",
    "Who wrote Pride and Prejudice?",
    "Give me a recipe for pancakes.",
    "How do I tie a bowline knot?",
)

BEGINNINGS = (
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):",
    "Water boils at",
    "The three laws of motion state that",
    "In 1969, humans first",
    "To make a good cup of tea, you need",
    "The quick brown fox",
    "A prime number is a number that",
    "Dear Sir or Madam,",
)
