package peers;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.io.IOException;
import java.time.Instant;
import java.util.Locale;

/** The two formats of an event: that of the shop, and the flat row for the sink. */
final class Events {
    private static final ObjectMapper JSON =
            new ObjectMapper()
                    .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
                    .setNodeFactory(JsonNodeFactory.withExactBigDecimals(true));

    private Events() {}

    /** The row after this event. */
    static Row row(byte[] value) throws IOException {
        JsonNode event = JSON.readTree(value);
        return event.has("type") ? ofTheShop(event) : flat(event);
    }

    private static Row ofTheShop(JsonNode event) {
        JsonNode data = event.get("data");
        JsonNode customer = data.get("customer");
        long items = 0;
        for (JsonNode item : data.get("items")) {
            items += item.get("quantity").longValue();
        }
        return new Row(
                data.get("order_id").textValue(),
                customer.get("id").textValue(),
                customer.get("email").textValue(),
                event.get("type").textValue().substring("ORDER_".length()).toLowerCase(Locale.ROOT),
                items,
                data.get("total_amount").decimalValue(),
                Instant.parse(event.get("timestamp").textValue()));
    }

    private static Row flat(JsonNode row) {
        return new Row(
                row.get("order_id").textValue(),
                row.get("customer_id").textValue(),
                row.get("customer_email").textValue(),
                row.get("status").textValue(),
                row.get("item_count").longValue(),
                row.get("total_amount").decimalValue(),
                Instant.parse(row.get("updated_at").textValue()));
    }
}
