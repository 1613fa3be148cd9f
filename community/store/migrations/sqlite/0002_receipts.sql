-- +goose Up
-- Where a message stands in the live topic of its conversation, so that a receipt for a position there can be told
-- in messages. An empty epoch: not published yet, or said before this was kept.
ALTER TABLE messages ADD COLUMN topic_epoch TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN topic_seq BIGINT NOT NULL DEFAULT 0;
-- The message that an event tells of for the first time; 0 when it tells of something else.
ALTER TABLE outbox ADD COLUMN conversation_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE outbox DROP COLUMN seq;
ALTER TABLE outbox DROP COLUMN conversation_id;
ALTER TABLE messages DROP COLUMN topic_seq;
ALTER TABLE messages DROP COLUMN topic_epoch;
