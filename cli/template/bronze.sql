-- Bronze: what arrived, as it arrived. Records that can't be read go to <table>__quarantine.

CREATE OR REFRESH STREAMING TABLE orders_raw
COMMENT 'Orders, from files in data/orders'
AS SELECT *
FROM STREAM read_files(
  'data/orders',
  format => 'json',
  schema => 'order_id BIGINT, customer_id BIGINT, ordered_at TIMESTAMP, product STRING, quantity INT, price DOUBLE'
);

CREATE OR REFRESH STREAMING TABLE customers
COMMENT 'Customers, from files in data/customers'
AS SELECT *
FROM STREAM read_files(
  'data/customers',
  format => 'csv',
  header => true,
  schema => 'customer_id BIGINT, name STRING, country STRING'
);

CREATE OR REFRESH STREAMING TABLE payments
COMMENT 'Payments, from the queue: headwater replay FILE --to payments'
AS SELECT *
FROM STREAM read_events(
  'payments',
  format => 'json',
  schema => 'payment_id BIGINT, order_id BIGINT, paid_at TIMESTAMP, amount DOUBLE'
);
