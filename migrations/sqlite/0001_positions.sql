-- One row for each physical build of a projection's tables.
CREATE TABLE readcast_generations (
    projection      TEXT    NOT NULL,
    generation      INTEGER NOT NULL,
    definition_hash TEXT    NOT NULL,
    -- The tables as they were declared, in JSON, to tell later what changed.
    definition      TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    state           TEXT    NOT NULL
        CHECK (state IN ('building', 'ready', 'live', 'standby', 'retired', 'failed')),
    created_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    activated_at    TEXT,
    last_error      TEXT,
    last_error_at   TEXT,
    PRIMARY KEY (projection, generation)
) STRICT;

-- Readers see one generation of a projection: two live ones cannot be recorded.
CREATE UNIQUE INDEX readcast_generations_one_live ON readcast_generations (projection) WHERE state = 'live';

-- How far each generation is in each partition, and which owner may move it.
CREATE TABLE readcast_checkpoints (
    projection   TEXT    NOT NULL,
    generation   INTEGER NOT NULL,
    topic        TEXT    NOT NULL,
    partition    INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL CHECK (next_offset >= 0),
    owner_epoch  INTEGER NOT NULL,
    leader_epoch INTEGER,
    topic_id     TEXT,
    -- Set by the database and only ever displayed.
    updated_at   TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (projection, generation, topic, partition),
    FOREIGN KEY (projection, generation) REFERENCES readcast_generations ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
