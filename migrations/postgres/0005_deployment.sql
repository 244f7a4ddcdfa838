-- Whose positions these are: one row, once a projector has run. Whoever runs with other settings is told, instead of being
-- led to take the positions for its own.
CREATE TABLE readcast.deployment (
    only_one      boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    app           text        NOT NULL,
    -- Where readers find the stable names.
    schema        text,
    topic_prefix  text        NOT NULL,
    -- The cluster that the topics are in; NULL where the log has no such id.
    cluster_id    text,
    recorded_at   timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE readcast.instances
    ADD COLUMN app             text,
    ADD COLUMN host            text,
    -- The process on that host: several projections of one process share its connections.
    ADD COLUMN process         bigint,
    ADD COLUMN max_connections integer;
