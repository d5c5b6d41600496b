"""The tree at size: search over many messages, a long chat opened, a fork at message 1 and at message 1,000.

Goals: search < 200 ms, also for Chinese queries of one, two and three characters; a chat of 10,000 messages
opens in < 1 s; fork and first new token prefill 0 tokens at message 1,000 as at message 1. Everything runs in
one process on a database in a temporary folder, with a model that counts what it reads. Processor time is that of
the one thread that waits; on a machine with other work only that means something.

    python benchmarks/tree.py [--messages 100000] [--long 10000] [--runs 5]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.chat.workspace import Workspace
from chatrwkv.commands.options import AppOptions
from chatrwkv.config import ChatSettings, Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from chatrwkv.tui.app import ChatApp
from tests.fakes import FakeModel, fake_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = [
    "the",
    "fox",
    "mill",
    "river",
    "silver",
    "key",
    "stone",
    "morning",
    "state",
    "model",
    "branch",
    "token",
    "walks",
    "under",
    "because",
]
HAN = "三体天气问答模型状态分支今明你好世界中国北京上海学习机器人语言文字山水花鸟风雨雷电春夏秋冬"
# Rare, frequent and absent ones: those that are found soon end soon, those that are not are looked for everywhere.
QUERIES = (
    "silver",
    "silver key stone",
    "zebra",
    "w0123 mill",
    "水",
    "饕",
    "天气",
    "三体",
    "饕餮",
    "三体问",
    "世界和平",
    "ox",
    "qq",
)


def paths_below(root: Path) -> Paths:
    """Folders of a machine of its own."""
    return Paths(root / "config", root / "data", root / "state", root / "cache")


def text_of(number: int, chance: random.Random) -> str:
    """Some 400 bytes, every third text Chinese."""
    n = chance.randrange(10, 120)
    if number % 3 == 0:
        han = HAN + "".join(chr(0x4E00 + chance.randrange(3000)) for _ in range(40))
        return "".join(chance.choices(han, k=2 * n))
    return " ".join(chance.choices([*WORDS, f"w{chance.randrange(3000):04x}"], k=n))


def long_chat(n_messages: int, chance: random.Random, title: str = "long") -> Conversation:
    """One path of so many messages."""
    chat = Conversation.start(title)
    nodes, parent = [], chat.root
    for i in range(n_messages):
        node = new_node(parent, Role.ASSISTANT if i % 2 else Role.USER, text_of(i, chance))
        nodes.append(node)
        parent = node.id
    return chat.with_nodes(nodes).with_head(parent)


class Watch:
    """Wall clock and processor time of several runs, in milliseconds."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._own: list[float] = []

    @contextmanager
    def run(self) -> Iterator[None]:
        """Time what is inside."""
        wall, own = time.perf_counter(), time.thread_time()
        yield
        self._wall.append(1e3 * (time.perf_counter() - wall))
        self._own.append(1e3 * (time.thread_time() - own))

    def __str__(self) -> str:
        wall, own = statistics.median(self._wall), statistics.median(self._own)
        return (
            f"{wall:7.1f} ms wall ({min(self._wall):.1f} to {max(self._wall):.1f}), {own:6.1f} ms processor"
        )


def timed(work: Callable[[], object], runs: int) -> Watch:
    """Run it several times."""
    watch = Watch()
    for _ in range(runs):
        with watch.run():
            work()
    return watch


def searches(root: Path, n_messages: int, runs: int) -> None:
    """Fill a database, then look for everything of QUERIES."""
    chance = random.Random(1)
    store = Store.open(paths_below(root).database)
    began = time.perf_counter()
    for i in range(0, n_messages, 1000):
        store.create_chat(long_chat(min(1000, n_messages - i), chance, f"chat {i}"))
    store.flush()
    size = paths_below(root).database.stat().st_size / 1e6
    print(f"{n_messages:,} messages stored in {time.perf_counter() - began:.1f} s, {size:.0f} MB")
    for query in QUERIES:
        n = len(store.search(query))
        print(f"  {query:<18}{n:4} found  {timed(partial(store.search, query), runs)}")
    store.close()


def opening(root: Path, n_messages: int, runs: int) -> None:
    """From the choice of a long chat to its last message on the screen."""
    paths = paths_below(root)
    store = Store.open(paths.database)
    chat = long_chat(n_messages, random.Random(2))
    store.create_chat(chat).result()
    print(f"a chat of {n_messages:,} messages")
    print(f"  read from disk    {timed(lambda: store.load(chat.id), runs)}")
    store.close()
    print(f"  on the screen     {asyncio.run(_on_screen(paths, chat, runs))}")


async def _on_screen(paths: Paths, chat: Conversation, runs: int) -> Watch:
    (paths.data_dir / "fake.pth").touch()
    engine, watch = EngineThread(loader=fake_loader(FakeModel())), Watch()
    app = ChatApp(AppOptions(settings=Settings(), model=str(paths.data_dir / "fake.pth")), engine, paths)
    async with app.run_test(size=(120, 40)) as pilot:
        while app.chat_screen.session is None or app.workspace.model is None:
            await pilot.pause(0.01)
        screen = app.chat_screen
        for _ in range(runs):
            await screen.show_chat(app.fresh_chat())
            await pilot.pause()
            with watch.run():
                await screen.show_chat(app.workspace.open_chat(chat.id))
                while screen.transcript.view_of(chat.head) is None:
                    await pilot.pause()
        await app.leave(0)
    engine.close(5.0)
    return watch


def forks(root: Path, runs: int) -> None:
    """Fork, then the first token of another reply, at message 1 and at message 1,000."""
    model = FakeModel()
    engine = EngineThread(loader=fake_loader(model))
    engine.start()
    settings = Settings(chat=ChatSettings(state_budget_mb=1000), sampling={"max_tokens": 1, "seed": 1})
    workspace = Workspace.open(paths_below(root), settings, engine)
    engine.load(root / "fake.pth").result(60)
    print("fork and first token")
    for n_before in (0, 999):
        chat = workspace.new_chat()
        for i in range(n_before):
            chat.say(Role.USER if i % 2 == 0 else Role.ASSISTANT, "a few words")
        chat.send("the last question").wait(60)
        at = chat.path()[-2].id
        before = sum(map(sum, model.scan_sizes))

        def work() -> None:
            forked = workspace.open_chat(chat.fork(at))  # noqa: B023 -- called at once
            forked.retry()[0].wait(60)
            workspace.close_chat(forked.id)

        took = timed(work, runs)
        print(
            f"  at message {n_before + 1:>5}   {took}, {sum(map(sum, model.scan_sizes)) - before} tokens prefilled"
        )
    workspace.close()
    engine.close(5.0)


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--long", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        searches(root / "many", args.messages, args.runs)
        opening(root / "long", args.long, args.runs)
        forks(root / "fork", args.runs)


if __name__ == "__main__":
    main()
