-- The rows that a parked record would have changed, as far as its projection names them: a list of table and key.
ALTER TABLE readcast.dead_letters ADD COLUMN affected jsonb;

-- For read APIs: rows of these keys are older than the log, and so are the rows that the records behind them would have
-- changed. Keys may be large: only the first of each is looked at.
CREATE OR REPLACE VIEW readcast.quarantine AS
SELECT q.projection, q.topic, q.partition, q.first_offset, q.key, q.since, q.reason, q.records_behind,
       named.table_name, named.row_key
FROM (
    SELECT DISTINCT ON (d.projection, d.topic, d.partition, d.sequence)
           d.projection, d.generation, d.topic, d.partition, d.sequence, d.record_offset AS first_offset,
           d.record_key AS key, d.parked_at AS since, coalesce(d.class, 'waiting') AS reason,
           count(*) OVER (PARTITION BY d.projection, d.topic, d.partition, d.sequence) - 1 AS records_behind
    FROM readcast.dead_letters d
    JOIN readcast.generations g ON g.projection = d.projection AND g.generation = d.generation AND g.state = 'live'
    ORDER BY d.projection, d.topic, d.partition, d.sequence, d.record_offset) q
LEFT JOIN LATERAL (
    SELECT DISTINCT e.value ->> 'table' AS table_name, e.value ->> 'key' AS row_key
    FROM readcast.dead_letters l CROSS JOIN LATERAL jsonb_array_elements(l.affected) AS e(value)
    WHERE l.projection = q.projection AND l.generation = q.generation AND l.topic = q.topic
      AND l.partition = q.partition AND l.sequence = q.sequence) named ON true;
