-- +goose Up
-- Times are Unix milliseconds (UTC). Ids are internal; people and pages see handle, slug and public_id.
CREATE TABLE users (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    handle        TEXT    NOT NULL UNIQUE,
    display_name  TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL DEFAULT 'member' CHECK (role IN ('member', 'moderator', 'admin')),
    language      TEXT    NOT NULL DEFAULT '',
    theme         TEXT    NOT NULL DEFAULT '',
    bio           TEXT    NOT NULL DEFAULT '',
    created_at    BIGINT  NOT NULL,
    seen_at       BIGINT  NOT NULL DEFAULT 0,
    banned_at     BIGINT
);

-- Only the SHA-256 of a session token is kept: a stolen database opens no session.
CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    token_hash TEXT   NOT NULL UNIQUE,
    user_id    BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address    TEXT   NOT NULL DEFAULT '',
    agent      TEXT   NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE categories (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    slug       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    name_zh    TEXT    NOT NULL DEFAULT '',
    about      TEXT    NOT NULL DEFAULT '',
    about_zh   TEXT    NOT NULL DEFAULT '',
    hue        INTEGER NOT NULL DEFAULT 0,
    position   INTEGER NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL
);

-- A forum post and a chat room are both a conversation. The text of a post is its message 1.
CREATE TABLE conversations (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id       TEXT   NOT NULL UNIQUE,
    kind            TEXT   NOT NULL CHECK (kind IN ('post', 'room', 'group', 'direct')),
    category_id     BIGINT REFERENCES categories (id),
    creator_id      BIGINT NOT NULL REFERENCES users (id),
    client_key      TEXT,
    pair            TEXT   UNIQUE,
    title           TEXT   NOT NULL DEFAULT '',
    about           TEXT   NOT NULL DEFAULT '',
    last_seq        BIGINT NOT NULL DEFAULT 0,
    last_change_seq BIGINT NOT NULL DEFAULT 0,
    last_message_at BIGINT NOT NULL DEFAULT 0,
    last_sender_id  BIGINT REFERENCES users (id),
    member_count    BIGINT NOT NULL DEFAULT 0,
    receipts_mode   TEXT   NOT NULL DEFAULT 'who' CHECK (receipts_mode IN ('who', 'count', 'none')),
    pinned          BOOLEAN NOT NULL DEFAULT FALSE,
    created_at      BIGINT NOT NULL,
    deleted_at      BIGINT,
    UNIQUE (creator_id, client_key)
);
CREATE INDEX conversations_kind ON conversations (kind, last_message_at DESC);
CREATE INDEX conversations_category ON conversations (category_id, last_message_at DESC);
CREATE INDEX conversations_creator ON conversations (creator_id, created_at DESC);

CREATE TABLE messages (
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    seq             BIGINT NOT NULL,
    public_id       TEXT   NOT NULL UNIQUE,
    sender_id       BIGINT NOT NULL REFERENCES users (id),
    client_key      TEXT   NOT NULL,
    body            TEXT   NOT NULL,
    reply_to_seq    BIGINT,
    created_at      BIGINT NOT NULL,
    edited_at       BIGINT,
    deleted_at      BIGINT,
    PRIMARY KEY (conversation_id, seq),
    UNIQUE (conversation_id, sender_id, client_key)
);
CREATE INDEX messages_sender ON messages (sender_id, created_at DESC);

CREATE TABLE members (
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    user_id         BIGINT NOT NULL REFERENCES users (id),
    role            TEXT   NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member', 'reader')),
    joined_seq      BIGINT NOT NULL DEFAULT 1,
    left_seq        BIGINT,
    delivered_seq   BIGINT NOT NULL DEFAULT 0,
    read_seq        BIGINT NOT NULL DEFAULT 0,
    notify          TEXT   NOT NULL DEFAULT 'all' CHECK (notify IN ('all', 'mentions', 'none')),
    muted_until     BIGINT,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE changes (
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    change_seq      BIGINT NOT NULL,
    seq             BIGINT NOT NULL,
    op              TEXT   NOT NULL CHECK (op IN ('edit', 'delete')),
    actor_id        BIGINT NOT NULL REFERENCES users (id),
    at              BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, change_seq)
);

CREATE TABLE notifications (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id         BIGINT NOT NULL REFERENCES users (id),
    kind            TEXT   NOT NULL CHECK (kind IN ('mention', 'reply', 'comment', 'direct', 'invite')),
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    seq             BIGINT NOT NULL,
    actor_id        BIGINT NOT NULL REFERENCES users (id),
    count           BIGINT NOT NULL DEFAULT 1,
    created_at      BIGINT NOT NULL,
    read_at         BIGINT
);
CREATE INDEX notifications_user ON notifications (user_id, id DESC);
CREATE INDEX notifications_unread ON notifications (user_id, conversation_id) WHERE read_at IS NULL;

CREATE TABLE audit_log (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    actor_id BIGINT REFERENCES users (id),
    action   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    detail   TEXT   NOT NULL DEFAULT '',
    at       BIGINT NOT NULL
);

-- What was committed and is still to be said live. Ids never repeat, so they are keys for an idempotent publish.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic      TEXT   NOT NULL DEFAULT '',
    to_user    TEXT   NOT NULL DEFAULT '',
    type       TEXT   NOT NULL,
    from_user  TEXT   NOT NULL DEFAULT '',
    payload    TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE outbox;
DROP TABLE audit_log;
DROP TABLE notifications;
DROP TABLE changes;
DROP TABLE members;
DROP TABLE messages;
DROP TABLE conversations;
DROP TABLE categories;
DROP TABLE sessions;
DROP TABLE users;
