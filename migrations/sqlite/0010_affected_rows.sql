-- The rows that a parked record would have changed, as far as its projection names them: a list of table and key.
ALTER TABLE readcast_dead_letters ADD COLUMN affected TEXT;

-- For read APIs: rows of these keys are older than the log, and so are the rows that the records behind them would have
-- changed. Beside one min(), SQLite takes the other columns from the row where that is found: the first of its sequence.
DROP VIEW readcast_quarantine;
CREATE VIEW readcast_quarantine AS
SELECT q.projection, q.topic, q.partition, q.first_offset, q.key, q.since, q.reason, q.records_behind,
       named.table_name, named.row_key
FROM (
    SELECT d.projection, d.generation, d.topic, d.partition, d.sequence, min(d.record_offset) AS first_offset,
           d.record_key AS key, d.parked_at AS since, coalesce(d.class, 'waiting') AS reason,
           count(*) - 1 AS records_behind
    FROM readcast_generations AS g
    JOIN readcast_dead_letters AS d ON d.projection = g.projection AND d.generation = g.generation
    WHERE g.state = 'live'
    GROUP BY d.projection, d.generation, d.topic, d.partition, d.sequence) AS q
LEFT JOIN (
    SELECT DISTINCT l.projection, l.generation, l.topic, l.partition, l.sequence,
           e.value ->> 'table' AS table_name, e.value ->> 'key' AS row_key
    FROM readcast_dead_letters AS l, json_each(l.affected) AS e) AS named
    ON named.projection = q.projection AND named.generation = q.generation AND named.topic = q.topic
    AND named.partition = q.partition AND named.sequence = q.sequence;
