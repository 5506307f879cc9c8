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
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'json', primitivesAsString => true);
-- case: two wrong options at once
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'jsn', header => 'maybe');
-- case: a format that isn't read
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'orc');
-- case: options of files that contradict themselves
CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_files('x', format => 'json', cleanSource => 'MOVE');
CREATE STREAMING TABLE b AS SELECT * FROM STREAM read_files('x', format => 'json', cleanSource => 'DELETE', cleanSource.retentionDuration => '1 hour');
CREATE STREAMING TABLE c AS SELECT * FROM STREAM read_files('x', format => 'json', schema => 'n INT', schemaEvolutionMode => 'addNewColumns');
CREATE STREAMING TABLE d AS SELECT * FROM STREAM read_files('x', format => 'text', rescuedDataColumn => 'r');
CREATE STREAMING TABLE e AS SELECT * FROM STREAM read_files('x', format => 'json', cleanSource.moveDestination => 'y');
-- case: values that options of files don't take
CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_files('x', format => 'json', schemaEvolutionMode => 'addNewColumn', cleanSource => 'BURN', modifiedAfter => 'noon', maxBytesPerTrigger => '0', backfillInterval => '1 month');
-- case: columns that can't widen
CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_files('x', format => 'json', schema => 'n INT', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
CREATE STREAMING TABLE b AS SELECT * FROM STREAM read_files('x', format => 'text', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
CREATE STREAMING TABLE c AS SELECT * FROM STREAM read_files('x', format => 'json', envelope => 'debezium', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
-- case: an option of files for messages
CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_events('x', format => 'json', pathGlobFilter => '*.json');
-- case: a format of files for messages
CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_events('x', format => 'avro');
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
-- case: a watermark without a column
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK DELAY OF INTERVAL 10 MINUTES;
-- case: pivot
CREATE MATERIALIZED VIEW m AS SELECT * FROM t PIVOT (sum(a) FOR b IN ('x', 'y'));
-- case: an unknown table function
CREATE MATERIALIZED VIEW m AS SELECT * FROM range(10);
-- case: by name is missing
CREATE FLOW f AS INSERT INTO t SELECT * FROM STREAM raw;
-- case: something after the end
CREATE VIEW v AS SELECT 1 AS a 2;
-- case: a misspelt FROM
CREATE STREAMING TABLE t AS SELECT * FORM STREAM raw;
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
-- case: auto cdc with a key that is misspelt
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (custmer) SEQUENCE BY seq COLUMNS (customer, name);
-- case: a tracked history without a history
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY seq STORED AS SCD TYPE 1 TRACK HISTORY ON (name);
-- case: a truncated history
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) APPLY AS TRUNCATE WHEN op = 'TRUNCATE' SEQUENCE BY seq STORED AS SCD TYPE 2;
-- case: two ways to leave columns alone
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) IGNORE NULL UPDATES SEQUENCE BY seq COLUMNS TO UPDATE changed;
-- case: two axes of time
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY at SYSTEM SEQUENCE BY seen STORED AS BITEMPORAL;
-- case: changes from snapshots with clauses of changes
CREATE FLOW f AS AUTO CDC FROM SNAPSHOT INTO t FROM s KEYS (id);
APPLY CHANGES INTO t FROM SNAPSHOT STREAM s KEYS (id) IGNORE NULL UPDATES APPLY AS DELETE WHEN op = "D";
-- case: a misspelt clause of auto cdc
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQENCE BY seq;
-- case: replace where in a flow
CREATE FLOW f AS INSERT INTO t REPLACE WHERE day >= current_date() BY NAME SELECT * FROM raw;
-- case: a watermark on an expression
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK to_timestamp(ts, 'yyyy') AS event_time DELAY OF INTERVAL 10 MINUTES AS x;
-- case: a watermark on a renamed column
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK at event_time DELAY OF INTERVAL 10 MINUTES;
-- case: a watermark on a field
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK payload.at DELAY OF INTERVAL 10 MINUTES;
-- case: a watermark whose expression is wrong
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK at + DELAY OF INTERVAL 10 MINUTES;
-- case: a watermark of months
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WATERMARK at DELAY OF INTERVAL 2 MONTHS;
-- case: a watermark after the alias, and one on a table
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s AS x WATERMARK at DELAY OF INTERVAL 10 MINUTES;
CREATE MATERIALIZED VIEW m AS SELECT * FROM s WATERMARK at DELAY OF INTERVAL 10 MINUTES;
-- case: the changes clause with bounds
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s CHANGES FROM VERSION 3 EXCLUSIVE WITH (SKIPCHANGECOMMITS = true);
CREATE MATERIALIZED VIEW m AS SELECT * FROM s CHANGES FROM TIMESTAMP '2024-01-01' INCLUSIVE TO TIMESTAMP current_timestamp() EXCLUSIVE AS c;
-- case: time travel of a stream, by an expression, to no state
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s VERSION AS OF 3;
CREATE MATERIALIZED VIEW m AS SELECT * FROM t TIMESTAMP AS OF current_timestamp();
CREATE MATERIALIZED VIEW m AS SELECT * FROM t TIMESTAMP AS OF 'yesterday';
-- case: options of streams
CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WITH (SKIPCHANGECOMMITS = maybe, STARTINGVERSION = 'x', readChangeFeed = true, skipChangeComits = true, maxFilesPerTrigger = 1);
-- case: options of a stream on a table function
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => 'json') WITH (maxFilesPerTrigger = 1);
-- case: options on a table
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH (SKIPCHANGECOMMITS = true);
-- case: each wrong option at its own place
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files(
  'x',
  format => 'jsn',
  header => 'maybe',
  schema => 'id BIGINT,, b',
  `cloudFiles.useNotifications` => true,
  cloudFiles.awsSecretKey => 'no',
  maxFilesPerTriger => 5,
  timestampFormt => 'x',
  header => true,
  maxBytesPerTrigger => '1g',
  'more');
-- case: wrong options in a map
CREATE STREAMING LIVE TABLE t AS SELECT * FROM cloud_files('x', 'csv', map('header', 'yes', 'cloudFiles.schemaLocation', '/x', 'cloudFiles.inferColumnType', 'true'));
-- case: a map that is odd
CREATE STREAMING LIVE TABLE t AS SELECT * FROM cloud_files('x', 'csv', map('header'));
-- case: an option that is no literal
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', format => lower('JSON'));
-- case: commands of Spark
INSERT INTO t SELECT * FROM raw;
MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE;
COPY INTO t FROM 'x' FILEFORMAT = JSON;
REFRESH MATERIALIZED VIEW m FULL;
ALTER STREAMING TABLE t ADD SCHEDULE EVERY 1 HOUR;
OPTIMIZE t;
SELECT * FROM t;
EXPLAIN CREATE MATERIALIZED VIEW m AS SELECT 1;
-- case: other things to create
CREATE TABLE t FLOW INSERT BY NAME SELECT * FROM STREAM raw;
CREATE OR REPLACE FUNCTION f(x INT) RETURNS INT RETURN x + 1;
CREATE SCHEMA s;
-- case: every clause of a table that isn't executed, at once
CREATE OR REFRESH STREAMING TABLE t (
  id BIGINT GENERATED BY DEFAULT AS IDENTITY (START WITH 1 INCREMENT BY 1),
  total DECIMAL(10, 2) DEFAULT 0,
  ssn STRING MASK hide USING COLUMNS (id, 'x'),
  CONSTRAINT pk PRIMARY KEY (id),
  FOREIGN KEY (id) REFERENCES other (id)
)
USING ICEBERG
LOCATION 's3://b/t'
SCHEDULE REFRESH EVERY 2 HOURS
WITH ROW FILTER mine ON (id)
DEFAULT COLLATION UTF8_BINARY
CLUSTER BY NONE
COMMENT 'all at once'
AS SELECT * FROM STREAM raw;
-- case: clauses of Spark's tables
CREATE MATERIALIZED VIEW m STORED AS PARQUET OPTIONS ('a' = 'b') CLUSTERED BY (a) INTO 4 BUCKETS AS SELECT 1 AS a;
-- case: replace using in a table
CREATE STREAMING TABLE t FLOW REPLACE USING (id) SEQUENCE BY seq BY NAME SELECT * FROM STREAM raw;
-- case: replace using without a sequence
CREATE STREAMING TABLE t FLOW REPLACE USING (id) BY NAME SELECT * FROM STREAM raw;
-- case: a wrong violation
CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a > 0) ON VIOLATION DROP) AS SELECT * FROM STREAM raw;
-- case: a check constraint
CREATE STREAMING TABLE t (id INT, CONSTRAINT c CHECK (id > 0)) AS SELECT * FROM STREAM raw;
-- case: a name of four parts
CREATE VIEW a.b.c.d AS SELECT 1 AS x;
-- case: a query that locks
CREATE MATERIALIZED VIEW m AS SELECT * FROM t FOR UPDATE;
-- case: options of other message buses
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights', `kafka.bootstrap.servers` => 'k:9092', subscribe => 'flights', startingOffsets => 'earliest');
-- case: a JSON key with a dot
CREATE MATERIALIZED VIEW m AS SELECT body:user['first.name'] AS a, body:`a.b` AS b FROM t;
-- case: misspelt things to create
CREATE STREMING TABLE t;
CREATE OR REFRESH MATERIALISED VIEW m AS SELECT 1 AS a;
CREATE MATERIALIZED TABLE m AS SELECT 1 AS a;
-- case: an unknown reference beside one in a comment
CREATE VIEW v AS SELECT /* ${one} */ ${two} AS a;
-- case: an expression that stops
CREATE VIEW v AS SELECT (1 +) AS a;
