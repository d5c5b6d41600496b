"""Template files: what is read, what is refused and in which words."""

from __future__ import annotations

import pytest

from chatrwkv.chat.template import load_template, load_templates
from chatrwkv.chat.template_file import LARGEST_FILE
from chatrwkv.errors import BadValue, TemplateError, TemplateSyntax, UnknownVariable

GOOD = 'title = "Mine"\n[turns]\nuser = "U: {text}\\n\\n"\nbetween = "\\n\\n"\nreply = "B:"\n'


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "prompts"
    made.mkdir()
    return made


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(TemplateError) as caught:
        load_template(path)
    assert str(path) in caught.value.message
    return caught.value


def test_template_is_named_after_its_file(folder):
    template = load_template(written(folder, "mine.toml", GOOD))
    assert (template.name, template.title, template.multi_turn) == ("mine", "Mine", True)
    assert template.source == folder / "mine.toml"


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("{text}", "{txet}", "turns.user uses {txet}", "Did you mean {text}?"),
        ("{text}", "{text.__class__}", "turns.user uses {text.__class__}", "{text}"),
        ("{text}", "{text}{0}", "turns.user uses {0}", "Here exist: {text}"),
        ('"U: {text}', '"U: {system}{text}', "turns.user uses {system}", "{text}"),
    ],
)
def test_unknown_variable_is_named_with_file_key_and_the_nearest_known(folder, old, new, what, hint):
    error = refusal(written(folder, "bad.toml", GOOD.replace(old, new)))
    assert isinstance(error, UnknownVariable)
    assert what in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (GOOD.replace("{text}", "nothing"), "turns.user lacks {text}", "never be fed"),
        (GOOD.replace("{text}", "{text} {"), "single '{'", "'{{'"),
        (GOOD.replace("{text}", "} {text}"), "single '}'", "'}}'"),
        (GOOD.replace("between", "betwxen"), "turns.betwxen does not exist", "'between'"),
        (GOOD.replace("title", "tilte"), "tilte does not exist", "'title'"),
        (GOOD + "[sampling]\ntop_b = 0.5\n", "sampling.top_b does not exist", "'top_p'"),
        (GOOD + "[sampling]\ntop_p = 1.5\n", "top_p is 1.5", "Correct"),
        (GOOD + "[sampling]\ntop_k = 1.5\n", "sampling.top_k is 1.5", "Correct"),
        (GOOD + "[sampling]\ntemperature = true\n", "must be a number", "Correct"),
        (GOOD + "[sampling]\nanti_repeat = 1\n", "sampling.anti_repeat is 1; it must be on or off", "Correct"),
        (GOOD + "[sampling]\nnegative = 1\n", "sampling.negative is 1; it must be a text", "Correct"),
        (GOOD + "[sampling]\nmirostat = 99\n", "sampling.mirostat is 99", "Correct"),
        (GOOD + f"[sampling]\ntop_k = 1{'0' * 400}\n", "sampling", ""),
        (GOOD + f"[sampling]\ntop_k = 1{'0' * 5000}\n", "not valid TOML", ""),
        (GOOD + "[end]\nstops = ['']\n", "end.stops has ''", "Correct"),
        (GOOD + "[end]\nstops = [3]\n", "end.stops has 3", "Correct"),
        (GOOD + f"[end]\nstops = {['x'] * 65}\n", "65 entries", "Remove"),
        (GOOD + "[end]\ntoken_0 = 1\n", "end.token_0 is 1; it must be true or false", ""),
        (GOOD + "[thinking]\noff = 'x'\n", "thinking.off is 'x'; it must be a table", ""),
        (GOOD + "[thinking.off]\nprefix = 'x'\n", "thinking.off.prefix does not exist", "Known here"),
        ("families = ['g7']\n" + GOOD, "families has 'g7'", "'g1'"),
        ("families = 'g1'\n" + GOOD, "it must be a list", ""),
        ("turns = 3\n", "turns is 3; it must be a table", ""),
        ("title = 'Nothing to say'\n", "lacks turns.user", "{text}"),
        ("title = 'never closed\n", "not valid TOML", "Correct that line"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "not valid TOML", ""),
        (f"a = {'[' * 100_000}", "TOML", ""),
    ],
)  # fmt: skip
def test_broken_template_is_refused_with_file_key_and_next_step(folder, text, what, hint):
    error = refusal(written(folder, "bad.toml", text))
    assert isinstance(error, TemplateSyntax)
    assert what in error.message or "nested" in error.message
    assert hint in error.hint
    assert len(error.message) < 500


def test_huge_template_is_refused_before_it_is_read(folder, monkeypatch):
    """A 10 MB string costs seconds in a TOML parser and memory in every chat."""
    path = written(folder, "huge.toml", GOOD + f'description = "{"x" * 10_000_000}"\n')
    monkeypatch.setattr(type(path), "read_text", lambda *_, **__: pytest.fail("the file was read"))
    error = refusal(path)
    assert str(LARGEST_FILE) in error.message


def test_bytes_that_are_no_text_are_refused(folder):
    path = folder / "bytes.toml"
    path.write_bytes(b"title = '\xff\xfe'\n")
    assert "UTF-8" in refusal(path).message


def test_missing_file_and_folder_are_refused(folder):
    assert "is not a file" in refusal(folder / "nowhere.toml").message
    (folder / "dir.toml").mkdir()
    assert "is not a file" in refusal(folder / "dir.toml").message


def test_one_broken_file_never_hides_the_others(folder):
    written(folder, "good.toml", GOOD)
    written(folder, "broken.toml", "=")
    written(folder, "unknown.toml", GOOD.replace("{text}", "{txt}"))
    written(folder, "notes.txt", "not a template")
    written(folder, ".hidden.toml", "=")
    found = load_templates([folder, folder / "absent"])
    assert list(found.ok) == ["good"]
    assert [path.name for path, _ in found.failed] == ["broken.toml", "unknown.toml"]


def test_later_folder_overrides_earlier_and_becomes_the_default(folder, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    written(folder, "a.toml", "default_for = ['g1']\n" + GOOD)
    written(folder, "b.toml", GOOD)
    written(own, "b.toml", "default_for = ['g1']\n" + GOOD.replace("Mine", "Own"))
    written(own, "a.toml", "=")
    found = load_templates([folder, own])
    assert found.get("b").title == "Own"
    assert found.default_for("g1").name == "b"
    assert found.get("a").title == "Mine"  # the broken file in the later folder replaces nothing


def test_unknown_template_name_suggests_the_nearest(folder):
    written(folder, "world-chat.toml", GOOD)
    written(folder, "broken.toml", "=")
    found = load_templates([folder])
    with pytest.raises(TemplateError, match=r"no template 'wrld-chat'.*Did you mean 'world-chat'"):
        found.get("wrld-chat")
    with pytest.raises(TemplateSyntax, match=r"broken\.toml is not valid TOML"):
        found.get("broken")


def test_no_template_at_all_is_said_plainly(tmp_path):
    with pytest.raises(TemplateError, match="No prompt template could be read"):
        load_templates([tmp_path]).default_for("g1")


def test_family_without_a_default_takes_the_one_for_unknown_models(folder):
    written(folder, "a.toml", GOOD)
    assert load_templates([folder]).default_for("g1").name == "a"
    written(folder, "z.toml", "default_for = ['']\n" + GOOD)
    assert load_templates([folder]).default_for("g1").name == "z"


def test_braces_of_the_user_and_escaped_braces_stay_text(folder):
    """A second pass over the filled text would let a message name variables."""
    template = load_template(written(folder, "b.toml", GOOD.replace("{text}", "{{x}} {text}")))
    assert template.user_segment("{text} {system} {0}") == "U: {x} {text} {system} {0}\n\n"


def test_text_is_cleaned_as_in_the_training_data(folder):
    template = load_template(written(folder, "c.toml", GOOD))
    assert template.user_segment(" \r\na\r\n\r\n\nb\rc \n") == "U: a\nb\nc\n\n"
    raw = load_template(
        written(folder, "r.toml", GOOD + "[text]\nstrip = false\ncollapse_blank_lines = false\n")
    )
    assert raw.user_segment(" a\r\n\r\n\r\nb  ") == "U:  a\n\n\nb\n\n"


def test_thinking_mode_changes_prefix_and_suffix(folder):
    modes = '[thinking.off]\n[thinking.on]\nstart = " <think"\nsuffix = " (think)"\n'
    template = load_template(written(folder, "t.toml", GOOD + modes))
    assert (template.default_mode, list(template.thinking)) == ("off", ["off", "on"])
    assert template.reply_prefix() == "B:"
    assert template.reply_prefix("on") == "B: <think"
    assert template.user_segment("q", mode="on") == "U: q (think)\n\n"
    with pytest.raises(BadValue, match=r"no thinking mode 'loud'.*off, on"):
        template.reply_prefix("loud")


def test_system_text_goes_nowhere_in_a_format_without_a_place_for_it(folder):
    template = load_template(written(folder, "s.toml", GOOD))
    assert not template.takes_system
    assert template.system_segment("be kind") == ""
    template = load_template(written(folder, "t.toml", GOOD + 'system = "S: {system}\\n"\n'))
    assert template.takes_system
    assert template.system_segment("be\n\nkind ") == "S: be\nkind\n"
    assert template.system_segment(" \n") == ""


def test_only_a_line_of_its_own_divides_instruction_and_input(folder):
    extra = 'user_with_input = "U: {text}\\nI: {input}\\n\\n"\n'
    template = load_template(written(folder, "i.toml", GOOD + extra))
    assert template.user_segment("a --- b\nInput: c") == "U: a --- b\nInput: c\n\n"
    assert template.user_segment("a\n--- \nb\n---\nc") == "U: a\nI: b\n---\nc\n\n"


def test_splitter_knows_what_the_prefix_opened(folder):
    modes = '[thinking.on]\nstart = " <think"\n'
    template = load_template(written(folder, "t.toml", GOOD + modes))
    assert template.splitter().feed(">\nhm</think>yes") == [("think", "hm"), ("answer", "yes")]
