package peers;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.pekko.projection.jdbc.javadsl.JdbcHandler;

/** The rows that both handlers write. */
final class OrderSummary {
    private static final String UPSERT =
            "INSERT INTO order_summary"
                    + " (order_id, customer_id, customer_email, status, item_count, total_amount, updated_at)"
                    + " VALUES (?, ?, ?, ?, ?, ?, ?)"
                    + " ON CONFLICT (order_id) DO UPDATE SET customer_id = EXCLUDED.customer_id,"
                    + " customer_email = EXCLUDED.customer_email, status = EXCLUDED.status,"
                    + " item_count = EXCLUDED.item_count, total_amount = EXCLUDED.total_amount,"
                    + " updated_at = EXCLUDED.updated_at";

    private OrderSummary() {}

    /** One transaction for each event. */
    static final class OfEach extends JdbcHandler<ConsumerRecord<String, byte[]>, Session> {
        @Override
        public void process(Session session, ConsumerRecord<String, byte[]> record) {
            write(session, List.of(Event.read(record.value())));
        }
    }

    /**
     * One transaction and one batch for each group. Of several events of an order only the last is written: a statement
     * with many rows must not contain a row twice, and this is faster.
     */
    static final class OfGroups extends JdbcHandler<List<ConsumerRecord<String, byte[]>>, Session> {
        @Override
        public void process(Session session, List<ConsumerRecord<String, byte[]>> group) {
            Map<String, Event> last = new LinkedHashMap<>();
            for (ConsumerRecord<String, byte[]> record : group) {
                Event event = Event.read(record.value());
                last.put(event.data().order_id(), event);
            }
            write(session, last.values());
        }
    }

    private static void write(Session session, Iterable<Event> events) {
        session.withConnection(connection -> upsert(connection, events));
    }

    private static Void upsert(Connection connection, Iterable<Event> events) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(UPSERT)) {
            for (Event event : events) {
                bind(statement, event);
                statement.addBatch();
            }
            statement.executeBatch();
        }
        return null;
    }

    private static void bind(PreparedStatement statement, Event event) throws SQLException {
        Event.Data order = event.data();
        statement.setString(1, order.order_id());
        statement.setString(2, order.customer().id());
        statement.setString(3, order.customer().email());
        statement.setString(4, event.status());
        statement.setLong(5, event.itemCount());
        statement.setBigDecimal(6, order.total_amount());
        statement.setObject(7, event.time());
    }
}
