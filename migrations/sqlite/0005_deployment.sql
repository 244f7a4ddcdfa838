-- Whose positions these are: one row, once a projector has run. Whoever runs with other settings is told, instead of being
-- led to take the positions for its own.
CREATE TABLE readcast_deployment (
    only_one      INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_one = 1),
    app           TEXT    NOT NULL,
    topic_prefix  TEXT    NOT NULL,
    -- The cluster that the topics are in; NULL where the log has no such id.
    cluster_id    TEXT,
    recorded_at   TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;
