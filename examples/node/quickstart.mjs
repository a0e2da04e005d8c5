// A first message with the official Node.js client: npm install rocketmq-client-nodejs@1.0.8
import { Producer, SimpleConsumer } from 'rocketmq-client-nodejs';

const endpoints = process.argv[2] ?? '127.0.0.1:8081';
// Without one, the client writes its log to ~/logs/rocketmq.
const logger = { debug() {}, info() {}, warn: console.warn, error: console.error };
const [topic, group] = ['greetings', 'node-readers'];

const producer = new Producer({ endpoints, logger, topics: [topic] });
await producer.startup();
const receipt = await producer.send({ topic, tag: 'hello', body: Buffer.from('Hello from Node.js') });
console.log('sent', receipt.messageId);
await producer.shutdown();

const consumer = new SimpleConsumer({
  endpoints,
  logger,
  consumerGroup: group,
  subscriptions: new Map([[topic, '*']]),
  awaitDuration: 5000,
});
await consumer.startup();
for (const message of await consumer.receive(16, 15000)) {
  console.log('received', message.messageId, message.body.toString());
  await consumer.ack(message);
}
await consumer.shutdown();
process.exit(0);
