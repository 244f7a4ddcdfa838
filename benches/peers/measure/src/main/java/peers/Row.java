package peers;

import java.math.BigDecimal;
import java.time.Instant;

/** A row of {@code order_summary}, without the columns that the peers do not write. */
record Row(
        String orderId,
        String customerId,
        String customerEmail,
        String status,
        long itemCount,
        BigDecimal totalAmount,
        Instant updatedAt) {

    /** Amounts are compared with two decimals, as in the column. */
    Row {
        totalAmount = totalAmount.setScale(2);
    }
}
