-- One notice for each thing of a kind, such as a type of events. The first text of such a notice is kept.
ALTER TABLE readcast.notices ADD COLUMN subject text NOT NULL DEFAULT '';
ALTER TABLE readcast.notices DROP CONSTRAINT notices_pkey;
ALTER TABLE readcast.notices ADD PRIMARY KEY (projection, generation, kind, subject);
