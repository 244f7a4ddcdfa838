package peers;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.time.OffsetDateTime;
import java.util.List;

/** The parts of a shop event that {@code order_summary} needs. */
record Event(String type, String timestamp, Data data) {
    record Data(String order_id, Customer customer, List<Item> items, BigDecimal total_amount) {}

    record Customer(String id, String email) {}

    record Item(long quantity) {}

    private static final ObjectReader READER =
            new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).readerFor(Event.class);

    static Event read(byte[] json) {
        try {
            return READER.readValue(json);
        } catch (IOException broken) {
            throw new UncheckedIOException(broken);
        }
    }

    String status() {
        return switch (type) {
            case "ORDER_PLACED" -> "placed";
            case "ORDER_PAID" -> "paid";
            case "ORDER_SHIPPED" -> "shipped";
            case "ORDER_CANCELLED" -> "cancelled";
            case "ORDER_REFUNDED" -> "refunded";
            default -> throw new IllegalArgumentException(type + " is no event of an order");
        };
    }

    long itemCount() {
        long count = 0;
        for (Item item : data.items()) {
            count += item.quantity();
        }
        return count;
    }

    OffsetDateTime time() {
        return OffsetDateTime.parse(timestamp);
    }
}
