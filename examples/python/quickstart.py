"""A first message with the official Python client: pip install rocketmq-python-client==5.1.2"""

import sys

from rocketmq import (ClientConfiguration, Credentials, FilterExpression,
                      Message, Producer, SimpleConsumer)

endpoint = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8081"
configuration = ClientConfiguration(endpoint, Credentials())
topic, group = "greetings", "python-readers"

producer = Producer(configuration, (topic,))
producer.startup()
message = Message()
message.topic = topic
message.tag = "hello"
message.body = "Hello from Python".encode()
print("sent", producer.send(message).message_id)
producer.shutdown()

consumer = SimpleConsumer(configuration, group, {topic: FilterExpression("*")}, 5)
consumer.startup()
for received in consumer.receive(16, 15) or []:
    print("received", received.message_id, received.body.decode())
    consumer.ack(received)
consumer.shutdown()
