"""Everything of one user: chats, models, templates, states, and the sessions that are open."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chatrwkv import paths as places
from chatrwkv.chat.catalog import Catalog, ModelEntry, StateEntry
from chatrwkv.chat.desk import Desk
from chatrwkv.chat.document import with_new_ids
from chatrwkv.chat.history import PromptHistory
from chatrwkv.chat.learning import free_state_path, learning, read_document
from chatrwkv.chat.locks import ChatLocks
from chatrwkv.chat.portable import begun_with, importing, load_portable
from chatrwkv.chat.session import ChatSession
from chatrwkv.chat.store import Store
from chatrwkv.chat.surroundings import Surroundings
from chatrwkv.chat.template import load_templates
from chatrwkv.chat.tree import ChatId, Conversation
from chatrwkv.chat.vault import Vault, VaultUsage
from chatrwkv.errors import StateError

if TYPE_CHECKING:
    from chatrwkv.chat.backup import DatabaseMoved
    from chatrwkv.chat.purge import Purgeable
    from chatrwkv.chat.reader import ChatSummary
    from chatrwkv.chat.search import Bookmark, Hit
    from chatrwkv.chat.template import PromptTemplate, Templates
    from chatrwkv.config import Settings
    from chatrwkv.engine import EngineThread, Job, ModelInfo, Snapshot
    from chatrwkv.paths import Paths

_log = logging.getLogger(__name__)

_LAST_MODEL = "last_model"
_PINNED = "pinned_states"


class Workspace(Desk):
    """Opens and keeps what the interface works with; made by `Workspace.open`, ended by `close`."""

    def __init__(
        self, paths: Paths, settings: Settings, engine: EngineThread, store: Store, templates: Templates
    ) -> None:
        self.paths = paths
        self.settings = settings
        self.engine = engine
        self.templates = templates
        self.damage: DatabaseMoved | None = None
        """A damaged database was put aside at the start; tells where, and which backup there is."""
        self.catalog = Catalog(
            places.bundled_models(),
            paths.models,
            [Path(folder).expanduser() for folder in settings.model.folders],
            paths.saved_states,
        )
        self._store = store
        self._locks = ChatLocks(paths.state_dir / "chats.lock")
        own = settings.chat
        self._vault = Vault(
            paths.states, own.state_budget_mb * 1_000_000, own.state_disk_budget_mb * 1_000_000
        )
        self._vault.pin_keys(str(key) for key in store.setting(_PINNED, []))
        self._sessions: dict[ChatId, ChatSession] = {}
        self._history = PromptHistory(store)
        self._is_closed = False
        self._loading: tuple[ModelEntry, Job[ModelInfo]] | None = None
        self._around = Surroundings(
            store=store,
            vault=self._vault,
            engine=engine,
            templates=templates,
            settings=settings,
            locks=self._locks,
            model=self._settled_model,
            family=self._family,
        )

    @classmethod
    def open(
        cls, paths: Paths, settings: Settings, engine: EngineThread, *, templates: Templates | None = None
    ) -> Self:
        """Open the chats and everything around them; loads no model.

        Args:
            paths: where files are.
            settings: the user's.
            engine: started and closed by the caller.
            templates: the bundled and the user's own unless given.

        Raises:
            StoreError: the chats cannot be opened; damage is no reason (see `damage`).
        """
        store, damage = Store.open_or_move_aside(paths.database, paths.backups)
        try:
            if templates is None:
                templates = load_templates([places.bundled_prompts(), paths.user_prompts])
            made = cls(paths, settings, engine, store, templates)
        except BaseException:
            store.close()
            raise
        made.damage = damage
        if damage is None:
            store.backup_daily()
            # It looks at every file, so it does not stand in the way of the first screen.
            made._vault.then(lambda: made._vault.sweep(store.linked_places()))
            if settings.chat.state_fp16_after_days:
                made._vault.round_old(settings.chat.state_fp16_after_days, made._shown_states)
        return made

    def close(self) -> None:
        """Stop and save what is being written, then close everything but the engine; once is enough."""
        if self._is_closed:
            return
        self._is_closed = True
        for session in self._sessions.values():
            session.stop()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._vault.close()
        self._store.close()
        self._locks.close()

    # -- chats --------------------------------------------------------------------------------------------

    def chats(self, *, deleted: bool = False) -> list[ChatSummary]:
        """All chats, the one used last first, or the deleted ones; none after `close`."""
        # The interface draws once more while it ends, and must not fail at it.
        return [] if self._is_closed else self._store.chats(deleted=deleted)

    def new_chat(self, title: str = "", *, template: str = "", system: str = "") -> ChatSession:
        """An empty chat."""
        chat = self.settings.chat
        return self._adopt(
            Conversation.start(title, system, template=template or chat.template, thinking=chat.thinking)
        )

    def open_chat(self, chat_id: ChatId) -> ChatSession:
        """The session of a chat; one per chat, however often it is asked for.

        Raises:
            StoreError: there is no such chat, or it cannot be read.
        """
        if chat_id not in self._sessions:
            self._sessions[chat_id] = ChatSession(self._around, chat_id)
        return self._sessions[chat_id]

    def close_chat(self, chat_id: ChatId) -> None:
        """Stop and save what is being written there, and let other processes have the chat."""
        session = self._sessions.pop(chat_id, None)
        if session is not None:
            session.close()

    @property
    def open_chats(self) -> list[ChatSession]:
        """The sessions that are open; poll them all, since replies go on in the background."""
        return list(self._sessions.values())

    def delete_chat(self, chat_id: ChatId) -> None:
        """Take a chat from the list; `restore_chat` brings it back."""
        self.close_chat(chat_id)
        self._store.delete_chat(chat_id).result()

    def restore_chat(self, chat_id: ChatId | None = None) -> ChatId | None:
        """Bring a deleted chat back, the one deleted last unless named; None when there is none."""
        if chat_id is None:
            gone = max(self.chats(deleted=True), key=lambda chat: chat.deleted or 0, default=None)
            if gone is None:
                return None
            chat_id = gone.id
        self._store.restore_chat(chat_id).result()
        return chat_id

    def purgeable(self, chat_id: ChatId | None = None) -> Purgeable:
        """What `purge` would erase."""
        return self._store.purgeable(chat_id).result()

    def purge(self, chat_id: ChatId | None = None) -> Purgeable:
        """Erase for good what deletion hid, with its states and the steps of undo that need it; from any thread.

        Args:
            chat_id: only the messages deleted in this chat; None is every chat, and deleted chats.
        """
        self._vault.flush()  # a state on its way to the disk would come there after its message is gone
        gone = self._store.purge(chat_id).result()
        self._vault.then(lambda: self._vault.erase(gone.places))
        return gone

    def rename_chat(self, chat_id: ChatId, title: str) -> None:
        """Give a chat another title."""
        if chat_id in self._sessions:
            self._sessions[chat_id].rename(title)
        else:
            self._store.rename(chat_id, title).result()

    def import_chat(self, conversation: Conversation) -> ChatSession:
        """Add a conversation from elsewhere as a new chat."""
        return self._adopt(with_new_ids(conversation))

    def search(self, query: str, *, chat_id: ChatId | None = None) -> list[Hit]:
        """Messages in which all words of `query` occur, the newest first; from any thread.

        Args:
            query: words in any case, or "several words" in quotes.
            chat_id: only in this chat.
        """
        return [] if self._is_closed else self._store.search(query, chat_id=chat_id)

    def bookmarks(self) -> list[Bookmark]:
        """Every named message of all chats, the newest first."""
        return self._store.bookmarks()

    def _adopt(self, conversation: Conversation, *, undo_in: ChatId = "") -> ChatSession:
        self._store.create_chats([conversation], undo_in=undo_in, label="open a state").result()
        return self.open_chat(conversation.id)

    # -- models and states --------------------------------------------------------------------------------

    @property
    def model(self) -> ModelInfo | None:
        """The model that is loaded."""
        return self.engine.info

    @property
    def loading(self) -> ModelEntry | None:
        """The model that is being loaded."""
        if self._loading is not None and self._loading[1].done.is_set():
            self._loading = None
        return self._loading[0] if self._loading else None

    def models(self) -> list[ModelEntry]:
        """Every model in the known folders."""
        return self.catalog.models()

    def default_model(self) -> ModelEntry | None:
        """What to load at the start: the setting, the one used last, else the first built-in one.

        Raises:
            ModelNotFound: the setting names nothing.
        """
        if self.settings.model.default:
            return self.catalog.find(self.settings.model.default)
        last = self._store.setting(_LAST_MODEL)
        if isinstance(last, str) and Path(last).exists():
            return self.catalog.find(last)
        return next(iter(self.models()), None)

    def load_model(
        self, ref: str | Path | ModelEntry, *, device: str = "", dtype: str = ""
    ) -> Job[ModelInfo]:
        """Load a model in the background; chats go on with it, texts stay, states of the old one stay too.

        Raises:
            ModelNotFound: `ref` names nothing.
        """
        entry = ref if isinstance(ref, ModelEntry) else self.catalog.find(ref)
        own = self.settings.model
        job = self.engine.load(entry.path, device=device or own.device, dtype=dtype or own.dtype)
        self._loading = (entry, job)
        self._store.set_setting(_LAST_MODEL, str(entry.path))
        return job

    def states(self) -> list[StateEntry]:
        """Every saved state file."""
        return self.catalog.states()

    def load_state(self, path: Path, *, undo_in: ChatId = "") -> ChatSession:
        """A new chat that goes on from a state file, with nothing to prefill.

        Args:
            path: the file.
            undo_in: the chat whose undo takes the new one away again; none unless given.

        Raises:
            StateError: the file is damaged, or belongs to another model than the one that is loaded.
        """
        return self._begin(*load_portable(Path(path), self.model), undo_in)

    def import_state(self, path: Path) -> Job[Snapshot]:
        """Read another program's state for the model that is loaded; `begin_with` makes a chat of it."""
        return self.engine.call(importing(path))

    def begin_with(self, snapshot: Snapshot, title: str, *, undo_in: ChatId = "") -> ChatSession:
        """A new chat on top of a state of which nobody knows what it has read; `undo_in` as for `load_state`."""
        return self._begin(begun_with(snapshot, title), snapshot, undo_in)

    def _begin(self, conversation: Conversation, snapshot: Snapshot, undo_in: ChatId) -> ChatSession:
        session = self._adopt(with_new_ids(conversation), undo_in=undo_in)
        if conversation.nodes[conversation.root].base == snapshot.chain:
            self.pin_state(snapshot.fingerprint, snapshot.chain, is_pinned=True)  # no text leads to it
        chain = session.plan().known_chain(self.model.tokenizer_id) if self.model else None
        if chain not in (None, snapshot.chain):
            self._vault.notice(
                f"The state saved for {session.title!r} does not follow from its text and is not used; the text is read."
            )
            return session
        saved_at = session.head  # now: the file is written later, when the head may have moved on
        self._vault.put(snapshot, saved=lambda stored: self._store.link_snapshot(saved_at, stored))
        return session

    def learn(
        self, path: Path, name: str = "", *, twice: bool = False, template: PromptTemplate | None = None
    ) -> Job[Path]:
        """Read a text file into a state of its own, saved under `name`; `load_state` opens chats on it.

        Args:
            path: UTF-8 text.
            name: of the saved state; the file's stem unless given.
            twice: feed it twice.
            template: how the chats on it will be written; the model's own unless given.

        Raises:
            BadValue: the file cannot be read as text, or there is a state of that name.
        """
        document = read_document(path, name)
        target = free_state_path(self.paths.saved_states, document.name)
        template = template or self.templates.default_for(self._family())
        return self.engine.call(learning(document, target, template, self._vault, twice=twice))

    def drop_state(self, path: Path) -> None:
        """Delete a saved state's file; chats that were opened from it keep theirs.

        Raises:
            StateError: it is not there, or may not be deleted.
        """
        try:
            path.unlink()
        except OSError as error:
            raise StateError(
                f"{path.name} cannot be deleted: {error.strerror}.", hint="/state list shows what there is."
            ) from error

    def pin_state(self, fingerprint: str, chain: str, *, is_pinned: bool) -> None:
        """Keep a state of the chats whatever the budgets say, or no longer; remembered over restarts."""
        (self._vault.pin if is_pinned else self._vault.unpin)(fingerprint, chain)
        self._store.set_setting(_PINNED, sorted(self._vault.pinned))

    def notices(self) -> list[str]:
        """What should be told of states since the last call: damaged ones, rounded ones."""
        return self._vault.take_notices()

    def usage(self) -> VaultUsage:
        """How much of the memory and of the disk the states take."""
        return self._vault.usage()

    def _shown_states(self) -> set[str]:
        return self._store.snapshot_keys([session.head for session in self.open_chats])

    def _settled_model(self) -> ModelInfo | None:
        return None if self.loading else self.model

    def _family(self) -> str:
        entry, model = self.loading, self.model
        if entry is not None:
            return entry.family
        return model.card_family if model else ""
