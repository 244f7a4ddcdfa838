-- The life of a generation beyond its first.
ALTER TABLE readcast.generations
    -- What is done with it while it is building: replay, index, catch_up, compare.
    ADD COLUMN phase         text CHECK (phase IN ('replay', 'index', 'catch_up', 'compare')),
    -- Built to compare the live one with, and never activated.
    ADD COLUMN scratch       boolean NOT NULL DEFAULT false,
    -- Began as a copy of the live rows and replays a part of the log over them: only changes that may be repeated.
    ADD COLUMN repeats       boolean NOT NULL DEFAULT false,
    ADD COLUMN paused_at     timestamptz,
    -- A standby is fed until then.
    ADD COLUMN standby_until timestamptz,
    -- How it compared with the live generation of its time.
    ADD COLUMN proof         jsonb,
    -- When its tables were dropped: this row is the history that is left.
    ADD COLUMN dropped_at    timestamptz;

ALTER TABLE readcast.checkpoints
    -- The first offset that was there when the generation began.
    ADD COLUMN start_offset  bigint,
    -- No commit moves next_offset beyond this one. A hold ends by itself, so that a dead holder holds up nobody.
    ADD COLUMN hold_at       bigint,
    ADD COLUMN hold_until    timestamptz;

-- A projection that gets another name takes its checkpoints along.
ALTER TABLE readcast.checkpoints
    DROP CONSTRAINT checkpoints_projection_generation_fkey,
    ADD FOREIGN KEY (projection, generation) REFERENCES readcast.generations ON DELETE CASCADE ON UPDATE CASCADE;

-- What operators asked for, and what became of it: the audit log, and the way in which commands reach an instance.
CREATE TABLE readcast.operations (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    projection   text        NOT NULL,
    command      jsonb       NOT NULL,
    requested_by text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    state        text        NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'running', 'done', 'refused', 'cancelled')),
    -- The generation that it builds or compares.
    generation   integer,
    progress     jsonb,
    outcome      text,
    finished_at  timestamptz
);

CREATE INDEX operations_open ON readcast.operations (projection, id) WHERE finished_at IS NULL;

-- Which definitions the running instances have, so that it shows when nobody can feed a generation, and since when.
CREATE TABLE readcast.instances (
    instance        text        NOT NULL,
    projection      text        NOT NULL,
    definition_hash text        NOT NULL,
    running         boolean     NOT NULL,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (instance, projection, definition_hash)
);
