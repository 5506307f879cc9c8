-- Silver checks, deduplicates and joins. A row that fails a DROP ROW rule goes to the table's
-- __quarantine with the names of all rules that it failed; a warning only counts.

-- Each event once, however often it was sent and in whatever order it came.
CREATE OR REFRESH STREAMING TABLE movements (
  CONSTRAINT has_flight EXPECT (flight_id IS NOT NULL AND event_id IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT known_event EXPECT (event IN ("scheduled", "departed", "arrived", "cancelled")) ON VIOLATION DROP ROW,
  CONSTRAINT from_new_york EXPECT (origin IN ("EWR", "JFK", "LGA")) ON VIOLATION DROP ROW,
  CONSTRAINT plausible_delay EXPECT (coalesce(dep_delay, 0) BETWEEN -60 AND 1440),
  CONSTRAINT knows_its_plane EXPECT (tailnum IS NOT NULL OR event IN ("scheduled", "cancelled"))
)
COMMENT 'Flight events, checked, each once'
TBLPROPERTIES ('headwater.dedup.keys' = 'event_id')
AS SELECT * FROM STREAM(flight_events);

-- Two flows fill one table: how each flight ended.
CREATE OR REFRESH STREAMING TABLE outcomes (
  CONSTRAINT one_end EXPECT (outcome IS NOT NULL) ON VIOLATION FAIL UPDATE
)
COMMENT 'How each flight ended: arrived or cancelled';

CREATE FLOW arrivals AS INSERT INTO outcomes BY NAME
SELECT flight_id, 'arrived' AS outcome, carrier, origin, dest, scheduled_departure, dep_delay, arr_delay, tailnum
FROM STREAM movements
WHERE event = 'arrived';

CREATE FLOW cancellations AS INSERT INTO outcomes BY NAME
SELECT flight_id, 'cancelled' AS outcome, carrier, origin, dest, scheduled_departure, dep_delay, arr_delay, tailnum
FROM STREAM movements
WHERE event = 'cancelled';

-- A stream joined with tables as they are when the batch is read.
CREATE OR REFRESH STREAMING TABLE departures (
  CONSTRAINT known_destination EXPECT (destination IS NOT NULL),
  CONSTRAINT known_plane EXPECT (seats IS NOT NULL)
)
COMMENT 'Departures with airline, destination and plane'
AS SELECT m.flight_id, m.event_time AS departed_at, m.scheduled_departure, m.dep_delay,
          m.carrier, l.name AS airline, m.origin, m.dest, a.name AS destination, p.manufacturer, p.seats
FROM STREAM(movements) m
LEFT JOIN airlines l ON m.carrier = l.carrier
LEFT JOIN airports a ON m.dest = a.faa
LEFT JOIN planes p ON m.tailnum = p.tailnum
WHERE m.event = 'departed';

-- A view has no table: its query becomes part of its readers'.
CREATE TEMPORARY VIEW hours_of_weather
AS SELECT origin, date_trunc('hour', hour) AS hour, wind_speed, precip, visib,
          CASE WHEN visib < 2 OR wind_speed > 25 THEN 'bad'
               WHEN precip > 0 THEN 'wet'
               ELSE 'fair' END AS sky
FROM weather;

-- Changes of rows, in whatever order they come: the last state of each flight. An event tells some columns; the
-- others stay as they are.
CREATE OR REFRESH STREAMING TABLE silver_flights
COMMENT 'Each flight as it is now';

CREATE FLOW flight_changes AS AUTO CDC INTO silver_flights
FROM STREAM movements
KEYS (flight_id)
IGNORE NULL UPDATES
SEQUENCE BY sequence
COLUMNS * EXCEPT (event_id, sequence);

-- Every state: where each plane was, from when to when. A plane that lands where it is makes no new state.
CREATE TEMPORARY VIEW landings
AS SELECT tailnum, dest AS airport, event_time
FROM STREAM movements
WHERE event = 'arrived';

CREATE OR REFRESH STREAMING TABLE silver_planes_history
COMMENT 'Where each plane was, from __START_AT to before __END_AT';

CREATE FLOW plane_changes AS AUTO CDC INTO silver_planes_history
FROM STREAM landings
KEYS (tailnum)
SEQUENCE BY event_time
COLUMNS (tailnum, airport)
STORED AS SCD TYPE 2;
