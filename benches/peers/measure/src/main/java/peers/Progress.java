package peers;

import java.sql.SQLException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The progress of the peer, read from its table: a mark is passed when the row of its order is at least as new. The peer
 * writes each partition in order, so only the next mark of each is queried.
 */
final class Progress {
    private final List<List<Row>> marks = new ArrayList<>();
    private final int all;
    private int passed;

    Progress(List<List<Row>> marks) {
        marks.forEach(partition -> this.marks.add(new ArrayList<>(partition)));
        this.all = marks.stream().mapToInt(List::size).sum();
    }

    void look(Table table) throws SQLException {
        Set<String> next = new HashSet<>();
        for (List<Row> partition : marks) {
            partition.stream().findFirst().ifPresent(mark -> next.add(mark.orderId()));
        }
        Map<String, Instant> updated = table.updated(next);
        for (List<Row> partition : marks) {
            while (!partition.isEmpty() && isPassed(partition.get(0), updated)) {
                partition.remove(0);
                passed += 1;
            }
        }
    }

    private static boolean isPassed(Row mark, Map<String, Instant> updated) {
        Instant at = updated.get(mark.orderId());
        return at != null && !at.isBefore(mark.updatedAt());
    }

    int passed() {
        return passed;
    }

    boolean isHalf() {
        return passed * 2 >= all;
    }

    boolean isComplete() {
        return passed == all;
    }
}
