-- Where the physical read tables live. Created here, behind the migrations' lock: IF NOT EXISTS is no help to two
-- projections that create their first tables at the same moment.
CREATE SCHEMA readcast_tables;

-- One row for each physical build of a projection's tables.
CREATE TABLE readcast.generations (
    projection      text        NOT NULL,
    generation      integer     NOT NULL,
    definition_hash text        NOT NULL,
    -- The tables as they were declared, to tell later what changed.
    definition      jsonb       NOT NULL,
    version         integer     NOT NULL,
    state           text        NOT NULL
        CHECK (state IN ('building', 'ready', 'live', 'standby', 'retired', 'failed')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    activated_at    timestamptz,
    last_error      text,
    last_error_at   timestamptz,
    PRIMARY KEY (projection, generation)
);

-- Readers see one generation of a projection: two live ones cannot be recorded.
CREATE UNIQUE INDEX generations_one_live ON readcast.generations (projection) WHERE state = 'live';

-- How far each generation is in each partition, and which owner may move it.
CREATE TABLE readcast.checkpoints (
    projection   text        NOT NULL,
    generation   integer     NOT NULL,
    topic        text        NOT NULL,
    partition    integer     NOT NULL,
    next_offset  bigint      NOT NULL CHECK (next_offset >= 0),
    owner_epoch  bigint      NOT NULL,
    leader_epoch integer,
    topic_id     text,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, topic, partition),
    FOREIGN KEY (projection, generation) REFERENCES readcast.generations ON DELETE CASCADE
);
