package peers;

import java.sql.Connection;
import java.sql.SQLException;
import javax.sql.DataSource;
import org.apache.pekko.japi.function.Function;
import org.apache.pekko.projection.jdbc.JdbcSession;

/** One transaction on a connection of the pool. */
final class Session implements JdbcSession {
    private final Connection connection;

    private Session(Connection connection) {
        this.connection = connection;
    }

    /** The connections of the pool have no auto-commit. */
    static Session open(DataSource pool) {
        try {
            return new Session(pool.getConnection());
        } catch (SQLException failed) {
            throw new IllegalStateException(failed);
        }
    }

    @Override
    public <Result> Result withConnection(Function<Connection, Result> action) {
        try {
            return action.apply(connection);
        } catch (RuntimeException failed) {
            throw failed;
        } catch (Exception failed) {
            throw new IllegalStateException(failed);
        }
    }

    @Override
    public void commit() throws SQLException {
        connection.commit();
    }

    @Override
    public void rollback() throws SQLException {
        connection.rollback();
    }

    @Override
    public void close() throws SQLException {
        connection.close();
    }
}
