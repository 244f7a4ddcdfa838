-- One notice for each thing of a kind, such as a type of events. The first text of such a notice is kept.
CREATE TABLE readcast_notices_by_subject (
    projection TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    -- What the notice is about; empty where a kind has one notice.
    subject    TEXT    NOT NULL DEFAULT '',
    -- What is the matter, and what to type.
    text       TEXT    NOT NULL,
    next       TEXT    NOT NULL,
    -- How many things it is about; 0 where there is nothing to count.
    count      INTEGER NOT NULL DEFAULT 0,
    since      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    seen_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- The instance that saw it last.
    noted_by   TEXT    NOT NULL,
    PRIMARY KEY (projection, generation, kind, subject),
    FOREIGN KEY (projection, generation) REFERENCES readcast_generations ON DELETE CASCADE ON UPDATE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO readcast_notices_by_subject (projection, generation, kind, text, next, count, since, seen_at, noted_by)
SELECT projection, generation, kind, text, next, count, since, seen_at, noted_by FROM readcast_notices;
DROP TABLE readcast_notices;
ALTER TABLE readcast_notices_by_subject RENAME TO readcast_notices;
