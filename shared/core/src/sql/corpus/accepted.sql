-- case: bronze from a folder
CREATE OR REFRESH STREAMING TABLE raw_orders AS SELECT * FROM STREAM read_files('${landing}/orders', format => 'json');
-- case: bronze with columns and a schema
CREATE OR REFRESH STREAMING TABLE raw (id BIGINT NOT NULL COMMENT 'key', at TIMESTAMP) COMMENT 'as it came' AS SELECT id, at FROM STREAM read_files("data/raw", format => "csv", header => true, schema => 'id BIGINT, at TIMESTAMP');
-- case: cloud_files of the old days
CREATE OR REFRESH STREAMING LIVE TABLE customers AS SELECT * FROM cloud_files("/data/customers", "csv", map("header", "true", "cloudFiles.inferColumnTypes", "true"));
-- case: messages
CREATE STREAMING TABLE events AS SELECT * FROM STREAM read_events('flights', format => 'json', schema => 'id STRING, seq INT, payload STRUCT<a: INT, b: ARRAY<STRING>>, tags MAP<STRING, STRING>');
-- case: raw messages
CREATE STREAMING TABLE bodies AS SELECT body, _metadata.message_id FROM STREAM read_events('flights')
-- case: stream of a table with an alias
CREATE STREAMING TABLE clean AS SELECT r.id FROM STREAM raw r WHERE r.id IS NOT NULL;
-- case: stream of a table in brackets
CREATE STREAMING TABLE clean AS SELECT raw.id FROM STREAM(raw);
-- case: LIVE prefix
CREATE OR REFRESH LIVE TABLE totals AS SELECT count(*) AS n FROM LIVE.clean;
-- case: LIVE stream
CREATE STREAMING LIVE TABLE clean AS SELECT * FROM STREAM(LIVE.raw);
-- case: expectations of each kind
CREATE OR REFRESH STREAMING TABLE checked (
  CONSTRAINT valid_id EXPECT (id IS NOT NULL),
  CONSTRAINT positive EXPECT (amount > 0) ON VIOLATION DROP ROW,
  CONSTRAINT sane_year EXPECT (year(at) BETWEEN 2000 AND 2100 AND kind IN ("a", "b")) ON VIOLATION FAIL UPDATE
) AS SELECT * FROM STREAM raw;
-- case: columns and expectations mixed
CREATE STREAMING TABLE t (id INT, CONSTRAINT c EXPECT (id > 0), name STRING) AS SELECT id, name FROM STREAM raw
-- case: watermark
CREATE STREAMING TABLE timely AS SELECT * FROM STREAM(events) WATERMARK event_time DELAY OF INTERVAL 10 MINUTES;
-- case: watermark with a string interval and an alias
CREATE STREAMING TABLE timely AS SELECT e.* FROM STREAM events WATERMARK event_time DELAY OF INTERVAL '1 day 2 hours' AS e;
-- case: options of a stream
CREATE STREAMING TABLE later AS SELECT * FROM STREAM raw WITH (SKIPCHANGECOMMITS = TRUE, STARTINGVERSION = 5) WHERE id > 3;
-- case: clauses in another order
CREATE STREAMING TABLE parts TBLPROPERTIES ('headwater.dedup.keys' = 'id', delta.logRetentionDuration = 'interval 7 days') PARTITIONED BY (day) COMMENT "by day" AS SELECT * FROM STREAM raw;
-- case: clustering
CREATE MATERIALIZED VIEW m CLUSTER BY (a, b) AS SELECT a, b FROM t;
-- case: an empty target and its flows
CREATE STREAMING TABLE all_regions;
CREATE FLOW west AS INSERT INTO all_regions BY NAME SELECT * FROM STREAM west_raw;
CREATE FLOW east COMMENT 'the east' AS INSERT INTO all_regions BY NAME SELECT * FROM STREAM(east_raw);
-- case: backfill in both orders
CREATE FLOW old AS INSERT ONCE INTO all_regions BY NAME SELECT * FROM archive;
CREATE FLOW older AS INSERT INTO ONCE all_regions BY NAME SELECT * FROM read_files('old', format => 'csv', header => true);
-- case: inline flow
CREATE STREAMING TABLE t FLOW INSERT BY NAME SELECT * FROM STREAM raw;
-- case: inline backfill
CREATE STREAMING TABLE t FLOW INSERT ONCE BY NAME SELECT * FROM archive;
-- case: views
CREATE VIEW v COMMENT 'seen' AS SELECT * FROM t;
CREATE TEMPORARY VIEW w AS SELECT * FROM v;
CREATE TEMPORARY LIVE VIEW x AS SELECT * FROM w;
-- case: a view with an expectation
CREATE TEMPORARY VIEW v (CONSTRAINT c EXPECT (id > 0)) AS SELECT * FROM t;
-- case: private tables
CREATE PRIVATE STREAMING TABLE p AS SELECT * FROM STREAM raw;
CREATE TEMPORARY STREAMING TABLE q AS SELECT * FROM STREAM raw;
CREATE PRIVATE MATERIALIZED VIEW r AS SELECT * FROM p;
-- case: three-part names and backticks
CREATE STREAMING TABLE `main`.`ops`.`flight log` AS SELECT `dep time`, log.`carrier` FROM STREAM main.ops.log;
-- case: settings
SET pipelines.trigger = '5 seconds';
SET spark.sql.shuffle.partitions = 8;
USE CATALOG main;
USE SCHEMA ops;
USE ops2;
-- case: no AS
CREATE MATERIALIZED VIEW m SELECT 1 AS one;
-- case: double-quoted strings
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE operation = "DELETE" OR operation = 'it\'s';
-- case: except
CREATE MATERIALIZED VIEW m AS SELECT * EXCEPT (a, b) FROM t;
-- case: rlike
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE name RLIKE '^A' AND name NOT RLIKE 'B$';
-- case: JSON paths
CREATE MATERIALIZED VIEW m AS SELECT body:user.name AS name, t.body:items[0].price AS price, body:`a`::int AS a FROM t;
-- case: casts and types
CREATE MATERIALIZED VIEW m AS SELECT CAST(a AS STRING), b::double, CAST(c AS DECIMAL(10, 2)), TRY_CAST(d AS DATE) FROM t;
-- case: a CTE
CREATE MATERIALIZED VIEW m AS WITH recent AS (SELECT * FROM t WHERE at > '2024-01-01') SELECT count(*) AS n FROM recent;
-- case: a union
CREATE MATERIALIZED VIEW m AS SELECT a FROM t UNION ALL SELECT a FROM u;
-- case: a subquery
CREATE MATERIALIZED VIEW m AS SELECT * FROM (SELECT a, count(*) AS n FROM t GROUP BY a) WHERE n > (SELECT avg(n) FROM u);
-- case: windows
CREATE MATERIALIZED VIEW m AS SELECT *, row_number() OVER (PARTITION BY id ORDER BY seq DESC) AS rank FROM t QUALIFY rank = 1;
-- case: time windows
CREATE MATERIALIZED VIEW m AS SELECT window(at, '10 minutes').start AS at, count(*) AS n FROM t GROUP BY window(at, '10 minutes');
-- case: a stream and a static join
CREATE STREAMING TABLE j AS SELECT f.*, a.name FROM STREAM(flights) f LEFT JOIN airports a ON f.origin = a.faa;
-- case: group by all and filter
CREATE MATERIALIZED VIEW m AS SELECT carrier, count(*) FILTER (WHERE delay > 15) AS late FROM t GROUP BY ALL;
-- case: interval arithmetic
CREATE MATERIALIZED VIEW m AS SELECT at + INTERVAL '10 minutes' AS later, at - INTERVAL 1 DAY AS before FROM t;
-- case: case and between
CREATE MATERIALIZED VIEW m AS SELECT CASE WHEN a BETWEEN 1 AND 2 THEN 'x' ELSE 'y' END AS z FROM t;
-- case: parameters
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE a < :limit AND b = :landing;
-- case: substitution in a number
CREATE MATERIALIZED VIEW m AS SELECT * FROM t LIMIT ${limit};
-- case: a notebook
-- Databricks notebook source
-- MAGIC %md
-- MAGIC # Orders
-- COMMAND ----------
CREATE OR REFRESH STREAMING TABLE a AS SELECT * FROM STREAM raw
-- COMMAND ----------
CREATE OR REFRESH MATERIALIZED VIEW b AS SELECT * FROM a
-- case: comments everywhere
/* one */ CREATE /* two */ VIEW v -- three
AS SELECT /* four /* nested */ */ 1 AS a;
-- case: distinct on a stream
CREATE STREAMING TABLE d AS SELECT DISTINCT id, name FROM STREAM raw;
-- case: lower case keywords
create or refresh streaming table t as select * from stream raw;
-- case: a lambda
CREATE MATERIALIZED VIEW m AS SELECT transform(items, x -> x + 1) AS more FROM t;
-- case: using delta
CREATE STREAMING TABLE t USING DELTA AS SELECT * FROM STREAM raw;
-- case: if not exists
CREATE STREAMING TABLE IF NOT EXISTS t AS SELECT * FROM STREAM raw;
-- case: parameters in names and options
CREATE STREAMING TABLE IDENTIFIER(:landing || '.orders') AS SELECT * FROM STREAM read_files(:landing || '/orders', format => 'json');
CREATE MATERIALIZED VIEW m AS SELECT * FROM IDENTIFIER(:landing) WHERE n < :limit;
-- case: a qualified column
CREATE MATERIALIZED VIEW m AS SELECT ops.flights.carrier, main.ops.flights.*, LIVE.airports.name FROM main.ops.flights JOIN LIVE.airports ON ops.flights.origin = airports.faa;
-- case: explode
CREATE STREAMING TABLE items AS SELECT id, explode(items) AS item FROM STREAM orders;
CREATE STREAMING TABLE more AS SELECT id, explode_outer(items) FROM STREAM orders;
-- case: Spark's names of types in casts
CREATE MATERIALIZED VIEW m AS SELECT CAST(a AS LONG), b::short, TRY_CAST(c AS BYTE), CAST(d AS BINARY), CAST(e AS TIMESTAMP_NTZ), CAST(f AS ARRAY<LONG>) FROM t;
-- case: numbers with suffixes
CREATE MATERIALIZED VIEW m AS SELECT 10L AS a, 1.5D AS b, 1.50BD AS c, 2S AS d, 3y AS e, 1e3F AS f FROM t WHERE n > 5L;
-- case: raw strings
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE code RLIKE r'^\d{3}-\w+$' AND path LIKE R"C:\data%" AND r = 'x';
-- case: a LIKE with an escape
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE code LIKE '10\%' AND name = 'a' 'b';
-- case: operators of Spark
CREATE MATERIALIZED VIEW m AS SELECT a div b AS q, a % b AS r, !c AS n, a == b AS e, a <=> b AS s, a << 2 AS l FROM t WHERE ! a = b AND a != b;
-- case: higher-order functions
CREATE MATERIALIZED VIEW m AS SELECT transform(items, x -> x.price * X), filter(items, (i) -> i.n > 1), exists(tags, t -> t = 'a') FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id);
-- case: nested lambdas
CREATE MATERIALIZED VIEW m AS SELECT transform(a, x -> transform(x.b, x -> x + 1)) AS c FROM t;
-- case: CTEs by scope and in another case
CREATE MATERIALIZED VIEW m AS WITH t AS (SELECT * FROM t WHERE a > 0), Recent AS (SELECT * FROM t) SELECT recent.* FROM recent JOIN (WITH u AS (SELECT 1 AS a) SELECT * FROM u) AS v ON v.a = recent.a JOIN u ON u.a = v.a;
-- case: hints
CREATE MATERIALIZED VIEW m AS SELECT /*+ BROADCAST(a), COALESCE(1) */ f.* FROM flights f JOIN airports a ON f.origin = a.faa;
-- case: auto cdc
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) APPLY AS DELETE WHEN op = "DELETE" SEQUENCE BY seq COLUMNS * EXCEPT (op, seq) STORED AS SCD TYPE 2;
-- case: apply changes
APPLY CHANGES INTO LIVE.t FROM STREAM(LIVE.s) KEYS (id) SEQUENCE BY seq;
-- case: inline auto cdc
CREATE OR REFRESH STREAMING TABLE t FLOW AUTO CDC FROM STREAM s KEYS (id) SEQUENCE BY seq;
-- case: auto cdc with every clause of SCD type 1
CREATE FLOW customers_cdc COMMENT 'by change' AS AUTO CDC INTO main.ops.customers
FROM STREAM(customers_raw)
KEYS (customer_id, region)
IGNORE NULL UPDATES ON * EXCEPT (email)
APPLY AS DELETE WHEN operation = "DELETE"
APPLY AS TRUNCATE WHEN operation = "TRUNCATE"
SEQUENCE BY struct(sequence_num, at)
COLUMNS * EXCEPT (operation, sequence_num)
STORED AS SCD TYPE 1;
-- case: auto cdc with every clause of SCD type 2, in another order
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s TRACK HISTORY ON * EXCEPT (city) STORED AS SCD TYPE 2 COLUMNS (id, name, city) SEQUENCE BY seq APPLY AS DELETE WHEN op == 'D' AND NOT soft KEYS (id);
-- case: auto cdc of a partial update
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (id) SEQUENCE BY seq COLUMNS TO UPDATE changed_columns COLUMNS * EXCEPT (changed_columns);
-- case: auto cdc once
CREATE FLOW backfill AS AUTO CDC ONCE INTO t FROM archive KEYS (id) SEQUENCE BY seq IGNORE NULL UPDATES;
-- case: auto cdc of a subquery
CREATE FLOW f AS AUTO CDC INTO t FROM (SELECT *, body:op AS op FROM STREAM s WHERE id IS NOT NULL) KEYS (id) SEQUENCE BY seq;
-- case: auto cdc of files with a watermark and an alias
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM read_files('${landing}/cdc', format => 'json', schema => 'id INT, at TIMESTAMP') WATERMARK at DELAY OF INTERVAL 1 HOUR AS c KEYS (id) SEQUENCE BY c.at;
-- case: apply changes with a condition
APPLY CHANGES INTO live.customers FROM STREAM(live.customers_clean) KEYS (id) WHERE region = 'eu' SEQUENCE BY seq COLUMNS *;
-- case: auto cdc without CREATE FLOW
AUTO CDC INTO t FROM s KEYS (id) SEQUENCE BY seq TRACK HISTORY ON (a) STORED AS SCD TYPE 2;
-- case: inline auto cdc with columns and rules
CREATE OR REFRESH STREAMING TABLE customers (id BIGINT, name STRING, __START_AT BIGINT, __END_AT BIGINT, CONSTRAINT named EXPECT (name IS NOT NULL) ON VIOLATION DROP ROW)
COMMENT 'history' CLUSTER BY (id) FLOW AUTO CDC FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq STORED AS SCD TYPE 2;
-- case: a source that is named as a clause
CREATE FLOW f AS AUTO CDC INTO t FROM snapshot KEYS (id) SEQUENCE BY seq;
-- case: watermarks in each form
CREATE STREAMING TABLE a AS SELECT * FROM STREAM s WATERMARK FOR at DELAY OF INTERVAL '10' MINUTE;
CREATE STREAMING TABLE b AS SELECT * FROM STREAM(s) WATERMARK s.at DELAY OF INTERVAL 1 DAY 2 HOURS c WHERE c.id > 0;
CREATE STREAMING TABLE c AS SELECT * FROM STREAM read_events('flights', format => 'json', schema => 'at TIMESTAMP') WATERMARK at DELAY OF '90 seconds';
CREATE STREAMING TABLE d AS SELECT * FROM STREAM s WITH ('skipChangeCommits' = 'true') WATERMARK `event time` DELAY OF INTERVAL 500 MILLISECONDS;
-- case: words that are only names
CREATE MATERIALIZED VIEW m AS SELECT version AS of, changes, watermark, delay FROM changes AS stream WHERE keys > 0;
-- case: options by their full names
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('x', `cloudFiles.format` => 'csv', CLOUDFILES.maxFilesPerTrigger => 10, inferSchema => true, pathGlobFilter => '*.csv');
-- case: statements apart by many semicolons
;; CREATE VIEW a AS SELECT 1 AS x;;; CREATE VIEW b AS SELECT 2 AS x ; ;
-- case: comments that hold quotes and semicolons
CREATE VIEW v AS -- it's; not the end
SELECT 'a -- b; /* c */' AS x /* it's /* nested; */ still */ FROM t;
-- case: bronze of the medallion
CREATE OR REFRESH STREAMING TABLE orders_bronze
COMMENT "Raw orders, as they landed"
TBLPROPERTIES ("quality" = "bronze", "pipelines.reset.allowed" = "false")
AS SELECT *, _metadata.file_path AS source_file, current_timestamp() AS ingested_at
FROM STREAM read_files("${landing}/orders", format => "json", inferColumnTypes => true, schemaHints => "order_id BIGINT, amount DECIMAL(10, 2)");
-- case: silver of the medallion
CREATE OR REFRESH STREAMING TABLE orders_silver (
  CONSTRAINT valid_order EXPECT (order_id IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT valid_amount EXPECT (amount >= 0 AND amount < 1e6),
  CONSTRAINT known_status EXPECT (status IN ('new', 'paid', 'sent')) ON VIOLATION FAIL UPDATE
)
CLUSTER BY (customer_id, order_date)
TBLPROPERTIES ("quality" = "silver")
AS SELECT order_id, customer_id, amount::decimal(10, 2) AS amount, lower(status) AS status, to_date(ordered_at) AS order_date
FROM STREAM(LIVE.orders_bronze) WATERMARK ordered_at DELAY OF INTERVAL 3 HOURS WHERE order_id IS NOT NULL;
-- case: gold of the medallion
CREATE OR REFRESH MATERIALIZED VIEW daily_sales (order_date DATE COMMENT 'by UTC', customers BIGINT, sales DECIMAL(20, 2))
PARTITIONED BY (order_date) COMMENT "Sales by day" TBLPROPERTIES ("quality" = "gold")
AS SELECT order_date, count(DISTINCT customer_id) AS customers, sum(amount) AS sales FROM LIVE.orders_silver GROUP BY order_date HAVING sum(amount) > 0 ORDER BY 1;
-- case: a stream and its dimensions
CREATE OR REFRESH STREAMING TABLE sales AS
SELECT f.*, c.name, p.category FROM STREAM(orders) AS f LEFT JOIN customers AS c USING (customer_id) INNER JOIN LIVE.products p ON f.product_id = p.id AND p.active;
-- case: grouping sets, rollup and filters
CREATE MATERIALIZED VIEW m AS SELECT region, product, sum(n) FILTER (WHERE n > 0) AS n, grouping(region) AS g FROM t GROUP BY ROLLUP (region, product);
-- case: window frames
CREATE MATERIALIZED VIEW m AS SELECT id, avg(price) OVER (PARTITION BY id ORDER BY at ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS moving, lag(price, 1) OVER w AS before FROM t WINDOW w AS (PARTITION BY id ORDER BY at);
-- case: semi and anti joins
CREATE MATERIALIZED VIEW m AS SELECT * FROM a LEFT SEMI JOIN b ON a.id = b.id LEFT ANTI JOIN c ON a.id = c.id;
-- case: set operations
CREATE MATERIALIZED VIEW m AS (SELECT a FROM t EXCEPT SELECT a FROM u) UNION (SELECT a FROM v INTERSECT SELECT a FROM w);
-- case: values
CREATE MATERIALIZED VIEW regions AS SELECT * FROM VALUES (1, 'west'), (2, 'east') AS r(id, name);
-- case: structs, arrays and maps
CREATE MATERIALIZED VIEW m AS SELECT struct(a, b) AS s, array(1, 2)[0] AS f, map('k', 1)['k'] AS k, s.a.b AS deep, named_struct('x', 1) AS n FROM t;
-- case: typed literals and intervals
CREATE MATERIALIZED VIEW m AS SELECT DATE '2024-01-01' AS d, TIMESTAMP '2024-01-01 00:00:00' AS t, X'1F' AS b, INTERVAL '1' DAY AS i, current_date() - INTERVAL 7 DAYS AS w FROM t WHERE d BETWEEN date'2024-01-01' AND DATE "2024-12-31";
-- case: tests of text
CREATE MATERIALIZED VIEW m AS SELECT * FROM t WHERE a LIKE '%x%' AND b NOT ILIKE 'y%' AND c IS DISTINCT FROM d AND e REGEXP '^z';
-- case: dates out of parts
CREATE MATERIALIZED VIEW m AS SELECT extract(YEAR FROM at) AS y, date_trunc('HOUR', at) AS h, CASE kind WHEN 1 THEN 'a' END AS k, if(a > b, a, b) AS most, nvl(c, 0) AS c FROM t;
-- case: SELECT DISTINCT of a CTE on a stream
CREATE STREAMING TABLE t AS WITH s AS (SELECT id, at FROM STREAM raw WHERE id > 0) SELECT DISTINCT id, at FROM s;
-- case: names with spaces and keywords
CREATE MATERIALIZED VIEW `my view` AS SELECT t.`group`, `order by`.`from` AS `a``b` FROM `order by` JOIN `select` AS t ON true;
-- case: references in comments have no meaning
-- reads ${nowhere} and :nothing
CREATE VIEW v AS SELECT 1 AS a /* ${neither} */;
-- case: changes from snapshots
CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT (read_files('in', format => 'json')) KEYS (id);
APPLY CHANGES INTO t FROM SNAPSHOT STREAM s KEYS (id) SEQUENCE BY day COLUMNS * EXCEPT (day) STORED AS SCD TYPE 2;
APPLY CHANGES INTO t FROM snapshot KEYS (id) SEQUENCE BY day;
APPLY CHANGES INTO t FROM SNAPSHOT (SELECT id, day FROM STREAM s) KEYS (id) SEQUENCE BY day;
-- case: time travel
CREATE MATERIALIZED VIEW m AS SELECT * FROM t VERSION AS OF 3 JOIN a.u TIMESTAMP AS OF '2024-01-01' AS v ON t.x = v.x JOIN t AS now ON now.x = t.x;
