ALTER TABLE readcast.checkpoints
    -- Raised by whoever changes what is parked without owning the partition; every commit is guarded by it.
    ADD COLUMN parking_epoch bigint NOT NULL DEFAULT 0;

ALTER TABLE readcast.generations
    -- How often what keeps it from going on was tried again; NULL when it halted.
    ADD COLUMN last_attempt integer;

-- Records that could not be projected, and those behind them of the same key, which wait for them. Written and deleted in
-- the transaction of the checkpoint or of the rows that they become.
CREATE TABLE readcast.dead_letters (
    projection    text        NOT NULL,
    generation    integer     NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    -- A digest of the key, or '@' and the offset of a record without one: what has it in common waits for each other.
    sequence      text        NOT NULL,
    -- The record, byte for byte: json and text would refuse some.
    record_key    bytea,
    record_value  bytea,
    -- Names and values in turn, each behind its length; see the code that writes them.
    headers       bytea,
    -- In milliseconds since 1970.
    record_time   bigint,
    -- What is wrong with it; NULL when it only waits.
    class         text,
    reason        text,
    attempts      integer     NOT NULL DEFAULT 0,
    parked_at     timestamptz NOT NULL DEFAULT now(),
    -- When it was copied to the dead-letter topic, where there is one.
    copied_at     timestamptz,
    PRIMARY KEY (projection, generation, topic, partition, record_offset),
    FOREIGN KEY (projection, generation, topic, partition) REFERENCES readcast.checkpoints
        ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX dead_letters_sequences
    ON readcast.dead_letters (projection, generation, topic, partition, sequence, record_offset);

-- What operators decided about single records, for every generation to come: without it, a rebuild would come to other
-- rows than they did.
CREATE TABLE readcast.amendments (
    projection    text        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    action        text        NOT NULL CHECK (action IN ('replace', 'accept', 'discard')),
    -- What is projected instead of the record's own value, which stands beside it.
    value         bytea,
    original      bytea,
    made_by       text        NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, topic, partition, record_offset)
);

-- The ids of the last events, a page a commit; see the code that writes them.
CREATE TABLE readcast.ledger (
    projection  text    NOT NULL,
    generation  integer NOT NULL,
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    to_offset   bigint  NOT NULL,
    entries     bytea   NOT NULL,
    PRIMARY KEY (projection, generation, topic, partition, to_offset),
    FOREIGN KEY (projection, generation, topic, partition) REFERENCES readcast.checkpoints
        ON DELETE CASCADE ON UPDATE CASCADE
);

-- For read APIs: rows of these keys are older than the log. Keys may be large: only the first of each is looked at.
CREATE VIEW readcast.quarantine AS
SELECT DISTINCT ON (d.projection, d.topic, d.partition, d.sequence)
       d.projection, d.topic, d.partition, d.record_offset AS first_offset, d.record_key AS key,
       d.parked_at AS since, coalesce(d.class, 'waiting') AS reason,
       count(*) OVER (PARTITION BY d.projection, d.topic, d.partition, d.sequence) - 1 AS records_behind
FROM readcast.dead_letters d
JOIN readcast.generations g ON g.projection = d.projection AND g.generation = d.generation AND g.state = 'live'
ORDER BY d.projection, d.topic, d.partition, d.sequence, d.record_offset;
