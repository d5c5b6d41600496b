"""The built-in model as it ships: it loads, it fits, it ends its replies, and its card says what it is."""

import re

import pytest

from chatrwkv import paths
from chatrwkv.engine import (
    Finished,
    GenerateRequest,
    Generation,
    Prompt,
    SamplingParams,
    load_model,
    unpack_rows,
)
from chatrwkv.engine.generate import generate
from chatrwkv.engine.record import row_bytes
from training import corpus, evaluate, folders
from training.chatting import builtin_template, reply

FOLDER = paths.bundled_models() / folders.NAME
MAX_BYTES = 30_000_000


@pytest.fixture(scope="module")
def loaded():
    return load_model(FOLDER, device="cpu")


def test_builtin_model_is_a_small_rwkv7_that_masks_nothing(loaded):
    """A vocabulary that does not cover the head leaves ids that decode to nothing."""
    assert loaded.model.spec.generation is Generation.V7
    assert loaded.info.card_family == "builtin"
    assert loaded.tokenizer.n_vocab == loaded.model.spec.n_vocab
    assert not loaded.banned
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= MAX_BYTES


def test_files_can_be_read_by_everyone():
    """safetensors writes a private file, which a wheel would carry on."""
    for file in FOLDER.iterdir():
        assert file.stat().st_mode & 0o044 == 0o044, file.name


def test_template_turns_cost_one_token_for_each_role(loaded):
    """The model was trained on these ids."""
    template = builtin_template()
    tokenizer = loaded.tokenizer
    assert len(tokenizer.encode(template.reply_prefix())) == 1
    assert tokenizer.encode(template.user_segment("hello", first=False))[:2] == [
        *tokenizer.encode("\n\n"),
        *tokenizer.encode("User:"),
    ]


def test_replies_are_english_and_end(loaded):
    """Noise, or a reply without end, is what a person would meet on first start."""
    asks = ["Hello", "Who are you?", "What can you do?", "Tell me a story.", "Thank you!"]
    answers = reply(loaded, [[("user", ask)] for ask in asks], seed=1)
    assert all(answer.ended and re.search("[a-z]{2}", answer.text) for answer in answers)
    known = frozenset(
        word.lower() for text in corpus.plain_texts() for word in re.findall("[A-Za-z']+", text)
    )
    assert evaluate.known_words([a.text for a in answers], known) > 0.9


def test_it_says_what_it_is(loaded):
    """Asked who it is, it must not pretend to be something larger."""
    answers = reply(loaded, [[("user", "Who are you?")]] * 3, seed=2)
    assert sum(bool(re.search(r"\b(small|demo|model|chatrwkv)\b", a.text)) for a in answers) >= 2


def test_card_names_sources_and_the_way_to_a_larger_model():
    """Licences ask for the first, the user for the second."""
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    for words in (
        "BlinkDL/rwkv7-g1",
        "chatrwkv paths",
        "CC BY 4.0",
        "CDLA-Sharing-1.0",
        "MIT",
        "BSD-3-Clause",
    ):
        assert words in card


def test_a_real_model_leaves_a_record_of_every_token(loaded):
    """Whichever path computes the logits, they are drawn and recorded at one place."""
    ids = tuple(loaded.tokenizer.encode("User: Tell me a story.\n\nAssistant:"))
    params = SamplingParams(max_tokens=16, seed=3, min_tokens=16)
    request = GenerateRequest(prepare=lambda _: Prompt(None, ids), params=params)
    last = list(generate(loaded, request))[-1]
    assert isinstance(last, Finished)
    rows = unpack_rows(last.rows, row_bytes(loaded.model.spec.n_vocab))
    assert tuple(row.token_id for row in rows) == last.token_ids
    assert sum(row.n_chars for row in rows) == len(last.text)
    assert all(len(row.top) == 8 and row.token_id in dict(row.top) for row in rows)
