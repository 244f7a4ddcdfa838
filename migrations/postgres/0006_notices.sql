-- What stops nothing and an operator must know, for as long as it is so.
CREATE TABLE readcast.notices (
    projection text        NOT NULL,
    generation integer     NOT NULL,
    kind       text        NOT NULL,
    -- What is the matter, and what to type.
    text       text        NOT NULL,
    next       text        NOT NULL,
    -- How many things it is about; 0 where there is nothing to count.
    count      bigint      NOT NULL DEFAULT 0,
    since      timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    -- The instance that saw it last.
    noted_by   text        NOT NULL,
    PRIMARY KEY (projection, generation, kind),
    FOREIGN KEY (projection, generation) REFERENCES readcast.generations ON DELETE CASCADE ON UPDATE CASCADE
);

-- Why a dead letter could not be copied to its topic although others could, how often that was tried, and when it is
-- tried again.
ALTER TABLE readcast.dead_letters
    ADD COLUMN copy_error    text,
    ADD COLUMN copy_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN copy_after    timestamptz;

ALTER TABLE readcast.generations
    -- The instance that recorded last_error: it alone takes it back, unless it does not run any more.
    ADD COLUMN last_error_by text;
