-- What stops nothing and an operator must know, for as long as it is so.
CREATE TABLE readcast_notices (
    projection TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    -- What is the matter, and what to type.
    text       TEXT    NOT NULL,
    next       TEXT    NOT NULL,
    -- How many things it is about; 0 where there is nothing to count.
    count      INTEGER NOT NULL DEFAULT 0,
    since      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    seen_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- The instance that saw it last.
    noted_by   TEXT    NOT NULL,
    PRIMARY KEY (projection, generation, kind),
    FOREIGN KEY (projection, generation) REFERENCES readcast_generations ON DELETE CASCADE ON UPDATE CASCADE
) STRICT, WITHOUT ROWID;

-- Why a dead letter could not be copied to its topic although others could, how often that was tried, and when it is
-- tried again.
ALTER TABLE readcast_dead_letters ADD COLUMN copy_error TEXT;
ALTER TABLE readcast_dead_letters ADD COLUMN copy_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE readcast_dead_letters ADD COLUMN copy_after TEXT;

-- The instance that recorded last_error: it alone takes it back, unless it does not run any more.
ALTER TABLE readcast_generations ADD COLUMN last_error_by TEXT;
