"""ChatRWKV's prompt files are Python; they are read as texts and never run."""

from __future__ import annotations

import pytest

from chatrwkv.chat.template import load_template, load_templates
from chatrwkv.errors import TemplateSyntax

PROMPT = """
interface = ":"
user = "Bob"
bot = "Alice"

# a comment
init_prompt = f'''
A talk between {bot} \\
and {user}.

  {user}{interface} Hi!

{bot}{interface} Hello!
'''

"a note"
"""


def written(folder, text, name="Own-1.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_chatrwkv_prompt_file_becomes_a_template(tmp_path):
    template = load_template(written(tmp_path, PROMPT))
    assert template.name == "Own-1"
    assert template.opening() == "\nA talk between Alice and Bob.\n\nBob: Hi!\n\nAlice: Hello!\n\n"
    assert template.user_segment("{bot} a\n\nb") == "Bob: {bot} a\nb\n\n"
    assert template.user_segment("x", first=False) == "\n\nBob: x\n\n"
    assert template.reply_prefix() == "Alice:"
    assert template.stops == ("\n\n",)
    assert template.sampling.temperature == 1.2


def test_empty_init_prompt_opens_with_nothing(tmp_path):
    text = "user='U'\nbot='B'\ninterface=':'\ninit_prompt='''\n'''\n"
    assert load_template(written(tmp_path, text)).opening() == ""


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "open({sentinel!r}, 'w')",
        "init_prompt = open({sentinel!r}, 'w').name",
        "init_prompt = f'''{{open({sentinel!r}, chr(119))}}'''",
        "init_prompt = f'{{user!r}}'",
        "init_prompt = f'{{user:>9}}'",
        "init_prompt = f'{{user.upper}}'",
        "init_prompt = f'{{elsewhere}}'",
        "init_prompt = user + bot",
        "user = b'bytes'",
        "user: str = 'x'",
        "user = bot = 'x'",
        "title = 'x'",
        "(user := 'x')",
        "def f(): ...",
    ],
)
def test_code_in_a_prompt_file_is_refused_and_not_run(tmp_path, line):
    sentinel = tmp_path / "ran"
    path = written(tmp_path, PROMPT + line.format(sentinel=str(sentinel)))
    number = PROMPT.count("\n") + 1
    with pytest.raises(TemplateSyntax, match=f"in line {number}; prompt files are read as plain texts"):
        load_template(path)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("user = 'Bob'\n", "does not set bot, interface, init_prompt"),
        ("user = 'Bob\n", "not valid Python"),
        ("user = '\0'\n", "not valid Python"),
        ("(" * 5000, "not valid Python"),
        ("user = 'x'\n" + "user = f'{user}{user}'\n" * 60, "longer than"),
    ],
)
def test_prompt_file_that_cannot_be_used_is_refused(tmp_path, text, what):
    """The last one would double its text to 2 ** 60 characters."""
    with pytest.raises(TemplateSyntax, match=what):
        load_template(written(tmp_path, text))


def test_toml_wins_over_a_prompt_file_of_the_same_name(tmp_path):
    written(tmp_path, PROMPT, "x.py")
    written(tmp_path, "[turns]\nuser = '{text}'\n", "x.toml")
    written(tmp_path, "import os\n", "bad.py")
    found = load_templates([tmp_path])
    assert found.get("x").is_raw
    assert [path.name for path, _ in found.failed] == ["bad.py"]
