-- case: auto cdc
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) APPLY AS DELETE WHEN op = "DELETE" SEQUENCE BY seq COLUMNS * EXCEPT (op, seq) STORED AS SCD TYPE 2;
-- case: apply changes
APPLY CHANGES INTO LIVE.t FROM STREAM(LIVE.s) KEYS (id) SEQUENCE BY seq;
-- case: inline auto cdc
CREATE OR REFRESH STREAMING TABLE t FLOW AUTO CDC FROM STREAM s KEYS (id) SEQUENCE BY seq;
-- case: a schedule
CREATE MATERIALIZED VIEW m SCHEDULE EVERY 1 HOUR AS SELECT 1 AS a;
-- case: a cron schedule
CREATE MATERIALIZED VIEW m SCHEDULE CRON '0 0 * * * ?' AT TIME ZONE 'UTC' COMMENT 'c' AS SELECT 1 AS a;
-- case: trigger on update
CREATE MATERIALIZED VIEW m TRIGGER ON UPDATE AT MOST EVERY INTERVAL 5 MINUTES AS SELECT 1 AS a;
-- case: a row filter
CREATE STREAMING TABLE t (id INT) WITH ROW FILTER only_mine ON (id) AS SELECT id FROM STREAM raw;
-- case: a mask
CREATE STREAMING TABLE t (ssn STRING MASK hide, id INT) AS SELECT ssn, id FROM STREAM raw;
-- case: replace where
CREATE STREAMING TABLE t FLOW REPLACE WHERE day = '2024-01-01' BY NAME SELECT * FROM raw;
-- case: replace using
CREATE FLOW f AS INSERT INTO t BY NAME REPLACE USING (id) SEQUENCE BY seq SELECT * FROM STREAM raw;
-- case: a location
CREATE STREAMING TABLE t LOCATION 's3://bucket/t' AS SELECT * FROM STREAM raw;
-- case: a refresh policy
CREATE MATERIALIZED VIEW m REFRESH POLICY INCREMENTAL STRICT AS SELECT 1 AS a;
-- case: cluster by auto
CREATE STREAMING TABLE t CLUSTER BY AUTO AS SELECT * FROM STREAM raw;
-- case: generated columns and identity
CREATE STREAMING TABLE t (id BIGINT GENERATED ALWAYS AS IDENTITY, day DATE GENERATED ALWAYS AS (CAST(at AS DATE)), at TIMESTAMP) AS SELECT at FROM STREAM raw;
-- case: a primary key
CREATE STREAMING TABLE t (id BIGINT, PRIMARY KEY (id)) AS SELECT id FROM STREAM raw;
-- case: kafka
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_kafka(bootstrapServers => 'k:9092', subscribe => 'topic');
-- case: the changes clause
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s CHANGES;
-- case: identified by
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s IDENTIFIED BY one;
-- case: another command
DROP TABLE t;
-- case: a misspelt statement
CRAETE STREAMING TABLE t AS SELECT * FROM STREAM raw;
-- case: a misspelt clause
CREATE STREAMING TABLE t COMENT 'x' AS SELECT * FROM STREAM raw;
-- case: a plain table
CREATE TABLE t AS SELECT 1 AS a;
-- case: a sink
CREATE SINK s;
-- case: no query
CREATE MATERIALIZED VIEW m COMMENT 'nothing';
-- case: a misspelt option
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', fromat => 'json');
-- case: an option that isn't executed
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'json', rescuedDataColumn => '_rescued_data');
-- case: two wrong options at once
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'jsn', header => 'maybe');
-- case: a format that isn't read
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'parquet');
-- case: no format
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x');
-- case: a bad schema
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'json', schema => 'id BIGINT,, b');
-- case: an unknown parameter
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE a = :limt;
-- case: an unknown substitution
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('${landnig}/x', format => 'json');
-- case: an open string
CREATE VIEW v AS SELECT 'open FROM t;
-- case: a bracket too few
CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a > 0 AS SELECT * FROM STREAM raw;
-- case: a watermark without a delay
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK at;
-- case: pivot
CREATE MATERIALIZED VIEW m AS SELECT * FROM t PIVOT (sum(a) FOR b IN ('x', 'y'));
-- case: an unknown table function
CREATE MATERIALIZED VIEW m AS SELECT * FROM range(10);
-- case: by name is missing
CREATE FLOW f AS INSERT INTO t SELECT * FROM STREAM raw;
-- case: something after the end
CREATE VIEW v AS SELECT 1 AS a 2;
