// What the official JavaScript client makes of a hub: it sends so many events to each partition, and one by a key, and receives all that the hub holds.
// node hub.mjs CONNECTION HUB EVENTS EXPECTED; prints what it saw, as JSON.
import { EventHubConsumerClient, EventHubProducerClient, earliestEventPosition } from "@azure/event-hubs";

const [connection, hub, events, expected] = process.argv.slice(2);
const patience = 60_000;

async function send() {
  const producer = new EventHubProducerClient(connection, hub);
  const partitions = await producer.getPartitionIds();
  for (const partitionId of partitions) {
    const batch = await producer.createBatch({ partitionId });
    for (let number = 0; number < Number(events); number++) {
      batch.tryAdd({ body: Buffer.from(`js ${partitionId}-${number}`), properties: { number } });
    }
    await producer.sendBatch(batch);
  }
  const keyed = await producer.createBatch({ partitionKey: "device" });
  keyed.tryAdd({ body: Buffer.from("js keyed") });
  await producer.sendBatch(keyed);
  const properties = await producer.getPartitionProperties(partitions[0]);
  await producer.close();
  return { partitions, last: Number(properties.lastEnqueuedSequenceNumber) };
}

async function receive() {
  const consumer = new EventHubConsumerClient("$Default", connection, hub);
  const received = [];
  const places = new Set();
  let subscription;
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${places.size} events came`)), patience).unref();
    const processEvents = async (batch, { partitionId }) => {
      for (const event of batch) {
        const body = Buffer.isBuffer(event.body) ? event.body.toString() : String(event.body);
        const number = Number(event.sequenceNumber);
        places.add(`${partitionId}:${number}`);
        received.push({ body, partition: partitionId, number, key: event.partitionKey ?? null, properties: event.properties ?? {} });
      }
      if (places.size >= Number(expected)) resolve();
    };
    const processError = async (error) => console.error(error.message);
    subscription = consumer.subscribe({ processEvents, processError }, { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 });
  });
  await subscription.close();
  await consumer.close();
  return received;
}

const sent = await send();
process.stdout.write(JSON.stringify({ ...sent, received: await receive() }));
process.exit(0);
