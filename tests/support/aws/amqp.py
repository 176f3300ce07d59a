"""An application with a message broker: amqp.py URI CA ACTION QUEUE [TEXT].

Declares a queue, sends or receives a message, or holds a connection until the server closes it. Prints what came of it;
a refusal is an error with the server's reason.
"""

import ssl
import sys

import pika

uri, ca, action, queue, *text = sys.argv[1:]
parameters = pika.URLParameters(uri)
parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=ca), parameters.host)
parameters.heartbeat = 60
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
if action == "declare":
    channel.queue_declare(queue)
elif action == "send":
    channel.confirm_delivery()
    channel.basic_publish("", queue, text[0].encode())
elif action == "receive":
    _, _, body = channel.basic_get(queue, auto_ack=True)
    print(body.decode())
elif action == "hold":
    print("connected", flush=True)
    try:
        while True:
            connection.process_data_events(time_limit=60)
    except pika.exceptions.ConnectionClosed as closed:
        print(closed)
        sys.exit()
connection.close()
