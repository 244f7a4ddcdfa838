//! A journal of checkpoints, which a trigger writes in the transactions that change them, and the invariants of the
//! journal.

/// Records every claim and every change. Runs with the rights of its owner, whatever role readcast has.
pub(super) const INSTALL: &str = "
    CREATE TABLE public.journal (
        at bigint GENERATED ALWAYS AS IDENTITY, transaction bigint, backend int,
        projection text, generation int, topic text, part int, epoch bigint, from_offset bigint, to_offset bigint);
    CREATE FUNCTION public.journal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        INSERT INTO public.journal
            (transaction, backend, projection, generation, topic, part, epoch, from_offset, to_offset)
        VALUES (txid_current(), pg_backend_pid(), new.projection, new.generation, new.topic, new.partition,
                new.owner_epoch, coalesce(old.next_offset, new.next_offset), new.next_offset);
        RETURN NULL;
    END $$;
    CREATE TRIGGER journal AFTER INSERT OR UPDATE OF next_offset, owner_epoch ON readcast.checkpoints
        FOR EACH ROW EXECUTE FUNCTION public.journal()";

/// Changes that do not continue the previous one of their partition. (`at` is assigned while the checkpoint's row is
/// locked, so its order is that of the commits.)
pub(super) const BROKEN: &str = "
    SELECT * FROM (
        SELECT *, lag(to_offset) OVER w AS stood, lag(epoch) OVER w AS claimed, lag(transaction) OVER w AS earlier
        FROM public.journal WINDOW w AS (PARTITION BY projection, generation, topic, part ORDER BY at)) AS steps
    WHERE to_offset < from_offset
       OR from_offset <> stood
       OR epoch < claimed
       OR (to_offset > from_offset AND epoch IS DISTINCT FROM claimed)
       OR (to_offset = from_offset AND epoch = claimed)
       OR transaction = earlier";

/// Checkpoints whose chain does not begin at the start of their log, or does not end at their position.
pub(super) const LOOSE_ENDS: &str = "
    SELECT * FROM readcast.checkpoints FULL JOIN (
        SELECT DISTINCT projection, generation, topic, part AS partition,
            first_value(from_offset) OVER w AS first, last_value(to_offset) OVER w AS last, last_value(epoch) OVER w AS epoch
        FROM public.journal
        WINDOW w AS (PARTITION BY projection, generation, topic, part ORDER BY at
                     ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) AS chains
    USING (projection, generation, topic, partition)
    WHERE (start_offset, next_offset, owner_epoch) IS DISTINCT FROM (first, last, epoch)";

/// The number of changes of checkpoints.
pub(super) const STEPS: &str = "SELECT count(*) FROM public.journal WHERE to_offset > from_offset";
