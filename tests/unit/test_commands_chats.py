"""`chatrwkv chats` on a real database in a temporary home."""

from __future__ import annotations

import json

import pytest

from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.cli import main
from chatrwkv.engine import GenerationStats, SamplingParams
from chatrwkv.paths import Paths, private_dir

META = ReplyMeta(
    "tiny", "f" * 64, "g1-chat", "think", SamplingParams(), 7, "end", GenerationStats(3, 2, 0.1, 0.2)
)


def conversation(title="Stars", answer=" Hello\x1b]0;owned\x07 there"):
    made = Conversation.start(title, "be kind", template="g1-chat")
    user = new_node(made.root, Role.USER, "hi")
    other = new_node(user.id, Role.ASSISTANT, " Other", meta=META)
    thought = new_node(
        user.id, Role.ASSISTANT, f">\nhm hm\n</think>{answer}", meta=META, tokens={"w:1": (1, 2)}
    )
    return made.with_nodes([user, other, thought]).with_head(thought.id)


@pytest.fixture
def chat():
    made = conversation()
    keep(made)
    return made


def keep(*conversations):
    paths = Paths.default()
    private_dir(paths.data_dir)
    store = Store.open(paths.database, paths.backups)
    try:
        for made in conversations:
            store.create_chat(made).result()
    finally:
        store.close()


def test_list_is_tab_separated_in_a_pipe_and_names_cannot_forge_rows(capsys):
    keep(conversation("A\nB\t\u202eC"))
    assert main(["chats", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    short, _, n_messages, title = lines[0].split("\t")
    assert len(short) == 8
    assert n_messages == "3"
    assert title == "A B ⦃U+202E⦄C"


def test_list_as_json_has_whole_ids(chat, capsys):
    assert main(["chats", "list", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [chat.id]


def test_empty_list_is_no_error(capsys):
    assert main(["chats", "list"]) == 0
    assert main(["chats", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_show_prints_the_shown_path_with_the_thought_apart(chat, capsys):
    assert main(["chats", "show", chat.id[:10]]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "# Stars\n\n## System\n\nbe kind\n\n## User\n\nhi\n\n## Assistant\n\n> hm hm\n\nHello"
    )
    assert "Other" not in out


@pytest.mark.parametrize(
    ("name", "start"), [("c.md", '---\ntitle: "Stars"'), ("c.txt", "System: be kind"), ("c.json", "{")]
)
def test_export_format_follows_the_file_name(chat, tmp_path, name, start):
    path = tmp_path / name
    assert main(["chats", "export", chat.id, "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith(start)
    assert path.stat().st_mode & 0o777 == 0o600


def test_export_replaces_a_file_only_when_told(chat, tmp_path, capsys):
    path = tmp_path / "c.md"
    path.write_text("precious")
    assert main(["chats", "export", chat.id, "-o", str(path)]) == 1
    assert path.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert main(["chats", "export", chat.id, "-o", str(path), "--force"]) == 0
    assert 'title: "Stars"' in path.read_text()


@pytest.mark.parametrize("target", ["", "absent/c.md"])
def test_export_that_cannot_be_written_leaves_nothing_behind(chat, tmp_path, target, capsys):
    assert main(["chats", "export", chat.id, "-o", str(tmp_path / target), "--force"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_exported_chat_comes_back_whole_under_new_ids(chat, tmp_path, capsys):
    path = tmp_path / "c.json"
    assert main(["chats", "export", chat.id, "-o", str(path)]) == 0
    assert main(["chats", "import", str(path)]) == 0
    new_id = capsys.readouterr().out.strip()
    assert new_id != chat.id
    paths = Paths.default()
    store = Store.open(paths.database, paths.backups)
    try:
        back, _ = store.load(new_id)
    finally:
        store.close()
    assert [(n.role, n.text, n.meta, dict(n.tokens)) for n in back.path()] == [
        (n.role, n.text, n.meta, dict(n.tokens)) for n in chat.path()
    ]
    assert len(back.nodes) == len(chat.nodes)
    assert not set(back.nodes) & set(chat.nodes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "no chat that is known"),
        ('{"format": "chatrwkv chat", "version": 99}', "newer program"),
        ('{"format": "chatrwkv chat", "version": 1}', "damaged"),
    ],
)
def test_import_of_anything_else_is_refused(tmp_path, text, said, capsys):
    path = tmp_path / "c.json"
    path.write_text(text)
    assert main(["chats", "import", str(path)]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_import_of_a_missing_file_is_refused(tmp_path, capsys):
    assert main(["chats", "import", str(tmp_path)]) == 1
    assert main(["chats", "import", str(tmp_path / "no.json")]) == 1
    assert capsys.readouterr().err.count("is not a file") == 2


def test_rename_delete_and_restore(chat, capsys):
    assert main(["chats", "rename", chat.id[:8], "Sun  and\nmoon"]) == 0
    assert main(["chats", "delete", chat.id[:8]]) == 0
    assert main(["chats", "list"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert f"chatrwkv chats restore {chat.id[:8]}" in err
    assert main(["chats", "list", "--deleted"]) == 0
    assert capsys.readouterr().out.endswith("Sun and moon\n")
    assert main(["chats", "restore", chat.id[:8]]) == 0
    assert main(["chats", "list"]) == 0
    assert "Sun and moon" in capsys.readouterr().out


def test_id_must_mean_exactly_one_chat(capsys):
    chats = [conversation() for _ in range(17)]  # two of them begin with the same of 16 characters
    keep(*chats)
    first = [chat.id[0] for chat in chats]
    doubled = next(c for c in first if first.count(c) > 1)
    assert main(["chats", "show", doubled]) == 1
    assert "Give more of the id" in capsys.readouterr().err
    assert main(["chats", "show", "nothing"]) == 1
    assert "There is no chat 'nothing'" in capsys.readouterr().err
    assert main(["chats", "show", ""]) == 1


def test_reply_that_was_being_written_is_stopped_in_the_copy(tmp_path, capsys):
    made = conversation()
    leaf = made.path()[-1]
    streaming = new_node(leaf.parent, Role.ASSISTANT, " half", status=NodeStatus.STREAMING)
    keep(made.with_node(streaming).with_head(streaming.id))
    path = tmp_path / "c.json"
    assert main(["chats", "export", made.id, "-o", str(path)]) == 0
    assert main(["chats", "import", str(path)]) == 0
    assert main(["chats", "show", capsys.readouterr().out.strip(), "--json"]) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert [node["status"] for node in nodes if node["text"] == " half"] == ["stopped"]


def test_search_prints_what_stands_around_and_ids_to_go_on_with(chat, capsys):
    assert main(["chats", "search", "hello", "there"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    short, node, _, role, title, text = line.split("\t")
    assert chat.id.startswith(short)
    assert chat.head.startswith(node)
    assert (role, title) == ("assistant", "Stars")
    assert "Hello there" in text
    assert main(["chats", "search", "--json", "Hello"]) == 0
    [hit] = json.loads(capsys.readouterr().out)
    assert (hit["chat"], hit["node"]) == (chat.id, chat.head)
    assert main(["chats", "search", "hello other"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nothing found\n")


def test_purge_asks_and_erases_deleted_chats(chat, capsys):
    other = conversation("Kept")
    keep(other)
    assert main(["chats", "purge"]) == 0
    assert main(["chats", "delete", chat.id]) == 0
    assert main(["chats", "purge"]) == 2, "nobody is there to ask"
    assert main(["chats", "purge", "--yes"]) == 0
    assert "erased 3 messages and 1 chat" in capsys.readouterr().err
    assert main(["chats", "restore", chat.id]) == 1
    assert main(["chats", "show", other.id]) == 0


def test_a_backup_brings_erased_chats_back(chat, capsys):
    assert main(["chats", "backup"]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["chats", "delete", chat.id]) == 0
    assert main(["chats", "purge", "--yes"]) == 0
    assert main(["chats", "backup", "--restore", path]) == 0
    assert "brought back 1 chat" in capsys.readouterr().err
    assert main(["chats", "show", chat.id]) == 0
    assert main(["chats", "backup", "--restore", f"{path}.missing"]) == 1


def test_backup_prints_where_the_copy_is(chat, capsys):
    assert main(["chats", "backup"]) == 0
    path = capsys.readouterr().out.strip()
    store = Store.open(Paths.default().backups / path)
    assert [each.id for each in store.chats()] == [chat.id]
    store.close()
