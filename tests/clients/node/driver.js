'use strict';
// Drives the official Node.js client: commands come in as JSON lines, answers leave as JSON lines.
// The vocabulary is described in ../README.md.

const crypto = require('node:crypto');
const fs = require('node:fs/promises');
const readline = require('node:readline');
const {
  ConsumeResult, ConsumeResultSuspend, FilterExpression, LitePushConsumerBuilder, Producer, PushConsumer, SimpleConsumer,
} = require('rocketmq-client-nodejs');
const { Code, FilterType, TransactionResolution } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { version } = require('rocketmq-client-nodejs/package.json');

const CODE_NAMES = new Map(Object.entries(Code).map(([name, number]) => [number, name]));
const REQUEST_TIMEOUT_MS = 3000;
const SUSPEND_MS = 1000;
// Before an expression that is not of tags.
const SQL_MARK = 'sql:';
// Standard output belongs to the answers.
const TALKATIVE = new console.Console(process.stderr);
const SILENT = { info() {}, warn() {}, error() {}, debug() {}, close() {} };

// The clients of this process by name, received messages by receipt handle, transactions by id.
const clients = new Map();
const received = new Map();
const transactions = new Map();

function answer(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

// The code is null where the client refused by itself or the connection failed.
function failure(error) {
  const fromServer = error.name === 'ClientException' || typeof error.code === 'number' && error.code >= 20000;
  return {
    code: fromServer ? CODE_NAMES.get(error.code) ?? null : null,
    message: error.message,
    class: error.constructor.name,
  };
}

function options(command) {
  const given = {
    endpoints: command.endpoint,
    namespace: command.namespace,
    sslEnabled: command.tls,
    requestTimeout: REQUEST_TIMEOUT_MS,
    logger: process.env.DRIVER_LOG ? TALKATIVE : SILENT,
  };
  if (command.access_key != null) {
    given.sessionCredentials = { accessKey: command.access_key, accessSecret: command.secret_key };
    if (command.session_token != null) given.sessionCredentials.securityToken = command.session_token;
  }
  return given;
}

async function outgoing(fields) {
  return {
    topic: fields.topic,
    body: fields.file ? await fs.readFile(fields.file) : Buffer.from(fields.body, 'hex'),
    tag: fields.tag ?? undefined,
    keys: fields.keys ?? [],
    properties: new Map(Object.entries(fields.properties ?? {})),
    messageGroup: fields.group ?? undefined,
    priority: fields.priority ?? undefined,
    liteTopic: fields.lite ?? undefined,
    deliveryTimestamp: fields.deliver_ms != null ? new Date(fields.deliver_ms) : undefined,
  };
}

function incoming(message, digest) {
  return {
    id: message.messageId,
    topic: message.topic,
    tag: message.tag || null,
    keys: [...message.keys].sort(),
    properties: Object.fromEntries(message.properties),
    body: digest ? null : message.body.toString('hex'),
    sha256: digest ? crypto.createHash('sha256').update(message.body).digest('hex') : null,
    attempt: message.deliveryAttempt,
    born_ms: message.bornTimestamp?.getTime() ?? 0,
    priority: message.priority ?? null,
    lite: message.liteTopic || null,
    deliver_ms: message.deliveryTimestamp?.getTime() ?? null,
    handle: message.receiptHandle,
    corrupted: message.corrupted ?? false,
  };
}

function subscriptions(command) {
  const expression = text => (text.startsWith(SQL_MARK)
    ? new FilterExpression(text.slice(SQL_MARK.length), FilterType.SQL)
    : text);
  return new Map(Object.entries(command.subscriptions).map(([topic, text]) => [topic, expression(text)]));
}

async function start(command, client) {
  await client.startup();
  clients.set(command.name, client);
}

// A lite push consumer; its listener puts each first delivery off where that is asked for.
function litePush(command) {
  const seen = new Set();
  return new LitePushConsumerBuilder()
    .setClientConfiguration(options(command))
    .setConsumerGroup(command.group)
    .bindTopic(Object.keys(command.subscriptions)[0])
    .setMessageListener({
      async consume(message) {
        const failed = command.suspend_first && !seen.has(message.messageId);
        seen.add(message.messageId);
        answer({ delivery: incoming(message, false), name: command.name, failed });
        return failed ? ConsumeResultSuspend.of(SUSPEND_MS) : ConsumeResult.SUCCESS;
      },
    })
    .build();
}

// Reports every question about a transaction, and commits it.
function checker(command) {
  return {
    async check(message) {
      answer({ delivery: incoming(message, false), name: command.name, failed: false });
      return TransactionResolution.COMMIT;
    },
  };
}

const commands = {
  start_producer(command) {
    const given = { ...options(command), topics: command.topics };
    return start(command, new Producer(command.transactions ? { ...given, checker: checker(command) } : given));
  },

  start_simple(command) {
    return start(command, new SimpleConsumer({
      ...options(command),
      consumerGroup: command.group,
      subscriptions: subscriptions(command),
      awaitDuration: command.wait_ms,
    }));
  },

  async start_push(command) {
    if (command.lite) {
      clients.set(command.name, await litePush(command));
      return;
    }
    await start(command, new PushConsumer({
      ...options(command),
      consumerGroup: command.group,
      subscriptions: subscriptions(command),
      messageListener: {
        async consume(message) {
          const meant = command.fail_body == null || message.body.toString() === command.fail_body;
          const failed = meant && message.deliveryAttempt <= command.fail_attempts;
          answer({ delivery: incoming(message, false), name: command.name, failed });
          return failed ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        },
      },
    }));
  },

  async stop(command) {
    const client = clients.get(command.name);
    clients.delete(command.name);
    await client.shutdown();
  },

  async send(command) {
    const producer = clients.get(command.name);
    const sent = { ids: [], recall_handles: [] };
    for (const fields of command.messages) {
      const receipt = await producer.send(await outgoing(fields));
      sent.ids.push(receipt.messageId);
      sent.recall_handles.push(receipt.recallHandle ?? '');
    }
    return sent;
  },

  async recall(command) {
    const receipt = await clients.get(command.name).recallMessage(command.topic, command.recall_handle);
    return { ids: [receipt.messageId] };
  },

  async send_half(command) {
    const producer = clients.get(command.name);
    const transaction = producer.beginTransaction();
    const receipt = await producer.send(await outgoing(command.message), transaction);
    transactions.set(receipt.transactionId, transaction);
    return { ids: [receipt.messageId], transaction: receipt.transactionId };
  },

  async end_transaction(command) {
    const transaction = transactions.get(command.transaction);
    transactions.delete(command.transaction);
    await (command.commit ? transaction.commit() : transaction.rollback());
  },

  async receive(command) {
    const messages = await clients.get(command.name).receive(command.max, command.invisible_ms);
    for (const message of messages) received.set(message.receiptHandle, message);
    return { messages: messages.map(message => incoming(message, command.digest)) };
  },

  async ack(command) {
    const consumer = clients.get(command.name);
    for (const handle of command.handles) {
      const message = received.get(handle);
      // A change of the invisible time gave the message a newer handle; this one is asked for.
      message.receiptHandle = handle;
      await consumer.ack(message);
      received.delete(handle);
    }
  },

  async subscribe_lite(command) {
    const consumer = clients.get(command.name);
    await (command.on ? consumer.subscribeLite(command.lite) : consumer.unsubscribeLite(command.lite));
  },

  async change_invisible(command) {
    const message = received.get(command.handle);
    message.receiptHandle = command.handle;
    await clients.get(command.name).changeInvisibleDuration(message, command.invisible_ms);
    received.set(message.receiptHandle, message);
    return { handle: message.receiptHandle };
  },
};

async function run(command) {
  try {
    answer({ id: command.id, ok: await commands[command.do](command) ?? {} });
  } catch (error) {
    answer({ id: command.id, error: failure(error) });
  }
}

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', line => run(JSON.parse(line)));
// A push consumer keeps the process alive by itself, so the end of the input ends it.
lines.on('close', () => process.exit(0));
answer({ ready: 'node', version });
