-- Every commit updates checkpoints, and may write a page of the ledger. What it does must not take longer with each version
-- that an open transaction of somebody else keeps from being removed.

-- A page that is inserted would look its checkpoint up by the index, which leads to all dead versions of it. The guard of the
-- commit has just found that row; who deletes or renames checkpoints does so with their pages.
ALTER TABLE readcast.ledger DROP CONSTRAINT ledger_projection_generation_topic_partition_fkey;

-- Room on each page for the next version of a row beside it, which then needs no entry in the index.
ALTER TABLE readcast.checkpoints SET (fillfactor = 50);
