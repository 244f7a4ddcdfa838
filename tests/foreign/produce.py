"""Writes the events of a bank as its services would: each topic in a format of its own, by the clients that services use.

    produce.py BOOTSTRAP REGISTRY PREFIX EVENTS

EVENTS is a file with a JSON object in each line: `topic`, `key` and `event`, which is an envelope of readcast.
"""

import json
import sys
from datetime import datetime
from decimal import Decimal

from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.type import money_pb2

bootstrap, registry, prefix, path = sys.argv[1:]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
producers = [
    Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 50}) for codec in CODECS
]
schemas = SchemaRegistryClient({"url": registry})

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 14, "scale": 2}
FIXED_MONEY = {"type": "fixed", "name": "Money", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 2}


def avro_schema(money):
    text = {"type": "string"}
    optional = ["null", "string"]
    fields = [("event_id", text), ("occurred_at", {"type": "long", "logicalType": "timestamp-millis"})]
    data = [("transfer_id", text), ("note", optional), ("from", text), ("to", text), ("amount", money)]
    transfer = {"type": "record", "name": "Transfer", "fields": [{"name": n, "type": t} for n, t in data]}
    fields = [{"name": n, "type": t} for n, t in fields + [("transfer", transfer)]]
    return json.dumps({"type": "record", "name": "TransferBooked", "namespace": "com.bank", "fields": fields})


# Two schemas of one topic: a decimal in bytes of any length, and in a fixed number of bytes.
avro = [AvroSerializer(schemas, avro_schema(money), conf={"subject.name.strategy": lambda ctx, name: f"{ctx.topic}-{i}"})
        for i, money in enumerate([MONEY, FIXED_MONEY])]
key_of_online = AvroSerializer(schemas, '"string"')
json_schema = JSONSerializer(
    json.dumps({
        "title": "TransferBooked", "type": "object", "required": ["transfer_id", "amount"],
        "properties": {"transfer_id": {"type": "string"}, "amount": {"type": "string"}},
    }),
    schemas,
)


def protobuf_class():
    """The class of a message that is not the first of its file, and that imports a file of Google's and one of its types."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="transfer.proto", package="com.bank", syntax="proto3",
        dependency=[timestamp_pb2.DESCRIPTOR.name, money_pb2.DESCRIPTOR.name],
    )
    file.message_type.add(name="Unrelated")
    booked = file.message_type.add(name="TransferBooked")
    transfer = booked.nested_type.add(name="Transfer")

    def field(message, number, name, kind=kinds.TYPE_STRING):
        of_message = {"type": kinds.TYPE_MESSAGE, "type_name": kind} if isinstance(kind, str) else {"type": kind}
        message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, **of_message)

    field(booked, 1, "event_id")
    field(booked, 2, "occurred_at", ".google.protobuf.Timestamp")
    field(booked, 3, "transfer", ".com.bank.TransferBooked.Transfer")
    for number, name in enumerate(["transfer_id", "from", "to"], 1):
        field(transfer, number, name)
    field(transfer, 4, "amount", ".google.type.Money")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("com.bank.TransferBooked"))


Booked = protobuf_class()
protobuf = ProtobufSerializer(Booked, schemas, {"use.deprecated.format": False})


def millis(event):
    return int(datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp() * 1000)


def write(topic, key, value, headers=(), producer=0):
    producers[producer].produce(
        prefix + topic, value, key, headers=list(headers),
        on_delivery=lambda error, _: error and sys.exit(f"not delivered: {error}"),
    )
    producers[producer].poll(0)


def cloud_event(n, key, event):
    attributes = {"id": event["event_id"], "source": "/bank/accounts", "type": "com.bank." + event["type"],
                  "time": datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")),
                  "datacontenttype": "application/json", "partitionkey": key}
    message = (to_binary_event if n % 2 else to_structured_event)(CloudEvent(attributes, event["data"]))
    write("accounts", message.key, message.value, message.headers.items())


def transfer(n, key, event):
    data, amount = event["data"], Decimal(event["data"]["amount"])
    headers = [("eventType", event["type"]), ("eventId", event["event_id"]), ("occurredAt", str(millis(event)))]
    kind, producer = n % 5, n % len(CODECS)
    if kind == 0:
        write("transfers", key, json.dumps(data), headers + [("version", "1")], producer)
    elif kind == 1:
        minor = {k: v for k, v in data.items() if k != "amount"} | {"minor_units": int(amount * 100)}
        write("transfers", key, json.dumps(minor), headers + [("version", "2")], producer)
    elif kind == 2:
        record = {"event_id": event["event_id"], "occurred_at": millis(event),
                  "transfer": data | {"amount": amount.quantize(Decimal("0.01")), "note": None if n % 3 else "by card"}}
        context = SerializationContext(prefix + "transfers-online", MessageField.VALUE)
        of_key = SerializationContext(prefix + "transfers-online", MessageField.KEY)
        write("transfers-online", key_of_online(key, of_key), avro[n // 5 % 2](record, context), producer=producer)
    elif kind == 3:
        message = Booked(event_id=event["event_id"])
        message.occurred_at.FromMilliseconds(millis(event))
        for name in ["transfer_id", "from", "to"]:
            setattr(message.transfer, name, data[name])
        message.transfer.amount.CopyFrom(money_pb2.Money(
            currency_code="EUR", units=int(amount), nanos=int(amount % 1 * 10**9)))
        context = SerializationContext(prefix + "transfers-mobile", MessageField.VALUE)
        write("transfers-mobile", key, protobuf(message, context), producer=producer)
    else:
        context = SerializationContext(prefix + "transfers-terminal", MessageField.VALUE)
        value = json_schema(data, context)
        write("transfers-terminal", key, value, headers, producer)


WRITERS = {"accounts": cloud_event, "transfers": transfer}
with open(path) as lines:
    for number, line in enumerate(lines):
        event = json.loads(line, parse_float=str)  # An amount keeps its digits.
        WRITERS[event["topic"]](number, event["key"], event["event"])
for producer in producers:
    if producer.flush(60):
        sys.exit("not all records were delivered")
