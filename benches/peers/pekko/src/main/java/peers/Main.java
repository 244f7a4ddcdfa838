package peers;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigFactory;
import com.zaxxer.hikari.HikariDataSource;
import java.time.Duration;
import java.util.Map;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.pekko.actor.typed.ActorSystem;
import org.apache.pekko.actor.typed.Behavior;
import org.apache.pekko.actor.typed.Props;
import org.apache.pekko.actor.typed.javadsl.Behaviors;
import org.apache.pekko.kafka.ConsumerSettings;
import org.apache.pekko.projection.Projection;
import org.apache.pekko.projection.ProjectionBehavior;
import org.apache.pekko.projection.ProjectionId;
import org.apache.pekko.projection.jdbc.javadsl.JdbcProjection;

/** Projects a topic into {@code order_summary} until it is stopped, with one projection instance for each partition. */
public final class Main {
    private final String bootstrap;
    private final String topic;
    private final String mode;
    private final int group;
    private final int poll;

    private Main(String bootstrap, String topic, String mode, int group, int poll) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.mode = mode;
        this.group = group;
        this.poll = poll;
    }

    public static void main(String[] arguments) throws Exception {
        int group = Integer.parseInt(arguments[4]);
        int poll = Integer.parseInt(arguments[5]);
        new Main(arguments[0], arguments[1], arguments[3], group, poll).run(arguments[2]);
    }

    private void run(String url) throws Exception {
        int partitions = partitions();
        DataSource pool = pool(url, partitions);
        String threads = "pekko.projection.jdbc.blocking-jdbc-dispatcher.thread-pool-executor.fixed-pool-size";
        Config config = ConfigFactory.parseString(threads + " = " + partitions).withFallback(ConfigFactory.load());
        ActorSystem<Void> system = ActorSystem.create(Behaviors.empty(), "peer", config);
        Supplier<Session> sessions = () -> Session.open(pool);
        JdbcProjection.createTablesIfNotExists(sessions, system).toCompletableFuture().get();
        ConsumerSettings<String, byte[]> settings = consumerSettings(system);
        for (int partition = 0; partition < partitions; partition += 1) {
            Projection<ConsumerRecord<String, byte[]>> projection =
                    projection(new TopicPartition(topic, partition), settings, sessions, system);
            Behavior<ProjectionBehavior.Command> behavior = ProjectionBehavior.create(projection);
            system.systemActorOf(behavior, "order-summary-" + partition, Props.empty());
        }
    }

    private Projection<ConsumerRecord<String, byte[]>> projection(
            TopicPartition partition,
            ConsumerSettings<String, byte[]> settings,
            Supplier<Session> sessions,
            ActorSystem<Void> system) {
        ProjectionId id = ProjectionId.of("order_summary", String.valueOf(partition.partition()));
        PartitionSource source = new PartitionSource(settings, partition);
        return switch (mode) {
            case "exactly-once" ->
                    JdbcProjection.exactlyOnce(id, source, sessions, OrderSummary.OfEach::new, system);
            case "grouped" ->
                    JdbcProjection.groupedWithin(id, source, sessions, OrderSummary.OfGroups::new, system)
                            .withGroup(group, Duration.ofMillis(50));
            default -> throw new IllegalArgumentException(mode);
        };
    }

    private ConsumerSettings<String, byte[]> consumerSettings(ActorSystem<Void> system) {
        return ConsumerSettings.create(system, new StringDeserializer(), new ByteArrayDeserializer())
                .withBootstrapServers(bootstrap)
                .withProperty(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, String.valueOf(poll));
    }

    private int partitions() {
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            return consumer.partitionsFor(topic).size();
        }
    }

    private static DataSource pool(String url, int connections) {
        HikariDataSource pool = new HikariDataSource();
        pool.setJdbcUrl(url);
        pool.addDataSourceProperty("reWriteBatchedInserts", "true");
        pool.setAutoCommit(false);
        pool.setMaximumPoolSize(connections);
        return pool;
    }
}
