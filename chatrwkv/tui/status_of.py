"""What the status lines say, gathered from the session, the engine and the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.text import sanitise_name
from chatrwkv.tui.widgets.status import Status

if TYPE_CHECKING:
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.tui.app import ChatApp

_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def status_of(app: ChatApp, session: ChatSession | None) -> Status:
    """One look at everything."""
    model = app.workspace.model if app.has_workspace else None
    work, done, total = _work(app, session)
    return Status(
        chat=sanitise_name(session.title) or "new chat" if session else "",
        model=sanitise_name(model.name) if model else "",
        precision=_PRECISIONS.get(model.dtype, model.dtype) if model else "",
        device=model.device if model else "",
        speed=_speed(session),
        is_alive=bool(session and session.replies),
        work=work,
        done=done,
        total=total,
        n_tokens=session.n_tokens() + _fresh_tokens(session) if session else 0,
        n_context=model.n_context if model else 0,
        state_bytes=model.state_bytes if model else 0,
        template=_template(session),
        problem=app.model_problem if model is None else "",
        is_unsaved=session is not None and session.only_in_memory is not None,
    )


def _work(app: ChatApp, session: ChatSession | None) -> tuple[str, int, int]:
    if app.model_load is not None:
        return f"loading {sanitise_name(app.model_load.name)}", app.model_load.done, app.model_load.total
    if app.side_task is not None:
        task = app.side_task
        words = task.what if task.what.startswith(task.name) else task.name  # `tuning: loss 1.234 …`
        return words, task.done, task.total
    for reply in session.replies if session else ():
        done, total = reply.view.prefill
        if done < total:
            return "reading", done, total
    return "", 0, 0


def _speed(session: ChatSession | None) -> float:
    """Of the replies being written, together; else of the last one on the path."""
    if session is None:
        return 0.0
    if session.replies:
        return sum(reply.view.tok_s for reply in session.replies)
    for node in reversed(session.path()):
        if node.meta is not None and node.meta.stats is not None:
            return node.meta.stats.decode_tok_s
    return 0.0


def _fresh_tokens(session: ChatSession) -> int:
    on_path = {node.id for node in session.path()}
    return sum(reply.view.n_tokens for reply in session.replies if reply.node_id in on_path)


def _template(session: ChatSession | None) -> str:
    if session is None:
        return ""
    template = session.template
    mode = session.thinking if len(template.thinking) > 1 else ""
    return " · ".join(
        part for part in (sanitise_name(template.title), f"think {mode}" if mode else "") if part
    )
