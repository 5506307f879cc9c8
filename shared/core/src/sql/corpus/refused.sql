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
-- case: an expectation that reads a table
CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (id IN (SELECT id FROM other))) AS SELECT * FROM STREAM raw;
-- case: a lateral view
CREATE MATERIALIZED VIEW m AS SELECT o.id, item FROM orders o LATERAL VIEW explode(o.items) i AS item;
-- case: an outer lateral view
CREATE MATERIALIZED VIEW m AS SELECT id, pos, item FROM orders LATERAL VIEW OUTER posexplode(items) i AS pos, item;
-- case: posexplode
CREATE MATERIALIZED VIEW m AS SELECT id, posexplode(items) FROM orders;
-- case: sort by
CREATE MATERIALIZED VIEW m AS SELECT * FROM t SORT BY a;
-- case: cluster by in a query
CREATE MATERIALIZED VIEW m AS SELECT * FROM t CLUSTER BY a;
-- case: distribute by
CREATE MATERIALIZED VIEW m AS SELECT * FROM t DISTRIBUTE BY a;
-- case: a sample
CREATE MATERIALIZED VIEW m AS SELECT * FROM t TABLESAMPLE (10 PERCENT);
-- case: session windows
CREATE MATERIALIZED VIEW m AS SELECT session_window(at, '5 minutes') AS w, count(*) AS n FROM t GROUP BY session_window(at, '5 minutes');
-- case: unpivot
CREATE MATERIALIZED VIEW m AS SELECT * FROM t UNPIVOT (v FOR k IN (a, b));
-- case: an insert in a query
CREATE MATERIALIZED VIEW m AS WITH a AS (SELECT 1 AS x) INSERT INTO t SELECT * FROM a;
-- case: several findings of one query
CREATE MATERIALIZED VIEW m AS SELECT inline(a), stack(2, 1, 2) FROM range(3) SORT BY a;
-- case: a lambda of two parameters
CREATE MATERIALIZED VIEW m AS SELECT transform(items, (x, i) -> x + i) FROM t;
-- case: a function of lambdas that isn't known
CREATE MATERIALIZED VIEW m AS SELECT aggregate(items, 0, (acc, x) -> acc + x) FROM t;
-- case: a raw string with its own quote
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE a = r'it\'s';
-- case: a name of Headwater's own
CREATE STREAMING TABLE t AS SELECT * FROM STREAM raw JOIN __r0 ON true;
-- case: a CTE with a name of Headwater's own
CREATE MATERIALIZED VIEW m AS WITH __p0 AS (SELECT 1 AS a) SELECT * FROM __p0;
-- case: parameters without values
CREATE STREAMING TABLE IDENTIFIER(:nam) AS SELECT * FROM STREAM read_files(:landng, format => :formt);
-- case: an identifier that is no string
CREATE MATERIALIZED VIEW m AS SELECT * FROM IDENTIFIER(a.b);
-- case: a JSON path of an expression
CREATE MATERIALIZED VIEW m AS SELECT body:items[i] FROM t;
-- case: auto cdc without its clauses
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s;
-- case: auto cdc without a sequence
APPLY CHANGES INTO live.t FROM STREAM(live.s) KEYS (id) STORED AS SCD TYPE 1;
-- case: auto cdc without a source
CREATE FLOW f AS AUTO CDC INTO t KEYS (id) SEQUENCE BY seq;
-- case: auto cdc with an empty source
CREATE FLOW f AS AUTO CDC INTO t FROM KEYS (id) SEQUENCE BY seq;
-- case: auto cdc without a target
CREATE FLOW f AS AUTO CDC FROM STREAM s KEYS (id) SEQUENCE BY seq;
-- case: auto cdc whose every clause is wrong
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s
KEYS (customer.id, upper(name))
IGNORE NULL UPDATES ON (a b)
APPLY AS DELETE WHEN id IN (SELECT id FROM gone)
APPLY AS UPSERT WHEN true
SEQUENCE BY seq
SEQUENCE BY at
COLUMNS * EXCEPT op
STORED AS SCD TYPE 3
TRACK HISTORY ON (city);
-- case: auto cdc with no keys
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS () SEQUENCE BY seq;
-- case: auto cdc with a key that isn't kept
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id, Region) SEQUENCE BY seq COLUMNS * EXCEPT (region);
-- case: auto cdc that keeps no key
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY seq COLUMNS (name);
-- case: a tracked history without a history
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY seq STORED AS SCD TYPE 1 TRACK HISTORY ON (name);
-- case: a truncated history
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) APPLY AS TRUNCATE WHEN op = 'TRUNCATE' SEQUENCE BY seq STORED AS SCD TYPE 2;
-- case: two ways to leave columns alone
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) IGNORE NULL UPDATES SEQUENCE BY seq COLUMNS TO UPDATE changed;
-- case: two axes of time
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY at SYSTEM SEQUENCE BY seen STORED AS BITEMPORAL;
-- case: changes from snapshots
CREATE FLOW f AS AUTO CDC FROM SNAPSHOT INTO t FROM s KEYS (id);
APPLY CHANGES INTO t FROM SNAPSHOT s KEYS (id);
-- case: a misspelt clause of auto cdc
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQENCE BY seq;
-- case: replace where in a flow
CREATE FLOW f AS INSERT INTO t REPLACE WHERE day >= current_date() BY NAME SELECT * FROM raw;
