"""Every prompt format of the fact sheet (section 14), byte for byte, from the files in `prompts/`."""

from __future__ import annotations

import pytest

from chatrwkv.chat.template import FAMILIES, load_templates
from chatrwkv.paths import bundled_prompts

TEMPLATES = load_templates([bundled_prompts()])
WORLD_OPENING = (
    "User: hi\n\nAssistant: Hi. I am your assistant and I will provide expert full response in full details. "
    "Please feel free to ask any question and I will always answer it.\n\n"
)
BELOW = "\nBelow is an instruction that describes a task. Write a response that appropriately completes the request."
CALL = (
    "System: Tools:\n- sum(a: int, b: int)\n- now()\nReturn only a JSON function call.\n\n"
    "User: q\n\nAssistant: ```json"
)

# (template, thinking mode, system, user's text) -> what is fed before the first reply
FIRST_PROMPTS = [
    ("builtin-chat", "", "", "q", "User: q\n\nAssistant:"),
    ("pile-free", "", "", "Once upon", "\nOnce upon"),
    ("free", "", "", "Once upon", "Once upon"),
    ("pile-qa", "", "", "q", "\nQ & A\n\nQuestion:\nq\n\nDetailed Expert Answer:\n"),
    (
        "pile-qa-experts", "", "", "q",
        "\nExpert Questions & Helpful Answers\n\nAsk Research Experts\n\nQuestion:\nq\n\nFull Answer:\n",
    ),
    (
        "pile-qa-helpful", "", "", "q",
        "\nQuestions & Helpful Answers\n\nAsk Research Experts\n\nQuestion:\nq\n\nFull Answer:\n",
    ),
    ("pile-instruct", "", "", "q", "Q: q\n\nA:"),
    ("raven-instruct", "", "", "q", f"{BELOW}\n\n# Instruction:\nq\n\n# Response:\n"),
    ("raven-instruct", "", "", "q\n---\nx", f"{BELOW}\n\n# Instruction:\nq\n\n# Input:\nx\n\n# Response:\n"),
    ("world-chat", "", "", "q", f"{WORLD_OPENING}User: q\n\nAssistant:"),
    ("world-plain", "", "", "q", "User: q\n\nAssistant:"),
    ("world-qa", "", "", "q", "Question: q\n\nAnswer:"),
    ("world-instruct", "", "", "q", "Instruction: q\n\nResponse:"),
    ("world-instruct", "", "", "q\nInput:\nx\n\ny", "Instruction: q\n\nInput: x\ny\n\nResponse:"),
    ("world-instruct", "", "", "q\n---\n \n", "Instruction: q\n\nResponse:"),
    ("g1-chat", "", "", "q", "User: q\n\nAssistant:"),
    ("g1-chat", "off", "s", "q", "System: s\n\nUser: q\n\nAssistant:"),
    ("g1-chat", "fast", "", "q", "User: q\n\nAssistant: <think>\n</think"),
    ("g1-chat", "fast-inline", "", "q", "User: q\n\nAssistant: <think></think"),
    ("g1-chat", "think", "", "q", "User: q\n\nAssistant: <think"),
    ("g1-chat", "think-word", "", "q", "User: q (think)\n\nAssistant: <think"),
    ("g1-chat", "think-bit", "", "q", "User: q (think a bit)\n\nAssistant: <think"),
    ("g1-chat", "think-lot", "", "q", "User: q (think a lot)\n\nAssistant: <think"),
    ("g1-chat", "think-zh", "", "q", "User: q\n\nAssistant: <think>好的"),
    ("g1-chat-2025", "think-word", "", "q", "User: q think\n\nAssistant: <think"),
    ("g1-chat-2025", "think-bit", "", "q", "User: q think a bit\n\nAssistant: <think"),
    ("g1-chat-2025", "think-lot", "", "q", "User: q think a lot\n\nAssistant: <think"),
    ("g1-chat-2025", "think-zh", "", "q", "User: q\n\nAssistant: <think>嗯"),
    ("g1-functions", "", "- sum(a: int, b: int)\n- now()", "q", CALL),
    ("g1-flower", "think", "s", "q", "System✿s✿\nUser✿q✿\nBot✿<think"),
    ("g1-flower", "fast", "", "q", "User✿q✿\nBot✿<think></think"),
]  # fmt: skip


def prompt_of(name, mode, system, text):
    template = TEMPLATES.ok[name]
    return (
        template.opening()
        + template.system_segment(system)
        + template.user_segment(text, first=True, mode=mode)
        + template.reply_prefix(mode)
    )


@pytest.mark.parametrize(("name", "mode", "system", "text", "expected"), FIRST_PROMPTS)
def test_prompt_is_the_format_the_models_were_trained_on(name, mode, system, text, expected):
    assert prompt_of(name, mode, system, text) == expected


def test_every_bundled_template_is_readable_and_covered_here():
    """A format without a row above could change unseen."""
    assert not TEMPLATES.failed
    assert set(TEMPLATES.ok) == {row[0] for row in FIRST_PROMPTS} | {"raven-chat"}


def test_raven_chat_begins_with_a_dialogue_of_bob_and_alice():
    prompt = prompt_of("raven-chat", "", "", "q")
    assert prompt.startswith("\nThe following is")
    assert prompt.endswith("\n\nBob: q\n\nAlice:")
    assert "\n\n\n" not in prompt


@pytest.mark.parametrize("template", TEMPLATES.ok.values(), ids=lambda t: t.name)
def test_no_prompt_ends_with_a_space(template):
    """The model writes the space after a role itself; fed one, it leaves what it was trained on."""
    for mode in template.thinking:
        for text in ("q", "q ", "q\n\n "):
            assert not (template.user_segment(text, mode=mode) + template.reply_prefix(mode)).endswith(" ")


@pytest.mark.parametrize(
    ("name", "reply", "second"),
    [
        ("g1-chat", " One.", "User: a\n\nAssistant: One.\n\nUser: b\n\nAssistant:"),
        ("g1-flower", ">\n</think>One.", "User✿a✿\nBot✿<think>\n</think>One.✿\nUser✿b✿\nBot✿<think"),
        ("free", " and two", "a and twob"),
    ],
)
def test_later_turns_open_with_the_separator_that_the_reply_left_out(name, reply, second):
    template = TEMPLATES.ok[name]
    fed = prompt_of(name, "", "", "a") + reply
    assert fed + template.user_segment("b", first=False) + template.reply_prefix() == second


def test_function_output_goes_back_as_a_user_turn():
    template = TEMPLATES.ok["g1-functions"]
    assert template.user_segment('Function output:\n{"sum": 3}', first=False) == (
        '\n\nUser: Function output:\n{"sum": 3}\n\n'
    )
    assert template.reply_prefix() == "Assistant: ```json"


def test_stop_strings_leave_blank_lines_to_the_models_that_write_them():
    """'\\n\\n' ends the replies of v4 models; World and G1 models answer in paragraphs."""
    for template in TEMPLATES.ok.values():
        if template.name in ("free", "pile-free"):
            assert template.stops == ()
        elif template.name == "g1-flower":
            assert template.stops == ("✿",)
        elif {"g1", "world"} & set(template.families):
            assert "\n\n" not in template.stops
            assert {"\n\nUser:", "\n\nAssistant:"} <= set(template.stops)
        else:
            assert template.stops == ("\n\n",)
        assert template.end_token


def test_only_the_community_format_starts_with_token_0():
    assert [t.name for t in TEMPLATES.ok.values() if t.start_ids] == ["g1-flower"]
    assert TEMPLATES.ok["g1-flower"].start_ids == (0,)


def test_each_family_has_a_default_that_fits_it():
    defaults = {family: TEMPLATES.default_for(family) for family in (*FAMILIES, "")}
    assert {family: t.name for family, t in defaults.items()} == {
        "builtin": "builtin-chat",
        "g1": "g1-chat",
        "world": "world-chat",
        "raven": "raven-chat",
        "pile": "pile-qa",
        "": "g1-chat",
    }
    assert all(family in t.families for family, t in defaults.items() if family)


def test_sampling_defaults_are_those_recommended_for_the_format():
    def settings(name):
        p = TEMPLATES.ok[name].sampling
        return p.temperature, p.top_p, p.top_k, p.presence, p.frequency, p.decay

    assert settings("g1-chat") == (1.0, 0.3, 0, 0.5, 0.5, 0.996)
    assert settings("g1-functions") == (0.3, 0.3, 0, 0.0, 0.0, 0.996)
    assert settings("g1-flower") == (1.0, 0.5, 500, 1.0, 0.1, 0.99)
    assert settings("world-chat") == (1.0, 0.3, 0, 0.5, 0.5, 0.996)
    assert settings("world-qa") == (1.0, 0.2, 0, 0.4, 0.4, 0.996)
    assert settings("raven-chat") == (1.2, 0.5, 0, 0.4, 0.4, 0.996)
    assert settings("pile-free") == (1.0, 0.8, 0, 0.2, 0.2, 0.996)
