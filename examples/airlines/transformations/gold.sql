-- Gold is always equal to its query over its sources.

CREATE OR REFRESH MATERIALIZED VIEW on_time_by_carrier_hour
COMMENT 'On-time performance of each airline by hour of the day (UTC)'
AS SELECT airline,
          date_part('hour', scheduled_departure) AS hour,
          count(*) AS departures,
          count(*) FILTER (WHERE dep_delay <= 15) AS on_time,
          round(100 * count(*) FILTER (WHERE dep_delay <= 15) / count(*), 1) AS on_time_percent
FROM departures
GROUP BY airline, date_part('hour', scheduled_departure);

CREATE OR REFRESH MATERIALIZED VIEW delay_by_airport
COMMENT 'Median and 95th percentile of the arrival delay, in minutes, by destination'
AS SELECT o.dest, a.name AS destination, count(*) AS arrivals,
          percentile(o.arr_delay, 0.5) AS p50_delay,
          percentile(o.arr_delay, 0.95) AS p95_delay
FROM outcomes o
LEFT JOIN airports a ON o.dest = a.faa
WHERE o.outcome = 'arrived'
GROUP BY o.dest, a.name;

CREATE OR REFRESH MATERIALIZED VIEW cancellations_by_weather
COMMENT 'Share of cancelled flights by the weather at the scheduled hour'
AS SELECT o.origin, coalesce(w.sky, 'unknown') AS sky,
          count(*) AS flights,
          count(*) FILTER (WHERE o.outcome = 'cancelled') AS cancelled,
          round(100 * count(*) FILTER (WHERE o.outcome = 'cancelled') / count(*), 2) AS cancelled_percent
FROM outcomes o
LEFT JOIN hours_of_weather w ON o.origin = w.origin AND date_trunc('hour', o.scheduled_departure) = w.hour
GROUP BY o.origin, coalesce(w.sky, 'unknown');
