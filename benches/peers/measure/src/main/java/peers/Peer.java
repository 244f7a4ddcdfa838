package peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The process of the peer. It ends with this process. */
final class Peer implements AutoCloseable {
    private static final int SECONDS_TO_STOP = 20;
    private static final int LINES_OF_LOG = 20;

    /** What the process has taken since its start: CPU time, and the most memory that was resident at once. */
    record Cost(double cpuSeconds, double peakMib) {}

    private final Process process;
    private final Path log;

    private Peer(Process process, Path log) {
        this.process = process;
        this.log = log;
    }

    static Peer start(List<String> command, Path log) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.redirectErrorStream(true).redirectOutput(log.toFile());
        Peer peer = new Peer(builder.start(), log);
        Runtime.getRuntime().addShutdownHook(new Thread(peer.process::destroyForcibly));
        return peer;
    }

    void mustRun() throws IOException {
        if (!process.isAlive()) {
            throw failure("The peer ended before everything was written.");
        }
    }

    Cost cost() throws IOException {
        Duration cpu = process.info().totalCpuDuration().orElseThrow(() -> new Failure("The system does not tell its CPU time."));
        String peak = Files.readAllLines(Path.of("/proc", Long.toString(process.pid()), "status")).stream()
                .filter(line -> line.startsWith("VmHWM:"))
                .findFirst()
                .orElseThrow(() -> new Failure("The system does not tell its memory."));
        double kib = Double.parseDouble(peak.replaceAll("[^0-9]", ""));
        return new Cost(cpu.toMillis() / 1e3, kib / 1024);
    }

    /** An error message with the end of the peer's log. */
    Failure failure(String sentence) throws IOException {
        List<String> lines = Files.readAllLines(log);
        List<String> last = lines.subList(Math.max(0, lines.size() - LINES_OF_LOG), lines.size());
        return new Failure(sentence + " Its log, " + log + ", ends:\n" + String.join("\n", last));
    }

    @Override
    public void close() {
        process.destroy();
        try {
            process.waitFor(SECONDS_TO_STOP, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        process.destroyForcibly();
    }
}
