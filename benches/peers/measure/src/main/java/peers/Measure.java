package peers;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Starts a peer, watches the table that it fills, compares every row with the log, and prints one line of JSON.
 *
 * <p>The measurement starts when the first row is visible. The start of the JVM, joining the group and the first transaction are
 * not counted, which favours the peer. It ends when the last record of every partition is visible in the table.
 */
public final class Measure {
    private static final long MILLIS_BETWEEN_LOOKS = 10;
    private static final long SECONDS_WITHOUT_PROGRESS = 60;

    private final Map<String, String> options;
    private final List<String> command;

    private Measure(Map<String, String> options, List<String> command) {
        this.options = options;
        this.command = command;
    }

    /** Options as NAME=VALUE, then {@code --}, then the command that starts the peer. */
    public static void main(String[] arguments) {
        int split = Arrays.asList(arguments).indexOf("--");
        Map<String, String> options = new LinkedHashMap<>();
        for (String option : Arrays.asList(arguments).subList(0, split)) {
            int equals = option.indexOf('=');
            options.put(option.substring(0, equals), option.substring(equals + 1));
        }
        try {
            new Measure(options, Arrays.asList(arguments).subList(split + 1, arguments.length)).run();
        } catch (Failure failure) {
            System.err.println(failure.getMessage());
            System.exit(1);
        } catch (Exception exception) {
            exception.printStackTrace();
            System.exit(1);
        }
    }

    private void run() throws Exception {
        Log log = Log.read(options.get("bootstrap"), options.get("topic"), events());
        try (Table table = Table.create(options.get("url"), options.get("table"))) {
            long[] halfAndWhole;
            Peer.Cost cost;
            try (Peer peer = Peer.start(command, Path.of(options.get("log")))) {
                halfAndWhole = watch(peer, table, new Progress(log.marks));
                cost = peer.cost();
            }
            table.verify(log.rows);
            print(log.rows.size(), halfAndWhole[0] / 1e9, halfAndWhole[1] / 1e9, cost);
        }
    }

    /** The nanoseconds from the first row to half of the log, and to all of it. */
    private static long[] watch(Peer peer, Table table, Progress progress) throws Exception {
        long alive = System.nanoTime();
        while (!table.hasRows()) {
            pause(peer, alive);
        }
        long begun = System.nanoTime();
        long half = 0;
        alive = begun;
        while (!progress.isComplete()) {
            pause(peer, alive);
            int passed = progress.passed();
            progress.look(table);
            if (progress.passed() > passed) {
                alive = System.nanoTime();
            }
            if (half == 0 && progress.isHalf()) {
                half = System.nanoTime() - begun;
            }
        }
        return new long[] {half, System.nanoTime() - begun};
    }

    private static void pause(Peer peer, long alive) throws Exception {
        peer.mustRun();
        if (System.nanoTime() - alive > SECONDS_WITHOUT_PROGRESS * 1_000_000_000) {
            throw peer.failure("The peer has written nothing new for " + SECONDS_WITHOUT_PROGRESS + " s.");
        }
        Thread.sleep(MILLIS_BETWEEN_LOOKS);
    }

    private void print(int rows, double half, double whole, Peer.Cost cost) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("peer", options.get("peer"));
        line.put("version", options.get("version"));
        line.put("events", events());
        line.put("rows", rows);
        line.put("seconds", rounded(whole));
        line.put("seconds_of_second_half", rounded(whole - half));
        line.put("cpu_seconds", rounded(cost.cpuSeconds()));
        line.put("peak_mib", rounded(cost.peakMib()));
        line.put("settings", options.get("settings"));
        System.out.println(new ObjectMapper().writeValueAsString(line));
    }

    private static double rounded(double seconds) {
        return Math.round(seconds * 1000) / 1000.0;
    }

    private long events() {
        return Long.parseLong(options.get("events"));
    }
}
