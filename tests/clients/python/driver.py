"""Drives the official Python client: commands come in as JSON lines, answers leave as JSON lines.

The vocabulary is described in ../README.md. Every command runs on a thread of its own, so that a
long poll does not hold up a send.
"""

import hashlib
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

# Answers own the real standard output: whatever a library prints goes to standard error.
ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

from rocketmq import (ClientConfiguration, ConsumeResult, Credentials,  # noqa: E402
                      FilterExpression, LitePushConsumer, LiteSimpleConsumer, Message,
                      MessageListener, Producer, PushConsumer, SimpleConsumer, TransactionChecker,
                      TransactionResolution)
from rocketmq.grpc_protocol import Code, FilterType  # noqa: E402

PARALLEL_COMMANDS = 64
# Where a client's first query of a route fails it goes on without, and asks again after 10 s, then every 30 s.
SETTINGS_LIMIT_S = 45
# Before an expression that is not of tags.
SQL_MARK = "sql:"
ANSWER_LOCK = threading.Lock()


def answer(line):
    """Writes one JSON line to the harness."""
    text = json.dumps(line)
    with ANSWER_LOCK:
        ANSWERS.write(text + "\n")
        ANSWERS.flush()


def failure(error):
    """Describes an exception; the code is None where the client refused by itself."""
    code = getattr(error, "code", None)
    known = isinstance(code, int) and code in Code.values()
    return {
        "code": Code.Name(code) if known else None,
        "message": str(error) or repr(error),
        "class": type(error).__name__,
    }


def configuration(command):
    """The client configuration that a start command asks for."""
    credentials = Credentials(command.get("access_key") or "", command.get("secret_key") or "")
    return ClientConfiguration(command["endpoint"], credentials, command["namespace"])


def outgoing(fields):
    """Builds the client's message from the fields of a send command."""
    message = Message()
    message.topic = fields["topic"]
    if fields.get("file"):
        with open(fields["file"], "rb") as file:
            message.body = file.read()
    else:
        message.body = bytes.fromhex(fields["body"])
    if fields.get("tag") is not None:
        message.tag = fields["tag"]
    for key in fields.get("keys", []):
        message.keys = key
    for key, value in fields.get("properties", {}).items():
        message.add_property(key, value)
    if fields.get("group") is not None:
        message.message_group = fields["group"]
    if fields.get("priority") is not None:
        message.priority = fields["priority"]
    if fields.get("lite") is not None:
        message.lite_topic = fields["lite"]
    if fields.get("deliver_ms") is not None:
        message.delivery_timestamp = fields["deliver_ms"] // 1000
    return message


def expression(text):
    """Tags, or SQL92 behind its mark."""
    if text.startswith(SQL_MARK):
        return FilterExpression(text[len(SQL_MARK):], FilterType.SQL)
    return FilterExpression(text)


def incoming(message, digest):
    """Describes a received message; with `digest`, by the SHA-256 of its body instead of its bytes."""
    body = message.body
    return {
        "id": message.message_id,
        "topic": message.topic,
        "tag": message.tag,
        "keys": sorted(message.keys),
        "properties": dict(message.properties),
        "body": None if digest else body.hex(),
        "sha256": hashlib.sha256(body).hexdigest() if digest else None,
        "attempt": message.delivery_attempt or 0,
        "born_ms": message.born_timestamp,
        "priority": message.priority,
        "lite": message.lite_topic,
        "deliver_ms": message.delivery_timestamp or None,
        # A transaction checker's message has none.
        "handle": message.receipt_handle or "",
        "corrupted": message.corrupted,
    }


def await_settings(consumer):
    """Until the broker has told its quota this client refuses every subscription by itself."""
    manager = consumer._LiteSimpleConsumer__subscription_manager
    end = time.monotonic() + SETTINGS_LIMIT_S
    while manager.lite_subscription_quota == 0 and time.monotonic() < end:
        time.sleep(0.05)


class Listener(MessageListener):
    """Reports every delivery; fails those up to attempt `fail_attempts`, or of `fail_body` alone."""

    def __init__(self, command):
        self.name = command["name"]
        self.fail_attempts = command["fail_attempts"]
        self.fail_body = command["fail_body"]

    def consume(self, message):
        meant = self.fail_body is None or message.body == self.fail_body.encode()
        fail = meant and message.delivery_attempt <= self.fail_attempts
        answer({"delivery": incoming(message, False), "name": self.name, "failed": fail})
        return ConsumeResult.FAILURE if fail else ConsumeResult.SUCCESS


class Checker(TransactionChecker):
    """Reports every question about a transaction, and commits it."""

    def __init__(self, name):
        self.name = name

    def check(self, message):
        answer({"delivery": incoming(message, False), "name": self.name, "failed": False})
        return TransactionResolution.COMMIT


class Driver:
    """The clients of this process by name, and one method for each command."""

    def __init__(self):
        self.clients = {}
        self.received = {}
        self.transactions = {}

    def run(self, command):
        """Carries one command out and answers it."""
        try:
            reply = getattr(self, "do_" + command["do"])(command)
            answer({"id": command["id"], "ok": reply or {}})
        except Exception as error:  # every error is an answer
            answer({"id": command["id"], "error": failure(error)})

    def do_start_producer(self, command):
        checker = Checker(command["name"]) if command["transactions"] else None
        producer = Producer(configuration(command), command["topics"], checker, command["tls"])
        producer.startup()
        self.clients[command["name"]] = producer

    def do_start_simple(self, command):
        wait = {"await_duration": command["wait_ms"] // 1000, "tls_enable": command["tls"]}
        if command["lite"]:
            topic = next(iter(command["subscriptions"]))
            consumer = LiteSimpleConsumer(topic, configuration(command), command["group"], **wait)
        else:
            subscriptions = self.subscriptions(command)
            consumer = SimpleConsumer(configuration(command), command["group"], subscriptions, **wait)
        consumer.startup()
        if command["lite"]:
            await_settings(consumer)
        self.clients[command["name"]] = consumer

    def do_start_push(self, command):
        listener = Listener(command)
        if command["lite"]:
            topic = next(iter(command["subscriptions"]))
            kind, rest = LitePushConsumer, (topic, listener)
        else:
            kind, rest = PushConsumer, (listener, self.subscriptions(command))
        consumer = kind(configuration(command), command["group"], *rest, tls_enable=command["tls"])
        consumer.startup()
        self.clients[command["name"]] = consumer

    def subscriptions(self, command):
        return {topic: expression(text) for topic, text in command["subscriptions"].items()}

    def do_stop(self, command):
        self.clients.pop(command["name"]).shutdown()

    def do_send(self, command):
        producer = self.clients[command["name"]]
        receipts = [producer.send(outgoing(fields)) for fields in command["messages"]]
        return {
            "ids": [receipt.message_id for receipt in receipts],
            "recall_handles": [receipt.recall_handle or "" for receipt in receipts],
        }

    def do_recall(self, command):
        producer = self.clients[command["name"]]
        return {"ids": [producer.recall_message(command["topic"], command["recall_handle"])]}

    def do_send_half(self, command):
        producer = self.clients[command["name"]]
        transaction = producer.begin_transaction()
        receipt = producer.send(outgoing(command["message"]), transaction)
        self.transactions[receipt.transaction_id] = transaction
        return {"ids": [receipt.message_id], "transaction": receipt.transaction_id}

    def do_end_transaction(self, command):
        transaction = self.transactions.pop(command["transaction"])
        if command["commit"]:
            transaction.commit()
        else:
            transaction.rollback()

    def do_receive(self, command):
        consumer = self.clients[command["name"]]
        messages = consumer.receive(command["max"], command["invisible_ms"] // 1000) or []
        for message in messages:
            self.received[message.receipt_handle] = message
        return {"messages": [incoming(message, command["digest"]) for message in messages]}

    def do_ack(self, command):
        consumer = self.clients[command["name"]]
        for handle in command["handles"]:
            message = self.received[handle]
            # A change of the invisible time gave the message a newer handle; this one is asked for.
            message.receipt_handle = handle
            consumer.ack(message)
            del self.received[handle]

    def do_subscribe_lite(self, command):
        consumer = self.clients[command["name"]]
        change = consumer.subscribe_lite if command["on"] else consumer.unsubscribe_lite
        change(command["lite"])

    def do_change_invisible(self, command):
        message = self.received[command["handle"]]
        message.receipt_handle = command["handle"]
        consumer = self.clients[command["name"]]
        consumer.change_invisible_duration(message, command["invisible_ms"] // 1000)
        self.received[message.receipt_handle] = message
        return {"handle": message.receipt_handle}


def main():
    """Reads commands until standard input ends, then leaves without waiting for the clients."""
    driver = Driver()
    with ThreadPoolExecutor(PARALLEL_COMMANDS) as pool:
        answer({"ready": "python", "version": version("rocketmq-python-client")})
        for line in sys.stdin:
            pool.submit(driver.run, json.loads(line))
        # The client's threads are not daemons and would keep the process alive.
        os._exit(0)


if __name__ == "__main__":
    main()
