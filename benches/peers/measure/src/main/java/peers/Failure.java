package peers;

/** Why nothing was measured, as a sentence for whoever asked. */
final class Failure extends RuntimeException {
    private static final long serialVersionUID = 1;

    Failure(String sentence) {
        super(sentence);
    }
}
