import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.data.Json;
import io.debezium.transforms.outbox.EventRouter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.ArrayList;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.HeaderConverter;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;
import org.apache.kafka.connect.storage.StringConverter;

/**
 * Writes events as Debezium does that captures an outbox table: each row goes through the outbox event router and the
 * converters that Kafka Connect is run with, and is then sent.
 *
 * <p>Arguments: the brokers, the topic, and a file with a JSON object in each line: {@code key} and {@code event}, which is an
 * envelope of readcast.
 */
class Outbox {
    static final ObjectMapper JSON = new ObjectMapper();
    static final Schema ROW = SchemaBuilder.struct().name("bank.public.outbox.Value").optional()
        .field("id", Schema.STRING_SCHEMA)
        .field("aggregatetype", Schema.STRING_SCHEMA)
        .field("aggregateid", Schema.STRING_SCHEMA)
        .field("type", Schema.STRING_SCHEMA)
        .field("payload", Json.builder().optional().build())
        .build();
    static final Schema ENVELOPE = SchemaBuilder.struct().name("bank.public.outbox.Envelope")
        .field("before", ROW)
        .field("after", ROW)
        .field("op", Schema.STRING_SCHEMA)
        .field("ts_ms", Schema.OPTIONAL_INT64_SCHEMA)
        .build();

    /** A router with the converter of values behind it. */
    record Pipe(EventRouter<SourceRecord> router, Converter values) {
        static Pipe of(boolean expands, Converter values, boolean withSchemas) {
            var router = new EventRouter<SourceRecord>();
            router.configure(Map.of(
                "route.topic.regex", "(.*)", "route.topic.replacement", "$1",
                "table.expand.json.payload", Boolean.toString(expands),
                "table.fields.additional.placement", "type:header:eventType"));
            values.configure(Map.of("schemas.enable", Boolean.toString(withSchemas)), false);
            return new Pipe(router, values);
        }
    }

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        // The three ways in which teams run it: the payload as an object, as a text that holds JSON, and beside its schema.
        List<Pipe> pipes = List.of(
            Pipe.of(true, new JsonConverter(), false),
            Pipe.of(false, new StringConverter(), false),
            Pipe.of(false, new JsonConverter(), false),
            Pipe.of(true, new JsonConverter(), true));
        HeaderConverter headers = new SimpleHeaderConverter();
        Converter keys = new StringConverter();
        keys.configure(Map.of(), true);
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", args[0], "linger.ms", 50));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line : Files.readAllLines(Path.of(args[2]))) {
                Pipe pipe = pipes.get(sent.size() % pipes.size());
                SourceRecord routed = pipe.router.apply(captured(JSON.readTree(line), topic));
                Headers written = new RecordHeaders();
                routed.headers().forEach(header -> written.add(
                    header.key(), headers.fromConnectHeader(topic, header.key(), header.schema(), header.value())));
                byte[] key = keys.fromConnectData(topic, routed.keySchema(), routed.key());
                byte[] value = pipe.values.fromConnectData(topic, routed.valueSchema(), routed.value());
                sent.add(producer.send(
                    new ProducerRecord<>(routed.topic(), null, routed.timestamp(), key, value, written)));
            }
        }
        for (Future<RecordMetadata> one : sent) {
            one.get();
        }
    }

    /** The insertion of a row into the outbox table, as a connector captures it. */
    static SourceRecord captured(JsonNode line, String topic) {
        JsonNode event = line.get("event");
        long millis = Instant.parse(event.get("timestamp").asText()).toEpochMilli();
        Struct row = new Struct(ROW)
            .put("id", event.get("event_id").asText())
            .put("aggregatetype", topic)
            .put("aggregateid", line.get("key").asText())
            .put("type", event.get("type").asText())
            .put("payload", event.get("data").toString());
        Struct change = new Struct(ENVELOPE).put("after", row).put("op", "c").put("ts_ms", millis);
        return new SourceRecord(Map.of(), Map.of(), "bank.public.outbox", null, null, null, ENVELOPE, change, millis);
    }
}
