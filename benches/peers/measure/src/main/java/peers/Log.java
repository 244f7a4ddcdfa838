package peers;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The content of the topic: the expected rows, and the marks of progress. */
final class Log {
    /** The number of marks of a partition. The last record is always one. */
    private static final int MARKS_A_PARTITION = 20;

    /** The last row of each order. */
    final Map<String, Row> rows = new HashMap<>();

    /** The marks of each partition, in the order of the log. */
    final List<List<Row>> marks = new ArrayList<>();

    static Log read(String bootstrap, String topic, long events) throws IOException {
        Log log = new Log();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap)) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(topic).stream().map(of -> new TopicPartition(topic, of.partition())).toList();
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long held = ends.values().stream().mapToLong(Long::longValue).sum();
            if (held != events) {
                throw new Failure("The topic " + topic + " holds " + held + " records, not " + events + ".");
            }
            for (TopicPartition partition : partitions) {
                log.readPartition(consumer, partition, ends.get(partition));
            }
        }
        return log;
    }

    private void readPartition(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long end)
            throws IOException {
        consumer.assign(List.of(partition));
        consumer.seekToBeginning(List.of(partition));
        List<Row> marks = new ArrayList<>();
        long next = 0;
        while (next < end) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                Row row = Events.row(record.value());
                rows.put(row.orderId(), row);
                next = record.offset() + 1;
                if (next * MARKS_A_PARTITION / end > marks.size()) {
                    marks.add(row);
                }
            }
        }
        this.marks.add(marks);
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "5000");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
