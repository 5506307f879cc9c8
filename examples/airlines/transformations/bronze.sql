-- Bronze lands what arrives, as it arrived. A record that can't be read goes verbatim to the table's
-- __quarantine, with the reason and its position. `_metadata` tells which message or file a row is from.

-- What the airlines report: scheduled, departed, arrived or cancelled, each the minute it is known.
CREATE OR REFRESH STREAMING TABLE flight_events
COMMENT 'Flight events as they were sent'
AS SELECT *
FROM STREAM read_events(
  'flights',
  format => 'json',
  schema => 'event_id STRING, sequence INT, event_time TIMESTAMP, event STRING, flight_id STRING,
             carrier STRING, flight INT, origin STRING, dest STRING, scheduled_departure TIMESTAMP,
             distance INT, tailnum STRING, dep_delay INT, arr_delay INT, air_time INT'
);

-- What comes in batches: files that land in a folder, each read once.
CREATE OR REFRESH STREAMING TABLE airports
AS SELECT faa, name, lat, lon, tzone
FROM STREAM read_files('/landing/airports', format => 'csv', header => true);

CREATE OR REFRESH STREAMING TABLE airlines
AS SELECT carrier, name
FROM STREAM read_files('/landing/airlines', format => 'csv', header => true, schema => 'carrier STRING, name STRING');

CREATE OR REFRESH STREAMING TABLE planes
AS SELECT tailnum, year AS built, manufacturer, model, seats
FROM STREAM read_files('/landing/planes', format => 'csv', header => true);

CREATE OR REFRESH STREAMING TABLE weather
AS SELECT origin, CAST(time_hour AS TIMESTAMP) AS hour, wind_speed, precip, visib
FROM STREAM read_files('/landing/weather', format => 'csv', header => true,
  schemaHints => 'wind_speed DOUBLE, precip DOUBLE, visib DOUBLE, time_hour STRING');
