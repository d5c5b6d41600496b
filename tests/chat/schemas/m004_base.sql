CREATE TABLE migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL);
CREATE TABLE chats (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL DEFAULT '',
        template TEXT NOT NULL DEFAULT '',      -- empty follows the model's family
        thinking TEXT NOT NULL DEFAULT '',
        params TEXT,                            -- JSON; NULL is the template's defaults
        head TEXT,
        revision INTEGER NOT NULL DEFAULT 0,    -- rises with every change of the tree: stale views notice
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL                            -- when; NULL is not deleted
    );
CREATE TABLE nodes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of making, so of siblings; clocks may jump
        id TEXT NOT NULL UNIQUE,
        chat TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        parent TEXT REFERENCES nodes(id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        text TEXT NOT NULL,
        status TEXT NOT NULL,
        meta TEXT,                              -- JSON of ReplyMeta
        name TEXT NOT NULL DEFAULT '',
        shown TEXT,                             -- the child shown most recently
        hidden INTEGER NOT NULL DEFAULT 0,      -- 1 is deleted or undone, kept for undo
        created REAL NOT NULL
    , base TEXT NOT NULL DEFAULT '');
CREATE INDEX nodes_of_chat ON nodes(chat, hidden, seq);
CREATE INDEX nodes_of_parent ON nodes(parent);
CREATE UNIQUE INDEX one_root ON nodes(chat) WHERE parent IS NULL;
CREATE TABLE node_tokens (
        node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE,
        dialect TEXT NOT NULL,                  -- tokenizer and hash of the rendered text
        ids BLOB NOT NULL,                      -- u32 little endian
        PRIMARY KEY (node, dialect)
    ) WITHOUT ROWID;
CREATE TABLE snapshots (
        key TEXT PRIMARY KEY,                   -- of fingerprint and chain
        fingerprint TEXT NOT NULL,
        chain TEXT NOT NULL,
        n_tokens INTEGER NOT NULL,
        n_bytes INTEGER NOT NULL,
        place TEXT NOT NULL,                    -- file name in the states folder
        created REAL NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE node_snapshot (
        node TEXT NOT NULL REFERENCES nodes(id) ON DELETE CASCADE,
        key TEXT NOT NULL REFERENCES snapshots(key) ON DELETE CASCADE,
        PRIMARY KEY (node, key)
    ) WITHOUT ROWID;
CREATE INDEX nodes_of_snapshot ON node_snapshot(key);
CREATE TABLE op_log (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        chat TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        scope TEXT NOT NULL,                    -- 'chat': undone inside the chat; 'list': in the list of chats
        label TEXT NOT NULL,
        forward TEXT NOT NULL,                  -- JSON list of changes
        inverse TEXT NOT NULL,
        undone INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL
    );
CREATE INDEX ops_of_chat ON op_log(chat, scope, id);
CREATE TABLE drafts (
        chat TEXT PRIMARY KEY REFERENCES chats(id) ON DELETE CASCADE,
        text TEXT NOT NULL,
        updated REAL NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE node_text USING fts5(text, content='nodes', content_rowid='seq', tokenize='trigram', detail=none);
CREATE TABLE node_records (
            node TEXT PRIMARY KEY REFERENCES nodes(id) ON DELETE CASCADE,
            tokenizer TEXT NOT NULL,
            text TEXT NOT NULL,                 -- what the rows cover: an edit makes only the rest stale
            row_bytes INTEGER NOT NULL,
            rows BLOB NOT NULL                  -- see engine/record.py
        );
INSERT INTO migrations VALUES ('m001_chats', 0.0);
INSERT INTO migrations VALUES ('m002_search', 0.0);
INSERT INTO migrations VALUES ('m003_token_records', 0.0);
INSERT INTO migrations VALUES ('m004_base', 0.0);
INSERT INTO chats VALUES ('chat', '三体问答', 'g1-chat', 'off', NULL, 'reply', 2, 1.0, 2.0, NULL);
INSERT INTO nodes VALUES (1, 'root', 'chat', NULL, 'system', '', 'complete', NULL, '', NULL, 0, 1.0, '');
INSERT INTO nodes VALUES (2, 'user', 'chat', 'root', 'user', '三体是什么?', 'complete', NULL, 'a name', 'reply', 0, 1.0, '');
INSERT INTO nodes VALUES (3, 'reply', 'chat', 'user', 'assistant', ' A novel.', 'complete', '{"model":"m","fingerprint":"f","template":"g1-chat","thinking":"off","params":{"temperature":1.0},"seed":7,"reason":"end","stats":null,"n_drawn":2}', '', NULL, 0, 1.0, '');
INSERT INTO nodes VALUES (4, 'gone', 'chat', 'user', 'assistant', ' Gone.', 'stopped', NULL, '', NULL, 1, 1.0, '');
INSERT INTO node_tokens VALUES ('reply', 'tok:1', X'0100000002000000');
INSERT INTO snapshots VALUES ('k', 'f', 'c', 2, 100, 'k.rwkvstate', 1.0);
INSERT INTO node_snapshot VALUES ('reply', 'k');
INSERT INTO op_log VALUES (1, 'chat', 'chat', 'delete branch', '[{"do":"hide","ids":["gone"]}]', '[{"do":"show","ids":["gone"]}]', 0, 1.0);
INSERT INTO drafts VALUES ('chat', 'half', 1.0);
INSERT INTO settings VALUES ('prompt_history', '["三体是什么?"]');
INSERT INTO node_text(node_text) VALUES ('rebuild');
CREATE TRIGGER node_text_added AFTER INSERT ON nodes BEGIN INSERT INTO node_text(rowid, text) VALUES (new.seq, new.text); END;
CREATE TRIGGER node_text_gone AFTER DELETE ON nodes BEGIN INSERT INTO node_text(node_text, rowid, text) VALUES ('delete', old.seq, old.text); END;
CREATE TRIGGER node_text_changed AFTER UPDATE OF text ON nodes BEGIN INSERT INTO node_text(node_text, rowid, text) VALUES ('delete', old.seq, old.text); INSERT INTO node_text(rowid, text) VALUES (new.seq, new.text); END;
