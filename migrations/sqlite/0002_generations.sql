-- The life of a generation beyond its first.

-- What is done with it while it is building.
ALTER TABLE readcast_generations ADD COLUMN phase TEXT
    CHECK (phase IN ('replay', 'index', 'catch_up', 'compare'));
-- Built to compare the live one with, and never activated.
ALTER TABLE readcast_generations ADD COLUMN scratch INTEGER NOT NULL DEFAULT 0;
-- Began as a copy of the live rows and replays a part of the log over them: only changes that may be repeated.
ALTER TABLE readcast_generations ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE readcast_generations ADD COLUMN paused_at TEXT;
-- A standby is fed until then.
ALTER TABLE readcast_generations ADD COLUMN standby_until TEXT;
-- How it compared with the live generation of its time, in JSON.
ALTER TABLE readcast_generations ADD COLUMN proof TEXT;
-- When its tables were dropped: this row is the history that is left.
ALTER TABLE readcast_generations ADD COLUMN dropped_at TEXT;

-- The first offset that was there when the generation began.
ALTER TABLE readcast_checkpoints ADD COLUMN start_offset INTEGER;
-- No commit moves next_offset beyond this one. A hold ends by itself, so that a dead holder holds up nobody.
ALTER TABLE readcast_checkpoints ADD COLUMN hold_at INTEGER;
ALTER TABLE readcast_checkpoints ADD COLUMN hold_until TEXT;

-- What operators asked for, and what became of it: the audit log, and the way in which commands reach the process.
CREATE TABLE readcast_operations (
    id           INTEGER PRIMARY KEY,
    projection   TEXT    NOT NULL,
    command      TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    requested_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    state        TEXT    NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'running', 'done', 'refused', 'cancelled')),
    -- The generation that it builds or compares.
    generation   INTEGER,
    progress     TEXT,
    outcome      TEXT,
    finished_at  TEXT
) STRICT;

CREATE INDEX readcast_operations_open ON readcast_operations (projection, id) WHERE finished_at IS NULL;

-- Which definitions the running process has, so that it shows when nobody can feed a generation, and since when.
CREATE TABLE readcast_instances (
    instance        TEXT    NOT NULL,
    projection      TEXT    NOT NULL,
    definition_hash TEXT    NOT NULL,
    running         INTEGER NOT NULL,
    seen_at         TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (instance, projection, definition_hash)
) STRICT, WITHOUT ROWID;
