"""Conversations: tree, templates, storage, snapshots, sessions. Knows neither torch nor a terminal."""
