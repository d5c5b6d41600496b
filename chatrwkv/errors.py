"""What can go wrong, named after what the user was doing.

ChatRWKVError
├── ConfigError       BadValue, UnknownKey, BadBinding
├── ModelError        ModelNotFound, ModelFormatError, ModelUnsupported, ModelTooLarge
├── StateError        StateCorrupt, StateMismatch, StateVersion
├── TemplateError     TemplateSyntax, UnknownVariable
├── GenerationError   OutOfMemory, DeviceLost, NumericalError
├── StoreError        StoreLocked, StoreCorrupt, StoreFull, StoreTooNew
├── FetchError        Offline, ChecksumMismatch, ServerError
└── KernelError       KernelBuildFailed, KernelMismatch      never fatal: the torch path serves

`message` says what happened, with the value that caused it; `hint` says the next step. Both may quote
files and models, so they are sanitised where they are shown, not here.
"""


class ChatRWKVError(Exception):
    """The base of every error this program raises on purpose.

    Args:
        message: what happened, one sentence, with the value that caused it.
        hint: the next step, one sentence; empty when there is none.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ConfigError(ChatRWKVError):
    """The settings, a flag or an environment variable cannot be used."""

    exit_code = 2


class BadValue(ConfigError):
    """A known setting has a value out of its range or of the wrong type."""


class UnknownKey(ConfigError):
    """A settings file names something that does not exist."""


class BadBinding(ConfigError):
    """Two actions want one key, or a key is not a key."""


class ModelError(ChatRWKVError):
    """A model cannot be loaded."""

    exit_code = 3


class ModelNotFound(ModelError):
    """There is no such file or name."""


class ModelFormatError(ModelError):
    """The file is not a checkpoint, or a damaged one."""


class ModelUnsupported(ModelError):
    """The file is a checkpoint of something this program does not run."""


class ModelTooLarge(ModelError):
    """The model does not fit the memory that is free."""


class StateError(ChatRWKVError):
    """A saved state cannot be used."""

    exit_code = 4


class StateCorrupt(StateError):
    """The file is damaged: a checksum, a size or a name is wrong."""


class StateMismatch(StateError):
    """The state belongs to another model or to another text."""


class StateVersion(StateError):
    """The file was written by a newer program."""


class TemplateError(ChatRWKVError):
    """A prompt template cannot be used."""

    exit_code = 2


class TemplateSyntax(TemplateError):
    """The file is not TOML, or lacks or exceeds what a template needs."""


class UnknownVariable(TemplateError):
    """A template names a variable that does not exist."""


class GenerationError(ChatRWKVError):
    """The model could not go on."""


class OutOfMemory(GenerationError):
    """The device has no memory left."""


class DeviceLost(GenerationError):
    """The device stopped answering."""


class NumericalError(GenerationError):
    """The model produced no usable numbers."""


class StoreError(ChatRWKVError):
    """Chats cannot be read or written."""


class StoreLocked(StoreError):
    """Another process holds the database or the chat."""


class StoreCorrupt(StoreError):
    """The database is damaged."""


class StoreFull(StoreError):
    """No space left, or the folder cannot be written."""


class StoreTooNew(StoreError):
    """The database was written by a newer program."""


class FetchError(ChatRWKVError):
    """A download failed."""


class Offline(FetchError):
    """The network is switched off, absent or unreachable."""


class ChecksumMismatch(FetchError):
    """What arrived is not what was promised."""


class ServerError(FetchError):
    """The server refused."""


class KernelError(ChatRWKVError):
    """A native kernel cannot be used; the torch path serves instead."""


class KernelBuildFailed(KernelError):
    """No compiler, or it failed, or it took too long."""


class KernelMismatch(KernelError):
    """The kernel's self-test disagrees with the reference."""
