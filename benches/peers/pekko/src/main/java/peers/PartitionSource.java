package peers;

import java.util.Optional;
import java.util.concurrent.CompletionStage;
import java.util.function.Supplier;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.pekko.NotUsed;
import org.apache.pekko.kafka.ConsumerSettings;
import org.apache.pekko.kafka.Subscriptions;
import org.apache.pekko.kafka.javadsl.Consumer;
import org.apache.pekko.projection.javadsl.SourceProvider;
import org.apache.pekko.stream.javadsl.Source;

/** The records of one partition after the offset that the projection has stored. README.md gives the reason. */
final class PartitionSource extends SourceProvider<Long, ConsumerRecord<String, byte[]>> {
    private final ConsumerSettings<String, byte[]> settings;
    private final TopicPartition partition;

    PartitionSource(ConsumerSettings<String, byte[]> settings, TopicPartition partition) {
        this.settings = settings;
        this.partition = partition;
    }

    @Override
    public CompletionStage<Source<ConsumerRecord<String, byte[]>, NotUsed>> source(
            Supplier<CompletionStage<Optional<Long>>> offset) {
        return offset.get().thenApply(stored -> from(stored.map(last -> last + 1).orElse(0L)));
    }

    private Source<ConsumerRecord<String, byte[]>, NotUsed> from(long next) {
        return Consumer.plainSource(settings, Subscriptions.assignmentWithOffset(partition, next))
                .mapMaterializedValue(control -> NotUsed.getInstance());
    }

    @Override
    public Long extractOffset(ConsumerRecord<String, byte[]> record) {
        return record.offset();
    }

    @Override
    public long extractCreationTime(ConsumerRecord<String, byte[]> record) {
        return record.timestamp();
    }
}
