package peers;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/** The table that the peer fills. */
final class Table implements AutoCloseable {
    private final String name;
    private final Connection connection;
    private final PreparedStatement times;

    private Table(String name, Connection connection) throws SQLException {
        this.name = name;
        this.connection = connection;
        this.times =
                connection.prepareStatement("SELECT order_id, updated_at FROM " + name + " WHERE order_id = ANY (?)");
    }

    /** Creates the table like readcast. An existing table is refused, because it may contain data. */
    static Table create(String url, String name) throws SQLException {
        if (!name.matches("[a-z_][a-z0-9_]*")) {
            throw new Failure("The name of the table must be of lower-case letters, digits and underscores: " + name);
        }
        Connection connection = DriverManager.getConnection(url);
        try (Statement statement = connection.createStatement()) {
            ResultSet found = statement.executeQuery("SELECT to_regclass('" + name + "') IS NOT NULL");
            found.next();
            if (found.getBoolean(1)) {
                throw new Failure("The table " + name + " is there already. Each run needs a fresh database.");
            }
            statement.execute(
                    "CREATE TABLE "
                            + name
                            + " (order_id text NOT NULL PRIMARY KEY, customer_id text NOT NULL,"
                            + " customer_email text NOT NULL, status text NOT NULL, item_count bigint NOT NULL,"
                            + " total_amount numeric(28,2) NOT NULL, updated_at timestamptz NOT NULL)");
            statement.execute("CREATE INDEX ON " + name + " (customer_id)");
        }
        return new Table(name, connection);
    }

    boolean hasRows() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery("SELECT EXISTS (SELECT FROM " + name + ")")) {
            found.next();
            return found.getBoolean(1);
        }
    }

    /** When these orders were last updated. Missing orders are left out. */
    Map<String, Instant> updated(Set<String> orders) throws SQLException {
        times.setArray(1, connection.createArrayOf("text", orders.toArray()));
        Map<String, Instant> updated = new HashMap<>();
        try (ResultSet found = times.executeQuery()) {
            while (found.next()) {
                updated.put(found.getString(1), found.getObject(2, OffsetDateTime.class).toInstant());
            }
        }
        return updated;
    }

    /** Compares every row. */
    void verify(Map<String, Row> expected) throws SQLException {
        long rows = 0;
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(10_000);
            ResultSet found =
                    statement.executeQuery(
                            "SELECT order_id, customer_id, customer_email, status, item_count, total_amount,"
                                    + " updated_at FROM "
                                    + name);
            while (found.next()) {
                Row row = row(found);
                rows += 1;
                if (!row.equals(expected.get(row.orderId()))) {
                    throw new Failure("The peer wrote " + row + " where the log says " + expected.get(row.orderId()) + ".");
                }
            }
        }
        if (rows != expected.size()) {
            throw new Failure("The peer wrote " + rows + " rows of " + expected.size() + " orders.");
        }
    }

    private static Row row(ResultSet found) throws SQLException {
        return new Row(
                found.getString(1),
                found.getString(2),
                found.getString(3),
                found.getString(4),
                found.getLong(5),
                found.getBigDecimal(6),
                found.getObject(7, OffsetDateTime.class).toInstant());
    }

    @Override
    public void close() throws SQLException {
        connection.close();
    }
}
