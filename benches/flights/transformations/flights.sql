CREATE OR REFRESH STREAMING TABLE flights_raw
AS SELECT *
FROM STREAM read_files(
  'in',
  format => 'json',
  schema => 'id BIGINT, scheduled_departure TIMESTAMP, year INT, month INT, day INT, dep_time INT,
             sched_dep_time INT, dep_delay INT, arr_time INT, sched_arr_time INT, arr_delay INT,
             carrier STRING, flight INT, tailnum STRING, origin STRING, dest STRING, air_time INT,
             distance INT, hour INT, minute INT, time_hour TIMESTAMP'
);

CREATE OR REFRESH STREAMING TABLE flights (
  CONSTRAINT has_carrier EXPECT (carrier IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT from_new_york EXPECT (origin IN ("EWR", "JFK", "LGA")) ON VIOLATION DROP ROW,
  CONSTRAINT departed EXPECT (dep_delay IS NOT NULL) ON VIOLATION DROP ROW
)
AS SELECT id, scheduled_departure, carrier, flight, tailnum, origin, dest, dep_delay, arr_delay, air_time, distance
FROM STREAM(flights_raw);

CREATE OR REFRESH MATERIALIZED VIEW delay_by_carrier_month
AS SELECT carrier, date_part('month', scheduled_departure) AS month,
          count(*) AS flights, avg(dep_delay) AS mean_delay, max(dep_delay) AS worst_delay, sum(distance) AS miles
FROM flights
GROUP BY carrier, date_part('month', scheduled_departure);
