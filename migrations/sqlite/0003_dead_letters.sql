-- Raised by whoever changes what is parked without owning the partition; every commit is guarded by it.
ALTER TABLE readcast_checkpoints ADD COLUMN parking_epoch INTEGER NOT NULL DEFAULT 0;

-- How often what keeps it from going on was tried again; NULL when it halted.
ALTER TABLE readcast_generations ADD COLUMN last_attempt INTEGER;

-- Records that could not be projected, and those behind them of the same key, which wait for them. Written and deleted in
-- the transaction of the checkpoint or of the rows that they become. Rows may be large, so they have row ids:
-- without, they would stand in the tree that is searched.
CREATE TABLE readcast_dead_letters (
    projection    TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    topic         TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    -- A digest of the key, or '@' and the offset of a record without one: what has it in common waits for each other.
    sequence      TEXT    NOT NULL,
    -- The record, byte for byte.
    record_key    BLOB,
    record_value  BLOB,
    -- Names and values in turn, each behind its length; see the code that writes them.
    headers       BLOB,
    -- In milliseconds since 1970.
    record_time   INTEGER,
    -- What is wrong with it; NULL when it only waits.
    class         TEXT,
    reason        TEXT,
    attempts      INTEGER NOT NULL DEFAULT 0,
    parked_at     TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- When it was copied to the dead-letter topic, where there is one.
    copied_at     TEXT,
    PRIMARY KEY (projection, generation, topic, partition, record_offset),
    FOREIGN KEY (projection, generation, topic, partition) REFERENCES readcast_checkpoints
        ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;

-- With the time, so that they are counted without a look at the rows.
CREATE INDEX readcast_dead_letters_sequences
    ON readcast_dead_letters (projection, generation, topic, partition, sequence, record_offset, parked_at);

-- What operators decided about single records, for every generation to come: without it, a rebuild would come to other
-- rows than they did.
CREATE TABLE readcast_amendments (
    projection    TEXT    NOT NULL,
    topic         TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    action        TEXT    NOT NULL CHECK (action IN ('replace', 'accept', 'discard')),
    -- What is projected instead of the record's own value, which stands beside it.
    value         BLOB,
    original      BLOB,
    made_by       TEXT    NOT NULL,
    made_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (projection, topic, partition, record_offset)
) STRICT;

-- The ids of the last events, a page a commit; see the code that writes them.
CREATE TABLE readcast_ledger (
    projection  TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    to_offset   INTEGER NOT NULL,
    entries     BLOB    NOT NULL,
    PRIMARY KEY (projection, generation, topic, partition, to_offset),
    FOREIGN KEY (projection, generation, topic, partition) REFERENCES readcast_checkpoints
        ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;

-- For read APIs: rows of these keys are older than the log. Beside one min(), SQLite takes the other columns from the row
-- where that is found: the first of its sequence.
CREATE VIEW readcast_quarantine AS
SELECT d.projection, d.topic, d.partition, min(d.record_offset) AS first_offset, d.record_key AS key,
       d.parked_at AS since, coalesce(d.class, 'waiting') AS reason, count(*) - 1 AS records_behind
FROM readcast_generations AS g
JOIN readcast_dead_letters AS d ON d.projection = g.projection AND d.generation = g.generation
WHERE g.state = 'live'
GROUP BY d.projection, d.generation, d.topic, d.partition, d.sequence;
